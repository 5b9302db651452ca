import io
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from skimage import data

from srcx.archs import MSRResNet
from srcx.cli import main
from srcx.imaging import imresize, read_image, write_image
from srcx.weights import save_state

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def files_in(folder: Path) -> list[str]:
    """Every file, hidden ones too, so that leftovers show."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_image_becomes_a_image(srcx, photos, tmp_path):
    said = srcx("upscale", photos / "a.png", "-o", "large.png")
    assert said.code == 0
    assert re.fullmatch(r"1 upscaled: large\.png, 64 x 48 pixels, by bicubic in \d+\.\d s\n", said.out)
    expected = imresize(read_image(photos / "a.png"), scale=4)
    np.testing.assert_array_equal(read_image(tmp_path / "large.png"), expected)


def test_a_folder_becomes_a_folder(srcx, photos, tmp_path):
    assert srcx("upscale", photos, "-o", "large").code == 0
    assert files_in(tmp_path / "large") == ["a.png", "b.jpg", "c.png"]
    assert read_image(tmp_path / "large" / "c.png").shape == (32, 32)


def test_files_and_folders_go_together(srcx, photos, tmp_path, rng):
    write_image(tmp_path / "d.png", rng.integers(0, 256, (4, 4), np.uint8))
    assert srcx("upscale", tmp_path / "d.png", photos, "-o", "large").code == 0
    assert files_in(tmp_path / "large") == ["a.png", "b.jpg", "c.png", "d.png"]


def test_a_model_is_taken_from_its_file(srcx, photos, tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    assert srcx("upscale", photos / "a.png", "-o", "large.png", "--model", "net.pth", "--tile", "0").code == 0
    assert read_image(tmp_path / "large.png").shape == (24, 32, 3)


def test_lock_color_changes_what_a_network_shifts(srcx, photos, tmp_path):
    state = MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict()
    state["conv_last.bias"] += 0.1
    save_state(tmp_path / "net.pth", state)
    for name, words in (("free.png", []), ("locked.png", ["--lock-color"])):
        assert srcx("upscale", photos / "a.png", "-o", name, "--model", "net.pth", *words).code == 0
    image, free, locked = (read_image(path).mean() for path in (photos / "a.png", "free.png", "locked.png"))
    assert abs(free - image) > 15
    assert abs(locked - image) < 5  # black and white pixels are clipped


def test_format_changes_the_suffix_of_the_results(srcx, photos, tmp_path):
    assert srcx("upscale", photos, "-o", "large", "--format", "webp").code == 0
    assert files_in(tmp_path / "large") == ["a.webp", "b.webp", "c.webp"]


def test_recursive_keeps_the_folders_and_leaves_out_the_results(srcx, photos, tmp_path):
    (tmp_path / "all").mkdir()
    photos.rename(tmp_path / "all" / "inner")
    assert srcx("upscale", "all", "-o", "all/large", "--recursive").code == 0
    assert files_in(tmp_path / "all" / "large") == ["inner/a.png", "inner/b.jpg", "inner/c.png"]
    assert "3 skipped" in srcx("upscale", "all", "-o", "all/large", "--recursive").out
    assert files_in(tmp_path / "all" / "large") == ["inner/a.png", "inner/b.jpg", "inner/c.png"]


def test_existing_results_are_skipped_and_counted(srcx, photos, tmp_path):
    srcx("upscale", photos, "-o", "large")
    (tmp_path / "large" / "a.png").unlink()
    before = (tmp_path / "large" / "b.jpg").stat().st_mtime_ns
    said = srcx("upscale", photos, "-o", "large")
    there = "as their results exist already (--overwrite replaces them)"
    assert said.out == f"1 upscaled into large, 2 skipped, {there}\n"
    assert (tmp_path / "large" / "b.jpg").stat().st_mtime_ns == before
    assert srcx("upscale", photos, "-o", "large", "--overwrite").out == "3 upscaled into large\n"
    assert (tmp_path / "large" / "b.jpg").stat().st_mtime_ns != before


def test_one_bad_image_does_not_stop_the_rest(srcx, photos, tmp_path):
    (photos / "b.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    said = srcx("upscale", photos, "-o", "large")
    assert (said.code, said.out) == (1, "2 upscaled into large, 1 failed\n")
    assert sum("b.jpg: is damaged or cut off" in line for line in said.sentences) == 1
    assert files_in(tmp_path / "large") == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((4, 4), np.uint16), "has 16 bits a sample, and .jpg stores 8; choose --format png"),
        (
            np.zeros((4, 4, 4), np.uint8),
            "is transparent in places, which .jpg cannot store; choose --format png",
        ),
    ],
)
def test_an_image_that_the_format_cannot_store_is_an_error_before_the_work(
    srcx, tmp_path, image, complaint, monkeypatch
):
    monkeypatch.setattr("srcx.inference.upscaler.Upscaler.__call__", None)
    write_image(tmp_path / "x.png", image)
    said = srcx("upscale", "x.png", "-o", "x.jpg")
    assert said.code == 1
    assert f"x.png: {complaint}" in said.sentences
    assert files_in(tmp_path) == ["x.png"]


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_a_result_that_cannot_be_written_is_an_error_before_the_work(
    srcx, photos, tmp_path, monkeypatch, words
):
    monkeypatch.setattr("srcx.inference.upscaler.Upscaler.__call__", None)
    (tmp_path / "large/a.png").mkdir(parents=True)
    (photos / "c.png").rename(tmp_path / "c")
    (photos / "b.jpg").rename(tmp_path / "b.raw")
    said = srcx("upscale", photos / "a.png", "c", "b.raw", "-o", "large", *words)
    assert (said.code, said.out) == (1, "0 upscaled, 3 failed\n")
    assert "large/a.png: is no file, so the result cannot be written; choose another -o" in said.sentences
    for name, suffix in (("c", "no suffix"), ("b.raw", ".raw")):
        wanted = rf"^{name}: results are written as \.avif, .*, and this name has {suffix}; choose a --format"
        assert re.search(wanted, said.err, re.MULTILINE)


NO_SUCH = "no such file or folder; check the path"
DEVICE = "a device or pipe, and image files or folders are expected"
FOR_ONE = "is the name of one image, but"
REPLACED = "photos/a.png: is an input and would be replaced by a result; name another -o"
INTO_ITSELF = "photos: is an input, and its results would be inputs of the next run; name another -o"
REFUSED = [
    ("gone.png -o x.png", 2, f"gone.png: {NO_SUCH}"),
    ("photos/a.png gone lost -o x", 2, f"gone, lost: {NO_SUCH}"),
    ("/dev/null -o x", 2, f"/dev/null: {DEVICE}"),
    ("photos/a.png /dev/null /dev/zero -o x.png", 2, f"/dev/null, /dev/zero: {DEVICE}"),
    ("photos -o x.png", 2, f"x.png: {FOR_ONE} the input is a folder; name a folder"),
    ("photos/a.png photos/b.jpg -o x.png", 2, f"x.png: {FOR_ONE} there are 2 inputs; name a folder"),
    ("photos -o photos", 2, INTO_ITSELF),
    ("photos -o empty/../photos --format webp", 2, INTO_ITSELF.replace("photos", "empty/../photos", 1)),
    ("photos empty -o empty --recursive", 2, INTO_ITSELF.replace("photos", "empty", 1)),
    ("photos/a.png -o photos/a.png", 2, REPLACED),
    ("photos/a.png photos/c.png -o photos", 2, REPLACED),
    ("photos/a.png -o x.png --format jpg", 2, "x.png: has another suffix than --format jpg"),
    ("photos -o x --tile big", 2, "--tile: expected auto, 0 or a number of pixels; got 'big'"),
    ("photos -o x --tile 3", 2, "tile: expected auto, 0 or at least 16 pixels; got 3"),
    ("photos -o x --precision fp8", 2, "srcx upscale: Invalid value for '--precision': "),
    ("empty -o x", 1, "empty: there are no images in this folder; --recursive takes its subfolders too"),
    ("empty -o x --recursive", 1, "empty: there are no images in this folder"),
    ("photos -o x --model gone.pth", 1, "gone.pth: there is no such file; check the path"),
    ("photos -o x --model notes.pth", 1, "notes.pth: is damaged, cut short or no .pth file"),
    (
        "photos -o notes.txt",
        1,
        "notes.txt: cannot make this folder: notes.txt is there and is no folder; choose another name",
    ),
]


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED, ids=[words for words, _, _ in REFUSED])
def test_an_error_is_one_sentence_and_nothing_is_written(srcx, photos, tmp_path, words, code, sentence):
    (tmp_path / "empty/inner").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "notes.pth").write_text("no weights")
    before = files_in(tmp_path)
    said = srcx("upscale", *words.split())
    assert said.code == code
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(sentence)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("photos/a.png -o new --quality 50", 2),
        ("photos/cut.png -o new/deep", 1),
        ("photos/cut.png -o new/x.png", 1),
        ("photos/a.png -o new/x.jpg --model gone", 2),
    ],
)
def test_no_folder_is_made_where_nothing_is_written(srcx, photos, tmp_path, words, code):
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:60])
    assert srcx("upscale", *words.split()).code == code
    assert not (tmp_path / "new").exists()


def test_two_inputs_of_one_result_are_refused(srcx, photos, tmp_path):
    (tmp_path / "other").mkdir()
    write_image(tmp_path / "other" / "a.png", np.zeros((4, 4), np.uint8))
    said = srcx("upscale", "photos", "other", "-o", "large")
    assert said.code == 2
    assert said.sentences == [
        "photos/a.png and other/a.png would both become a.png: upscale them into different folders"
    ]
    write_image(photos / "b.png", np.zeros((4, 4), np.uint8))
    assert "would both become b.png" in srcx("upscale", "photos", "-o", "large", "--format", "png").err


def test_the_same_input_twice_is_one_input(srcx, photos, tmp_path):
    assert srcx("upscale", photos / "a.png", photos / "../photos/a.png", "-o", "large").out.startswith(
        "1 upscaled: large/a.png, 64 x 48 pixels, "
    )


def test_an_unwritable_folder_is_one_sentence(srcx, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    said = srcx("upscale", photos, "-o", "large")
    assert said.code == 1
    assert said.sentences[0].startswith("large: cannot be written: permission denied")


def test_a_full_disk_fails_the_image_and_leaves_no_piece(srcx, photos, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    monkeypatch.setattr("srcx.imaging.png._chunk", full)
    said = srcx("upscale", photos, "-o", "large")
    assert (said.code, said.out) == (1, "0 upscaled, 3 failed\n")
    assert "free some disk space" in said.err
    assert files_in(tmp_path / "large") == []


def test_ctrl_c_prints_the_progress_and_how_to_go_on(srcx, photos, tmp_path, monkeypatch):
    from srcx.inference import folder

    real, calls = folder.read_with_extras, []

    def second_interrupts(path):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(folder, "read_with_extras", second_interrupts)
    said = srcx("upscale", photos, "-o", "large")
    assert said.code == 130
    assert said.sentences[-1] == "stopped; 1 upscaled; the same command continues with the rest"
    assert files_in(tmp_path / "large") == ["a.png"]


def test_another_scale_than_the_models_is_resampled_with_a_warning(srcx, photos, tmp_path):
    net = MSRResNet(num_feat=4, num_block=1, upscale=2)
    save_state(tmp_path / "net.pth", net.state_dict())
    said = srcx("upscale", photos / "a.png", "-o", "large.png", "--model", "net.pth", "--scale", "1.5")
    assert read_image(tmp_path / "large.png").shape == (18, 24, 3)
    assert said.sentences[0] == "net upscales by 2; its results are resampled to x1.5, bicubic"
    said = srcx("upscale", photos / "a.png", "-o", "x3.png", "--scale", "3")
    assert said.err.startswith("1/1 ")
    expected = imresize(read_image(photos / "a.png"), scale=3)
    np.testing.assert_array_equal(read_image(tmp_path / "x3.png"), expected)


def test_the_format_of_a_named_result_may_be_given_too(srcx, photos, tmp_path):
    for name, format in (("x.tiff", "tiff"), ("x.tif", "tiff"), ("x.JPEG", "jpg"), ("x.png", "png")):
        assert srcx("upscale", photos / "a.png", "-o", name, "--format", format).code == 0


def test_a_surprise_in_one_image_does_not_stop_the_rest(srcx, photos, tmp_path, monkeypatch):
    from srcx.inference import folder

    real = folder.read_with_extras

    def surprised(path):
        if path.name == "b.jpg":
            raise ZeroDivisionError("no\nsuch")
        return real(path)

    monkeypatch.setattr(folder, "read_with_extras", surprised)
    said = srcx("upscale", photos, "-o", "large")
    assert (said.code, said.out) == (1, "2 upscaled into large, 1 failed\n")
    assert f"{photos}/b.jpg: unexpected ZeroDivisionError: no such" in said.sentences


def test_names_of_every_kind_are_kept(srcx, photos, tmp_path):
    names = ["Grüße 日本 🦜.png", "[red]x[b].png", "{0}.png", "a\udcff.png"]
    for name in names:
        os.link(photos / "a.png", photos / name)
    assert srcx("upscale", photos, "-o", "große").out == "7 upscaled into große\n"
    assert {path.name for path in (tmp_path / "große").iterdir()} >= set(names)


def test_profile_and_exif_of_the_image_are_kept(srcx, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Camera", 6
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.jpg", exif=exif, icc_profile=SRGB)
    srcx("upscale", "a.jpg", "-o", "large.png")
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (16, 24)
        assert large.info["icc_profile"] == SRGB
        assert large.getexif()[ExifTags.Base.Make] == "Camera"
        assert large.getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.fixture
def two_models(srcx, tmp_path) -> Path:
    """Small models for clean and for damaged images are bundled, with a parent for the first alone."""
    folder = tmp_path / "none"
    for seed, name in enumerate(("srgan-cx-x4", "real-x4", "srgan-cx-x4.parent")):
        torch.manual_seed(seed)
        net = MSRResNet(num_feat=4, num_block=1, upscale=4)
        save_state(folder / f"{name}.safetensors", net.state_dict(), metadata={"scale": "4"})
        (folder / f"{name}.md").write_text(f"# {name}: for tests\n")
    return folder


@pytest.fixture
def mixed(photos) -> Path:
    """The folder of images with a JPEG photograph in it."""
    small = imresize(data.coffee(), scale=0.25)
    write_image(photos / "clean.png", small)
    write_image(photos / "web.jpg", small, quality=60)
    return photos


def test_the_model_is_chosen_for_each_image_and_said(srcx, mixed, two_models, tmp_path):
    said = srcx("upscale", "photos/clean.png", "photos/web.jpg", "-o", "large")
    assert said.out.splitlines() == [
        "photos/clean.png: clean; upscaled by srgan-cx-x4",
        "photos/web.jpg: damaged: JPEG of quality 60; upscaled by real-x4",
        "2 upscaled into large",
    ]
    for name, model in (("clean.png", "srgan-cx-x4"), ("web.jpg", "real-x4")):
        srcx("upscale", mixed / name, "-o", "named.png", "--model", model, "--overwrite")
        srcx("upscale", mixed / name, "-o", "auto.png", "--overwrite")
        named, auto = (read_image(tmp_path / f"{one}.png") for one in ("named", "auto"))
        np.testing.assert_array_equal(auto, named)


def test_a_named_model_is_used_without_a_message(srcx, mixed, two_models):
    said = srcx("upscale", mixed / "web.jpg", "-o", "large.png", "--model", "srgan-cx-x4")
    assert len(said.out.splitlines()) == 1
    assert "by srgan-cx-x4 in" in said.out
    said = srcx("upscale", mixed / "web.jpg", "-o", "other.png", "--model", "auto")
    assert "by real-x4" in said.out


def test_without_a_model_for_damaged_images_all_is_as_before(srcx, mixed, two_models):
    (two_models / "real-x4.safetensors").unlink()
    assert srcx("upscale", mixed, "-o", "large").out == "5 upscaled into large\n"


def test_characters_that_stdout_cannot_encode_are_escaped(srcx, mixed, two_models, monkeypatch):
    (mixed / "web.jpg").rename(mixed / "Grüße 日.jpg")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert main(["upscale", *map(str, mixed.glob("Gr*")), "-o", "large"]) == 0
    assert b"Gr\\xfc\\xdfe \\u65e5.jpg: damaged" in written.getvalue()


def test_fidelity_mixes_and_its_errors_are_one_sentence(srcx, mixed, two_models, tmp_path):
    for fidelity in ("0", "0.5", "1"):
        words = ("--model", "srgan-cx-x4", "--fidelity", fidelity)
        assert srcx("upscale", mixed / "clean.png", "-o", f"{fidelity}.png", *words).code == 0
    assert len({(tmp_path / f"{one}.png").read_bytes() for one in ("0", "0.5", "1")}) == 3
    for words, complaint in (
        (("--fidelity", "0.5"), "real-x4: fidelity needs faithful weights"),
        (("--fidelity", "0.5", "--model", "bicubic"), "bicubic: fidelity needs faithful weights"),
        (("--fidelity", "1.5"), "fidelity: expected 0 (sharp, as the model is) to 1 (faithful); got 1.5"),
        (("--fidelity", "-1", "--model", "srgan-cx-x4"), "fidelity: expected 0"),
        (("--fidelity", "much"), "srcx upscale: Invalid value for '--fidelity'"),
    ):
        said = srcx("upscale", mixed, "-o", "large", *words)
        assert (said.code, len(said.sentences)) == (2, 1)
        assert said.sentences[0].startswith(complaint)


def test_models_says_which_auto_takes_and_which_have_fidelity(srcx, two_models):
    lines = srcx("models").out.splitlines()
    assert lines == [
        "bicubic              x4  MATLAB's imresize; bicubic-x2, bicubic-x3 ... for other scales",
        "real-x4              x4  for tests (auto takes it for damaged images)",
        "srgan-cx-x4          x4  for tests (auto takes it for clean images; --fidelity)",
    ]


def test_a_link_to_a_file_gets_a_result_of_its_own(srcx, tmp_path, photos):
    (photos / "linked.png").symlink_to("a.png")
    (tmp_path / "same").symlink_to("photos")
    said = srcx("upscale", photos, "same", photos / "a.png", "-o", "large")
    assert (said.code, said.out) == (0, "4 upscaled into large\n"), "the same file by two paths is one"
    assert files_in(tmp_path / "large") == ["a.png", "b.jpg", "c.png", "linked.png"]
    assert (tmp_path / "large/linked.png").read_bytes() == (tmp_path / "large/a.png").read_bytes()


def test_a_link_in_a_circle_is_one_bad_file(srcx, tmp_path, photos):
    for name in ("photos/circle.png", "circle.pth", "circle.png", "circle"):
        (tmp_path / name).symlink_to(Path(name).name)
    said = srcx("upscale", photos, "-o", "large")
    assert (said.code, said.out) == (1, "3 upscaled into large, 1 failed\n")
    said = srcx("upscale", photos / "a.png", "-o", "x.png", "--model", "circle.pth")
    assert (said.code, said.sentences[-1].startswith("circle.pth: ")) == (1, True)
    for out in ("circle.png", "circle"):
        said = srcx("upscale", photos / "a.png", "-o", out)
        assert said.code == 1
        assert "unexpected" not in said.err


@pytest.mark.parametrize("name", ["out.gif", "new/out.GIF", "out.pgn", "out.heic"])
def test_a_result_of_an_unknown_format_is_refused_and_no_folder_made(srcx, tmp_path, photos, name):
    before = sorted(tmp_path.iterdir())
    said = srcx("upscale", photos / "a.png", "-o", name)
    assert said.code == 2
    assert said.sentences[-1].startswith(f"{name}: images are written as .avif, ")
    assert (
        f"got {Path(name).suffix.lower()}: choose one of these, or make the folder first"
        in said.sentences[-1]
    )
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["v1.0", "results", "run.x", "of.2026"])
def test_a_folder_may_have_a_dot_in_its_name(srcx, tmp_path, photos, name):
    assert srcx("upscale", photos / "a.png", "-o", name).code == 0
    assert files_in(tmp_path / name) == ["a.png"]


def test_a_folder_that_is_there_may_be_called_anything(srcx, tmp_path, photos):
    (tmp_path / "out.gif").mkdir()
    assert srcx("upscale", photos / "a.png", "-o", "out.gif").code == 0
    assert srcx("upscale", photos, "-o", "new.gif").code == 2


@pytest.mark.parametrize("length", [234, 255])
def test_the_longest_names_are_written(srcx, tmp_path, length):
    name = "x" * (length - 4) + ".png"
    write_image(tmp_path / name, np.zeros((4, 4), np.uint8))
    assert srcx("upscale", name, "-o", "large").code == 0
    assert files_in(tmp_path / "large") == [name]


def test_a_name_that_becomes_too_long_is_one_sentence_and_the_rest_goes_on(srcx, tmp_path, photos):
    name = "x" * 251 + ".png"
    write_image(photos / name, np.zeros((4, 4), np.uint8))
    said = srcx("upscale", photos, "-o", "large", "--format", "tiff")
    assert (said.code, said.out) == (1, "3 upscaled into large, 1 failed\n")
    assert (
        f"large/{name[:-4]}.tiff: cannot be written: File name too long; choose a shorter name"
        in said.sentences
    )


def test_an_input_with_an_impossible_name_is_one_sentence(srcx, photos):
    said = srcx("upscale", "x" * 300, "-o", "large")
    assert said.code in (1, 2)
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(("srcx: xxx", "xxx"))
    assert "unexpected" not in said.err


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_that_hides_nothing_is_dropped_where_the_format_has_none(srcx, tmp_path, rng, dtype):
    pixels = rng.integers(0, 256, (6, 6, 4)).astype(dtype)
    pixels[..., 3] = np.iinfo(dtype).max
    write_image(tmp_path / "x.png", pixels)
    said = srcx("upscale", "x.png", "-o", "x.jpg")
    if dtype == np.uint8:
        assert said.code == 0
        assert read_image(tmp_path / "x.jpg").shape == (24, 24, 3)
    else:
        assert "has 16 bits a sample" in said.err, "which is the true reason"


@pytest.fixture
def no_heic(monkeypatch):
    """The machine of a user who did not install the extra `heic`."""
    monkeypatch.setattr("srcx.imaging.io.find_spec", lambda name: None)


def test_jpeg_by_its_other_suffixes_is_made_and_formats_that_are_not_read_are_named(
    srcx, tmp_path, photos, no_heic
):
    for name in ("d.jfif", "e.JPE"):
        (photos / name).write_bytes((photos / "b.jpg").read_bytes())
    for name in ("f.gif", "g.HEIC", "h.txt", ".i.gif"):
        (photos / name).write_bytes(b"anything")
    said = srcx("upscale", photos, "-o", "large")
    assert (said.code, said.out) == (0, "5 upscaled into large\n")
    assert files_in(tmp_path / "large") == ["a.png", "b.jpg", "c.png", "d.jfif", "e.JPE"]
    left_out = f"{photos}: 2 files are left out, srcx does not read their format: f.gif, g.HEIC"
    assert f"{left_out}; pip install 'srcx[heic]' installs what reads HEIC" in said.sentences
    assert srcx("upscale", photos / "d.jfif", "-o", "one.jpe").code == 0
    assert read_image(tmp_path / "one.jpe").shape == read_image(tmp_path / "large/b.jpg").shape


def test_a_folder_of_formats_that_are_not_read_says_so(srcx, tmp_path, no_heic):
    (tmp_path / "phone").mkdir()
    for number in range(7):
        (tmp_path / f"phone/IMG_{number}.HEIC").write_bytes(b"anything")
    said = srcx("upscale", "phone", "-o", "large")
    assert said.code == 1
    names = ", ".join(f"IMG_{number}.HEIC" for number in range(5))
    left_out = f"phone: 7 files are left out, srcx does not read their format: {names}, ..."
    assert said.sentences == [
        f"{left_out}; pip install 'srcx[heic]' installs what reads HEIC",
        "phone: there are no images in this folder",
    ]


def test_heic_becomes_jpeg_where_no_format_is_named(srcx, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    (tmp_path / "phone").mkdir()
    heif.from_pillow(Image.new("RGB", (8, 6), "red")).save(tmp_path / "phone/IMG_1.HEIC")
    assert srcx("upscale", "phone", "-o", "large").code == 0
    assert srcx("upscale", "phone/IMG_1.HEIC", "-o", "large", "--format", "png").code == 0
    assert files_in(tmp_path / "large") == ["IMG_1.jpg", "IMG_1.png"]
    assert read_image(tmp_path / "large/IMG_1.png").shape == (24, 32, 3)


def test_control_characters_in_names_do_not_reach_the_terminal(srcx, tmp_path):
    (tmp_path / "in").mkdir()
    evil = "a\x1b[2J\nb\x9bc.png"
    (tmp_path / "in" / evil).write_bytes(b"no image")
    write_image(tmp_path / f"in/good{evil}", np.zeros((4, 4), np.uint8))
    said = srcx("upscale", "in", "-o", "large")
    assert (said.code, said.out) == (1, "1 upscaled into large, 1 failed\n")
    assert "in/a\\x1b[2J\\nb\\x9bc.png: is not an image" in said.err
    assert not set(said.err) & {"\x1b", "\x9b"}
    assert all(line.startswith(("in/a", "1/2 ", "2/2 ")) for line in said.sentences)
    assert files_in(tmp_path / "large") == [f"good{evil}"]


def test_quality_makes_smaller_files_of_lossy_formats(srcx, tmp_path, photos):
    small, usual = tmp_path / "small", tmp_path / "usual"
    for format in ("jpg", "webp", "avif"):
        words = ("upscale", photos / "a.png", "--format", format)
        assert srcx(*words, "-o", small, "--quality", "20").code == 0
        assert srcx(*words, "-o", usual).code == 0
        assert (small / f"a.{format}").stat().st_size < (usual / f"a.{format}").stat().st_size, format
    said = srcx("upscale", photos, "-o", "x", "--quality", "0")
    assert (said.code, len(said.sentences)) == (2, 1)
    assert said.sentences[0].startswith("srcx upscale: Invalid value for '--quality'")


def test_quality_is_refused_where_no_result_has_one(srcx, tmp_path, photos):
    said = srcx("upscale", photos / "a.png", "-o", "large.png", "--quality", "50")
    assert said.code == 2
    assert said.sentences == [
        "--quality: JPEG, WebP and AVIF have it, and the results are .png; "
        "choose another --format or leave --quality out"
    ]
    assert not (tmp_path / "large.png").exists()
    write_image(photos / "d.jpg", np.zeros((4, 4), np.uint8))
    assert srcx("upscale", photos, "-o", "large", "--quality", "50").code == 0  # one of them is a JPEG


@pytest.mark.parametrize(("format", "suffix"), [("jpeg", "jpg"), ("tif", "tiff")])
def test_a_format_has_its_other_name_too(srcx, tmp_path, photos, format, suffix):
    assert srcx("upscale", photos, "-o", "large", "--format", format).code == 0
    assert files_in(tmp_path / "large") == [f"{name}.{suffix}" for name in "abc"]
    assert srcx("upscale", photos / "a.png", "-o", f"x.{format}", "--format", suffix).code == 0


def test_the_device_can_be_named(srcx, photos):
    assert srcx("upscale", photos, "-o", "large", "--device", "cpu").code == 0
    said = srcx("upscale", photos, "-o", "other", "--device", "gpu")
    assert (said.code, len(said.sentences)) == (2, 1)
    assert said.sentences[0].startswith("device: expected cpu, or cuda or cuda:N")


def test_a_failed_image_is_not_counted_as_done_in_the_lines_of_progress(srcx, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    said = srcx("upscale", "bad.png", "-o", "x.png")
    assert said.code == 1
    assert said.sentences[-1] == "1/1 bad.png failed"


@pytest.fixture
def large(tmp_path, rng) -> Path:
    """A folder with two images that are cut into six tiles each."""
    for name in ("a.png", "b.png"):
        save = tmp_path / "large" / name
        save.parent.mkdir(exist_ok=True)
        write_image(save, rng.integers(0, 256, (32, 48, 3), np.uint8))
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    return tmp_path / "large"


def test_the_tiles_of_one_image_are_its_progress(srcx, large, monkeypatch):
    monkeypatch.setattr("srcx.cli.progress.EVERY_S", 0.0)
    said = srcx(
        "upscale", "large/a.png", "-o", "x.png", "--model", "net.pth", "--tile", "16", "--precision", "fp32"
    )
    assert said.code == 0
    tiles = [line.partition(",")[0] for line in said.sentences[:6]]
    assert tiles == [f"{done}/6 tiles of large/a.png" for done in range(1, 7)]
    assert said.sentences[-1].startswith("1/1 x.png 96 x 64")


def test_the_tiles_of_several_images_are_named_beside_the_image(srcx, large, monkeypatch):
    monkeypatch.setattr("srcx.cli.progress.EVERY_S", 0.0)
    said = srcx("upscale", "large", "-o", "x", "--model", "net.pth", "--tile", "16", "--precision", "fp32")
    assert said.code == 0
    assert "0/2 large/a.png, tile 6 of 6" in said.sentences
    assert any(line.endswith("large/b.png, tile 1 of 6") for line in said.sentences)


def test_quiet_prints_the_result_alone(srcx, photos):
    said = srcx("upscale", photos, "-o", "out", "-q")
    assert (said.code, said.out, said.err) == (0, "3 upscaled into out\n", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("- -o large", "-: frames go from pipe to pipe; write 'srcx upscale - -o -'"),
        ("photos -o -", "-: frames go from pipe to pipe; write 'srcx upscale - -o -'"),
        ("- photos -o -", "-: frames go from pipe to pipe; write 'srcx upscale - -o -'"),
        ("photos -o large --size 4x4", "--size: is of raw frames from a pipe; the INPUT is then -"),
        ("- -o - --format png --overwrite", "--format, --overwrite: for files, not for a pipe; leave out"),
        ("- -o - --size 4by4", "--size: expected width x height such as 640x360; got '4by4'"),
        (
            f"- -o - --size 4x1{'0' * 5000}",
            f"--size: expected width x height such as 640x360; got '4x1{'0' * 5000}'",
        ),
    ],
)
def test_a_pipe_goes_with_a_pipe_alone(srcx, photos, words, sentence):
    said = srcx("upscale", *words.split())
    assert (said.code, said.sentences) == (2, [sentence])


def test_a_pipe_is_read_by_one_process(srcx, monkeypatch):
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = srcx("upscale", "-", "-o", "-")
    assert (said.code, said.sentences) == (2, ["-: one process reads a pipe; start srcx without torchrun"])
