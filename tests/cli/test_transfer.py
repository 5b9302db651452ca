import pytest
import torch

from srcx.imaging import read_image, to_tensor
from srcx.inference import transfer


@pytest.fixture
def _fewer_steps(monkeypatch):
    """Steps without a network: each makes the content a little darker."""

    def steps(content, style, *, by, iterations):
        for iteration in range(1, iterations + 1):
            if iteration == 4:
                raise KeyboardInterrupt
            yield transfer.Step(iteration, 1 / iteration, to_tensor(content) * 0.5**iteration)

    monkeypatch.setattr(transfer, "steps", steps)


@pytest.mark.usefixtures("_fewer_steps")
def test_the_last_step_is_the_result(srcx, photos):
    said = srcx(
        "transfer", photos / "a.png", photos / "b.jpg", "-o", "out.png", "--size", 32, "--iterations", 2
    )
    assert (said.code, said.out) == (0, "out.png: 32 x 24 pixels after 2 steps\n")
    assert said.sentences[-1].startswith("2/2 loss 0.5000")
    wanted = to_tensor(transfer.read_at(photos / "a.png", 32)) / 4
    torch.testing.assert_close(to_tensor(read_image("out.png")), wanted, rtol=0, atol=1 / 255)


@pytest.mark.usefixtures("_fewer_steps")
def test_a_stop_writes_the_result_so_far(srcx, photos):
    said = srcx("transfer", photos / "a.png", photos / "b.jpg", "-o", "out.png", "--iterations", 9)
    assert said.code == 130
    assert said.sentences[-1] == "stopped after step 3 of 9; out.png is the result so far"
    assert read_image("out.png").mean() < 0.2 * read_image(photos / "a.png").mean()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("photos/a.png photos/b.jpg -o out", 2, "out: images are written as ."),
        ("photos/a.png gone.png -o out.png", 1, "gone.png: this file does not exist"),
        ("photos/a.png photos/b.jpg -o out.png --by magic", 2, "srcx transfer: Invalid value for '--by'"),
    ],
)
def test_an_error_is_one_sentence(srcx, photos, words, code, sentence):
    said = srcx("transfer", *words.split())
    assert said.code == code
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(sentence)


@pytest.mark.usefixtures("_fewer_steps")
def test_the_folder_of_the_result_is_made_before_the_work(srcx, photos, monkeypatch):
    words = ["transfer", photos / "a.png", photos / "b.jpg", "--size", 32, "--iterations", 2, "-o"]
    assert srcx(*words, "new/deep/out.png").code == 0
    assert read_image("new/deep/out.png").shape == (24, 32, 3)
    monkeypatch.setattr(transfer, "steps", None)
    said = srcx(*words, photos / "a.png" / "out.png")
    assert said.code == 1
    assert said.sentences[-1].startswith(f"{photos / 'a.png'}: cannot make this folder")
