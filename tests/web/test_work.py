import os

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from srcx.archs import MSRResNet
from srcx.errors import UsageError
from srcx.imaging import imresize, read_image, write_image
from srcx.inference import bundled, load_model
from srcx.web import work
from srcx.web.work import compare, remove_older
from srcx.weights import save_state


@pytest.fixture
def photo(tmp_path, rng):
    write_image(tmp_path / "a.png", rng.integers(0, 256, (12, 10, 3), np.uint8))
    return tmp_path / "a.png"


@pytest.fixture
def net(tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=3).state_dict())
    return str(tmp_path / "net.pth")


def test_an_image_is_shown_by_both_models_at_one_size_and_written_in_full(photo, net, tmp_path):
    steps = []
    (shown,) = compare([photo], net, "bicubic", tmp_path, lambda *step: steps.append(step))
    image = read_image(photo)
    np.testing.assert_array_equal(read_image(shown.file), load_model(net)(image))
    np.testing.assert_array_equal(read_image(shown.after), load_model(net)(image))
    np.testing.assert_array_equal(read_image(shown.before), imresize(image, scale=3))
    assert (shown.name, shown.size, shown.file.name) == ("a.png", (30, 36), "a-net.png")
    assert steps == [("a.png: bicubic", 0, 2), ("a.png: net", 1, 2)]


@pytest.mark.parametrize("channels", [1, 4])
def test_sixteen_bits_and_alpha_are_kept_in_the_file_and_shown_in_eight_on_white(tmp_path, rng, channels):
    image = rng.integers(0, 65536, (9, 8, channels), np.uint16).squeeze()
    image[:3] = 0
    write_image(tmp_path / "x.png", image)
    (shown,) = compare([tmp_path / "x.png"], "bicubic-x2", "bicubic-x2", tmp_path)
    assert read_image(shown.file).dtype == np.uint16
    after = read_image(shown.after)
    assert (after.dtype, after.shape) == (np.uint8, (18, 16, 3))
    assert (after[0] == (0 if channels == 1 else 255)).all()


def test_the_model_is_chosen_for_each_image_and_said(tmp_path, monkeypatch):
    folder = tmp_path / "bundled"
    for seed, name in enumerate(("srgan-cx-x4", "real-x4")):
        torch.manual_seed(seed)
        net = MSRResNet(num_feat=4, num_block=1, upscale=4)
        save_state(folder / f"{name}.safetensors", net.state_dict(), metadata={"scale": "4"})
        (folder / f"{name}.md").write_text(f"# {name}: for tests\n")
    monkeypatch.setattr(bundled, "BUNDLED", folder)
    work._upscaler.cache_clear()
    clean = imresize(data.coffee(), scale=0.1)
    write_image(tmp_path / "clean.png", clean)
    write_image(tmp_path / "web.jpg", clean, quality=60)
    one, two = compare([tmp_path / "clean.png", tmp_path / "web.jpg"], "auto", "bicubic", tmp_path)
    work._upscaler.cache_clear()
    assert (one.model, one.reason, one.file.name) == ("srgan-cx-x4", "clean", "clean-srgan-cx-x4.png")
    assert (two.model, two.reason) == ("real-x4", "damaged: JPEG of quality 60")
    np.testing.assert_array_equal(
        read_image(two.file), load_model("real-x4")(read_image(tmp_path / "web.jpg"))
    )


def test_fidelity_is_that_of_the_model_not_of_the_other(photo, tmp_path):
    for seed, name in enumerate(("net.pth", "net.parent.safetensors")):
        torch.manual_seed(seed)
        save_state(tmp_path / name, MSRResNet(num_feat=4, num_block=1, upscale=3).state_dict())
    net, image = str(tmp_path / "net.pth"), read_image(photo)
    (shown,) = compare([photo], net, net, tmp_path, fidelity=0.5)
    assert shown.model == "net-fidelity-0.5"
    np.testing.assert_array_equal(read_image(shown.file), load_model(net, fidelity=0.5)(image))
    np.testing.assert_array_equal(read_image(shown.before), load_model(net)(image))


@pytest.mark.parametrize("replaced", ["net.pth", "net.parent.safetensors"])
def test_a_model_that_a_training_replaced_is_loaded_again(photo, tmp_path, replaced):
    def save(name, brighter):
        net = MSRResNet(num_feat=4, num_block=1, upscale=3)
        torch.nn.init.constant_(net.conv_last.bias, brighter)
        save_state(tmp_path / name, net.state_dict())

    save("net.pth", 0.0)
    save("net.parent.safetensors", 0.0)
    (before,) = compare([photo], str(tmp_path / "net.pth"), "bicubic", tmp_path, fidelity=0.5)
    save(replaced, 0.4)
    (after,) = compare([photo], str(tmp_path / "net.pth"), "bicubic", tmp_path, fidelity=0.5)
    assert read_image(after.file).mean() > read_image(before.file).mean() + 20


def test_a_folder_of_results_that_a_cleaner_removed_is_made_again(photo, tmp_path):
    folder = tmp_path / "removed"
    remove_older(folder, 3600)
    (shown,) = compare([photo], "bicubic", "bicubic", folder)
    assert shown.file.is_file()


def test_previews_are_not_larger_than_a_screen(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "PREVIEW_PX", 24)
    (shown,) = compare([photo], "bicubic", "bicubic", tmp_path)
    assert read_image(shown.after).shape == (24, 20, 3)
    assert read_image(shown.file).shape == (48, 40, 3)


def test_two_images_of_one_name_have_two_results(photo, tmp_path):
    first, second = compare([photo, photo], "bicubic", "bicubic", tmp_path)
    assert first.file != second.file


def test_limits_are_one_sentence(photo, tmp_path, monkeypatch):
    for paths, said in (
        ([], "choose an image first"),
        ([photo] * 11, "from 1 to 10 images at a time; got 11"),
    ):
        with pytest.raises(UsageError, match=f"^{said}$"):
            compare(paths, "bicubic", "bicubic", tmp_path)
    monkeypatch.setattr(work, "MAX_MEGAPIXELS", 0)
    with pytest.raises(UsageError, match=r"^a\.png: has 10 x 12 pixels, and this page takes 0 megapixels"):
        compare([photo], "bicubic", "bicubic", tmp_path)


def test_images_that_take_too_long_are_an_error(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "MAX_S", 60)
    times = iter([0, 10, 20, 70])
    monkeypatch.setattr(work.time, "monotonic", lambda: next(times))
    with pytest.raises(UsageError, match=r"^1 of 3 images were done in 1 minutes, the limit of this page"):
        compare([photo] * 3, "bicubic", "bicubic", tmp_path)


def test_old_results_are_deleted_and_new_ones_stay(photo, tmp_path):
    (tmp_path / "results").mkdir()
    old, new = compare([photo, photo], "bicubic", "bicubic", tmp_path / "results")
    os.utime(old.file.parent, (0, 0))
    remove_older(tmp_path / "results", 3600)
    assert not old.file.parent.exists()
    assert {path.name for path in new.file.parent.iterdir()} == {"before.png", "after.png", new.file.name}


def test_an_unreadable_file_is_named_without_its_folder(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"^bad\.png: is not an image"):
        compare([tmp_path / "bad.png"], "bicubic", "bicubic", tmp_path)
    Image.new("RGB", (3, 3)).save(tmp_path / "moving.gif")
    with pytest.raises(UsageError, match=r"^moving\.gif: is a GIF"):
        compare([tmp_path / "moving.gif"], "bicubic", "bicubic", tmp_path)
