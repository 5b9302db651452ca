import os

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms

from srcx.imaging import Extras, read_image, read_with_extras, to_tensor, write_image
from srcx.inference import transfer

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def photos(tmp_path, rng):
    """A folder with images that are large enough, one that is not, and a folder with an image's name."""
    folder = tmp_path / "photos"
    (folder / "folder.png").mkdir(parents=True)
    for name, shape in (("a.png", (48, 64, 3)), ("b.jpg", (40, 36, 3)), ("dot.png", (1, 1, 3))):
        write_image(folder / name, rng.integers(0, 256, shape, np.uint8))
    write_image(folder / "glass.png", rng.integers(0, 256, (48, 64, 4), np.uint8))
    write_image(folder / "deep.png", rng.integers(0, 65536, (48, 64, 3), np.uint16))
    return folder


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
        "transfer", photos / "a.png", photos / "b.jpg", "-o", "out.png", "--size", 64, "--iterations", 2
    )
    assert (said.code, said.out) == (0, "out.png: 64 x 48 pixels after 2 steps\n")
    assert said.sentences[-1].startswith("2/2 loss 0.5000")
    wanted = to_tensor(read_image(photos / "a.png")) / 4
    torch.testing.assert_close(to_tensor(read_image("out.png")), wanted, rtol=0, atol=1 / 255)


@pytest.mark.usefixtures("_fewer_steps")
def test_a_stop_writes_the_result_so_far(srcx, photos):
    said = srcx("transfer", photos / "a.png", photos / "b.jpg", "-o", "out.png", "--iterations", 9)
    assert said.code == 130
    assert said.sentences[-1] == "stopped after step 3 of 9; out.png is the result so far"
    assert read_image("out.png").mean() < 0.2 * read_image(photos / "a.png").mean()


@pytest.mark.usefixtures("_fewer_steps")
@pytest.mark.parametrize("ends", ["done", "stopped"])
def test_the_result_keeps_profile_exif_alpha_and_bits_and_is_upright(srcx, tmp_path, rng, ends):
    """As that of `srcx upscale`."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = 6, "Ada"
    lying = Image.fromarray(rng.integers(0, 256, (40, 64, 3), np.uint8))
    lying.save("lying.jpg", icc_profile=SRGB, exif=exif)
    write_image("deep.png", rng.integers(0, 65536, (48, 64, 4), np.uint16), extras=Extras(icc=SRGB))
    iterations = 2 if ends == "done" else 9
    for source, out in (("lying.jpg", "upright.jpg"), ("deep.png", "out.png")):
        said = srcx("transfer", source, "lying.jpg", "-o", out, "--size", 64, "--iterations", iterations)
        assert said.code == (0 if ends == "done" else 130)
        assert read_with_extras(out)[1].icc == SRGB
    with Image.open("upright.jpg") as upright:
        assert upright.size == (40, 64)
        assert upright.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert upright.getexif()[ExifTags.Base.Artist] == "Ada"
    result, content = read_image("out.png"), read_image("deep.png")
    assert result.dtype == np.uint16
    assert np.array_equal(result[..., 3], content[..., 3])
    assert (result % 257 != 0).any()


SMALL = "expected an image of at least 32 pixels a side"


@pytest.mark.usefixtures("_fewer_steps")
@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("photos/a.png photos/b.jpg -o out", 2, "out: images are written as ."),
        ("photos/a.png gone.png -o out.png", 1, "gone.png: this file does not exist"),
        ("photos/a.png photos/b.jpg -o out.png --by magic", 2, "srcx transfer: Invalid value for '--by'"),
        ("photos/a.png photos/b.jpg -o photos/folder.png", 2, "photos/folder.png: is a folder; name a file"),
        ("photos/a.png photos/b.jpg -o photos/a.png", 2, "photos/a.png: is an input and would be replaced"),
        ("photos/a.png photos/b.jpg -o new/../photos/b.jpg", 2, "new/../photos/b.jpg: is an input and would"),
        ("photos/a.png circle.png -o out.png", 1, "circle.png: this file does not exist"),
        ("photos/a.png gone.png -o circle.png", 1, "gone.png: this file does not exist"),
        ("photos/a.png gone.png -o new/out.png", 1, "gone.png: this file does not exist"),
        ("photos/a.png photos/dot.png -o new/out.png", 1, f"photos/dot.png: {SMALL}, got 1 x 1; upscale it"),
        (
            "photos/deep.png photos/b.jpg -o out.jpg",
            1,
            "photos/deep.png: has 16 bits a sample, and .jpg stores 8",
        ),
        (
            "photos/glass.png photos/b.jpg -o out.jpg",
            1,
            "photos/glass.png: is transparent in places, which .jpg",
        ),
        (
            "photos/a.png photos/b.jpg -o new/out.png --size 32",
            2,
            "photos/a.png: at size 32, an image of 64 x 48 pixels has a side of less than 32; take 43",
        ),
    ],
)
def test_an_error_is_one_sentence_and_nothing_is_written(srcx, photos, tmp_path, words, code, sentence):
    (tmp_path / "circle.png").symlink_to("circle.png")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    said = srcx("transfer", *words.split())
    assert said.code == code
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(sentence)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.usefixtures("_fewer_steps")
def test_the_folder_of_the_result_is_made_before_the_work(srcx, photos, monkeypatch):
    words = ["transfer", photos / "a.png", photos / "b.jpg", "--size", 64, "--iterations", 2, "-o"]
    assert srcx(*words, "new/deep/out.png").code == 0
    assert read_image("new/deep/out.png").shape == (48, 64, 3)

    def work(*_images, **_settings):
        pytest.fail("the work has begun")
        yield

    monkeypatch.setattr(transfer, "steps", work)
    said = srcx(*words, photos / "a.png" / "out.png")
    assert said.code == 1
    assert said.sentences[-1].startswith(f"{photos / 'a.png'}: cannot make this folder")

    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    said = srcx(*words, "out.png")
    assert said.code == 1
    assert said.sentences[-1].startswith(".: cannot be written: permission denied")
