import errno
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from srcx.archs import MSRResNet
from srcx.errors import Interrupted, OutputError, UsageError
from srcx.imaging import imresize, read_image, write_image
from srcx.inference import bundled, load_model
from srcx.progress import no_progress
from srcx.web import work
from srcx.web.work import compare, remove_older, zip_of
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
    np.testing.assert_array_equal(read_image(shown.before_file), imresize(image, scale=3))
    assert (shown.name, shown.size, shown.file.name) == ("a.png", (30, 36), "a-net.png")
    names = ("a.png by bicubic", "a.png by net")
    assert steps == [(name, done, 1) for name in names for done in (0, 1)]


def test_progress_counts_tiles_and_says_which_image_it_is(photo, net, tmp_path, monkeypatch):
    monkeypatch.setattr(
        work,
        "load_model",
        lambda name, **how: load_model(name, tile="auto" if name == "bicubic" else 16, **how),
    )
    work._upscaler.cache_clear()
    write_image(photo, np.zeros((12, 40, 3), np.uint8))
    steps = []
    list(compare([photo, photo], net, "bicubic", tmp_path, lambda *step: steps.append(step)))
    work._upscaler.cache_clear()
    assert [step for step in steps if step[0].endswith("net")] == [
        (f"{number} of 2: a.png by net", done, 1 if done == 0 else 3)
        for number in (1, 2)
        for done in range(4)
    ]


def test_the_scale_is_that_of_both_results(photo, net, tmp_path):
    (shown,) = compare([photo], net, "bicubic", tmp_path, scale=2)
    image = read_image(photo)
    assert shown.size == (20, 24)
    np.testing.assert_array_equal(read_image(shown.file), load_model(net, scale=2)(image))
    np.testing.assert_array_equal(read_image(shown.before_file), imresize(image, scale=2))


def test_work_that_is_stopped_or_fails_keeps_what_is_done(photo, tmp_path):
    def stop(what, done, total):
        if what.startswith("2"):
            raise Interrupted("stopped")

    for second, on_progress, said in (
        (photo, stop, "^stopped$"),
        (tmp_path / "moved.png", no_progress, r"^moved\.png: "),
    ):
        write_image(tmp_path / "moved.png", np.zeros((3, 3), np.uint8))
        results = compare([photo, second], "bicubic", "bicubic", tmp_path, on_progress)
        first = next(results)
        (tmp_path / "moved.png").unlink()
        with pytest.raises(UsageError, match=said):
            next(results)
        assert first.file.is_file()


def test_the_results_are_one_zip_in_which_equal_names_differ(photo, tmp_path):
    shown = list(compare([photo, photo], "bicubic", "bicubic", tmp_path))
    path = zip_of(shown, tmp_path)
    assert path.name == "srcx-2-images.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a-bicubic.png", "2-a-bicubic.png"]
        assert archive.read("2-a-bicubic.png") == shown[1].file.read_bytes()


def test_a_full_disk_is_one_sentence_and_keeps_what_is_done(photo, tmp_path, monkeypatch):
    def full(*_args, **_how):
        raise OSError(errno.ENOSPC, "No space left on device")

    shown = list(compare([photo, photo], "bicubic", "bicubic", tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "write", full)
        with pytest.raises(
            OutputError, match=r"cannot be written: No space left on device; \d+ MiB are free"
        ):
            zip_of(shown, tmp_path)
    results = compare([photo, photo], "bicubic", "bicubic", tmp_path)
    assert next(results).file.is_file()
    monkeypatch.setattr("srcx.web.work.tempfile.mkdtemp", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        next(results)


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


def test_the_latest_weights_of_a_run_folder_are_loaded_again(photo, tmp_path):
    means = []
    for brighter in (0.0, 0.4):
        net = MSRResNet(num_feat=4, num_block=1, upscale=3)
        torch.nn.init.constant_(net.conv_last.bias, brighter)
        save_state(tmp_path / "mine/models/net_g_latest.pth", net.state_dict())
        (shown,) = compare([photo], str(tmp_path / "mine"), "bicubic", tmp_path / "results")
        means.append(read_image(shown.file).mean())
    assert means[1] > means[0] + 20


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
            list(compare(paths, "bicubic", "bicubic", tmp_path))


def test_the_limit_is_on_the_size_of_a_result(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "image_size", lambda path: (3024, 4032))  # 12 megapixels, as phones have
    compared = []
    monkeypatch.setattr(work, "_compare_one", lambda *args: compared.append(args))
    list(compare([photo], "bicubic", "bicubic", tmp_path, scale=4))
    assert len(compared) == 1
    with pytest.raises(
        UsageError, match=r"^a\.png: 4032 x 3024 pixels at x8 are 780 megapixels, and this page "
    ):
        list(compare([photo], "bicubic", "bicubic", tmp_path, scale=8))


def test_images_that_take_too_long_are_an_error_and_those_done_are_kept(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "MAX_S", 60)
    times = iter([0, 10, 20, 30, 40, 70])
    monkeypatch.setattr(work.time, "monotonic", lambda: next(times))
    results = compare([photo] * 3, "bicubic", "bicubic", tmp_path)
    next(results)
    with pytest.raises(UsageError, match=r"^the limit of this page, 1 minutes, is reached; take fewer"):
        next(results)


def test_old_results_are_deleted_and_new_ones_stay(photo, tmp_path):
    (tmp_path / "results").mkdir()
    old, new = compare([photo, photo], "bicubic", "bicubic", tmp_path / "results")
    os.utime(old.file.parent, (0, 0))
    remove_older(tmp_path / "results", 3600)
    assert not old.file.parent.exists()
    assert {path.name for path in new.file.parent.iterdir()} == {
        *("before.png", "after.png"),
        *("before-a-bicubic.png", "a-bicubic.png"),
    }


def test_a_bad_image_is_named_after_the_others_are_done(photo, tmp_path):
    bad, done = tmp_path / "bad.png", []
    bad.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"^bad\.png: is not an image"):
        done.extend(compare([bad, photo], "bicubic", "bicubic", tmp_path / "results"))
    assert [one.name for one in done] == [photo.name]


def test_an_unreadable_file_is_named_without_its_folder(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"^bad\.png: is not an image"):
        list(compare([tmp_path / "bad.png"], "bicubic", "bicubic", tmp_path))
    Image.new("RGB", (3, 3)).save(tmp_path / "moving.gif")
    with pytest.raises(UsageError, match=r"^moving\.gif: is a GIF"):
        list(compare([tmp_path / "moving.gif"], "bicubic", "bicubic", tmp_path))
