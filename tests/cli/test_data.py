import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from srcx.imaging import imresize, io, read_image, write_image
from srcx.prepare.check_images import KINDS


@pytest.fixture
def mine(tmp_path, rng):
    """A set srcx does not know, as it should be, in datasets/benchmark."""
    folder = tmp_path / "datasets/benchmark/Mine"
    for name in ("HR", "LR_bicubic/X4"):
        (folder / name).mkdir(parents=True)
    for name in ("a", "b"):
        gt = rng.integers(0, 256, (40, 48, 3), np.uint8)
        write_image(folder / f"HR/{name}.png", gt)
        write_image(folder / f"LR_bicubic/X4/{name}x4.png", imresize(gt, scale=0.25, border="replicate"))
    return folder


def test_list_says_what_is_at_hand_and_from_where(srcx, mine):
    mine.rename(mine.with_name("Set5"))
    said = srcx("data", "list")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "Set5      5 images; 2 HR and 2 LR x4 in datasets/benchmark/Set5"
    assert lines[2] == "          licence: not stated"
    assert lines[4] == "Set14     14 images; not downloaded"
    assert lines[-1] == "          https://data.vision.ee.ethz.ch/cvl/DIV2K/"


def test_verify_takes_all_that_is_at_hand(srcx, mine):
    said = srcx("data", "verify")
    assert said.code == 0
    assert said.out == (
        "datasets/benchmark/Mine: ok: an unknown set: HR: 2 images; "
        "LR x4: made by MATLAB's imresize, borders repeated\n"
    )


def test_verify_ends_with_1_where_something_is_wrong_and_says_it_all(srcx, mine):
    for path in sorted((mine / "LR_bicubic/X4").iterdir()):
        gt = Image.open(mine / "HR" / path.name.replace("x4", ""))
        gt.resize((12, 10), Image.Resampling.BICUBIC).save(path)
    shutil.copytree(mine, mine.with_name("Other"))
    said = srcx("data", "verify", mine.parent, "Set5")
    assert said.code == 1
    assert said.out.count(": WRONG: ") == 2
    assert said.out.count("made by Pillow's BICUBIC; tables made from them are not comparable") == 2
    assert (
        "datasets/benchmark/Set5: no such folder; 'srcx data list' shows the sets and their folders"
        in said.err
    )


def test_verify_finds_a_name_in_the_folder_of_sets(srcx, mine):
    mine.rename(mine.with_name("Set5"))
    said = srcx("data", "verify", "set5", "--data", "datasets/benchmark")
    assert said.code == 1
    assert said.out.startswith("datasets/benchmark/Set5: WRONG: Set5: HR: 2 not published; ")


def test_the_help_of_check_names_every_kind(srcx):
    said = srcx("data", "check", "--help").out
    assert f"moves: {', '.join(KINDS)};" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("verify", 1, "datasets: there is no set in datasets/benchmark and no datasets/DIV2K"),
        (
            "verify Sett5",
            2,
            "Sett5: srcx knows no such set; did you mean 'Set5'? (and there is no folder Sett5)",
        ),
        ("verify photos", 1, "photos: holds no set"),
        ("fetch Sett5", 2, "Sett5: srcx knows no such set"),
        ("fetch", 2, "srcx data fetch: Missing argument 'SET...'"),
        ("check gone", 1, "gone: this folder does not exist"),
        ("check photos --kinds flat", 2, "--kinds: says what --move-to moves; name a folder with --move-to"),
        ("check photos --move-to aside --kinds dull", 2, "--kinds: expected duplicate, benchmark, damaged"),
        (
            "check photos --move-to aside --kinds benchmark",
            2,
            "--kinds: benchmark is found by --against alone",
        ),
        (
            "check photos -o photos/a.png",
            2,
            "photos/a.png: the report is a page; name a file that ends in .html",
        ),
        ("check photos -o page.html", 2, "page.html: the report is a page; name a file that ends in .html"),
        ("check photos -o photos/a.png/x.html", 1, "photos/a.png: cannot make this folder: photos/a.png is"),
        ("check photos --move-to photos/aside", 1, "photos/aside: lies in photos, whose images are read"),
        ("check photos --move-to photos", 1, "photos: lies in photos, whose images are read"),
        ("prepare lr gone -o out", 1, "gone: this folder does not exist"),
        ("prepare lr photos -o out --mod 6", 2, "--mod: expected a multiple of the scale 4; got 6"),
        ("prepare lr photos -o out --scale 1", 2, "srcx data prepare lr: Invalid value for '--scale'"),
        ("prepare lmdb photos -o out", 2, "out: the name of an LMDB folder ends in .lmdb"),
        ("degrade photos -o out", 2, "srcx data degrade: Missing option '--preset'"),
        ("degrade photos -o out --preset wob", 2, "unknown degradation 'wob'; known are old, phone, web"),
        ("degrade photos -o out --preset gone.yml", 2, "gone.yml: cannot read this option file"),
        ("degrade gone -o out --preset web", 1, "gone: this folder does not exist"),
        ("degrade photos -o photos/out --preset web", 1, "photos/out: lies in photos, whose images are"),
        ("prepare sub-images photos -o photos", 1, "photos: holds files that srcx did not prepare"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(srcx, photos, words, code, sentence):
    Path("page.html").mkdir()
    before = {path: path.read_bytes() for path in photos.iterdir()}
    said = srcx("data", *words.split())
    assert said.code == code
    assert said.sentences[-1].startswith(sentence)
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_fetch_verifies_what_came(srcx, mine, monkeypatch):
    mine.rename(mine.with_name("Set5"))
    monkeypatch.setattr("srcx.benchmarks.fetch.fetch_set", lambda *_: ["one.png: the server answers 404"])
    said = srcx("data", "fetch", "Set5", "set5")
    assert said.code == 1
    assert said.sentences[0] == "one.png: the server answers 404"
    assert said.out.startswith("datasets/benchmark/Set5: WRONG: Set5: HR: 2 not published; ")


def test_fetch_that_is_stopped_says_how_to_go_on(srcx, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("srcx.benchmarks.fetch.fetch_set", stop)
    said = srcx("data", "fetch", "Set5")
    assert (said.code, said.sentences) == (
        130,
        ["stopped; the same command resumes the download"],
    )


def test_a_set_is_made_from_photographs_and_verified(srcx, mine, photos):
    shutil.rmtree(mine / "LR_bicubic")
    said = srcx("data", "prepare", "lr", mine / "HR", "-o", mine / "LR_bicubic")
    assert (said.code, said.out) == (0, f"{mine}/LR_bicubic/X4: 2 images made\n")
    assert srcx("data", "verify").code == 0
    again = srcx("data", "prepare", "lr", mine / "HR", "-o", mine / "LR_bicubic")
    assert again.out == f"{mine}/LR_bicubic/X4: 0 images made, 2 existed already\n"


def test_prepare_names_what_failed_and_does_the_rest(srcx, photos):
    (photos / "a.png").write_bytes(b"")
    said = srcx("data", "prepare", "sub-images", photos, "-o", "sub", "--crop", 8, "--step", 8)
    assert said.code == 1
    assert said.out == "sub: 2 images made, 1 failed\n"
    assert f"{photos}/a.png: is empty (0 bytes); get a whole copy of the file" in said.sentences
    assert read_image("sub/c_s001.png").shape == (8, 8)


def test_prepare_makes_an_lmdb(srcx, photos):
    said = srcx("data", "prepare", "lmdb", photos, "-o", "photos.lmdb")
    assert (said.code, said.out) == (0, "photos.lmdb: 3 images made\n")


@pytest.mark.parametrize("what", ["lmdb", "shards"])
def test_prepare_says_that_what_has_to_be_whole_is_not_written(srcx, photos, what):
    repaired = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(b"")
    said = srcx("data", "prepare", what, photos, "-o", "out.lmdb")
    assert (said.code, said.out) == (1, "")
    assert said.sentences[-1] == (
        "out.lmdb: not written: 1 image cannot be read; fix or remove them and run the command again"
    )
    assert not Path("out.lmdb").exists()
    (photos / "a.png").write_bytes(repaired)
    said = srcx("data", "prepare", what, photos, "-o", "out.lmdb")
    assert said.code == 0
    assert Path("out.lmdb").is_dir()


def test_prepare_makes_shards(srcx, photos):
    for said in ("3 images made", "0 images made, 3 existed already"):
        shards = srcx("data", "prepare", "shards", photos, "-o", "shards", "--per-shard", 2)
        assert (shards.code, shards.out) == (0, f"shards: {said}\n")


@pytest.mark.parametrize(
    "verb",
    [
        *("list", "fetch", "verify", "degrade", "check"),
        *(f"prepare {what}" for what in ("lr", "sub-images", "lmdb", "shards")),
    ],
)
def test_every_verb_has_help_with_an_example(srcx, verb):
    said = srcx("data", *verb.split(), "--help")
    assert said.code == 0
    assert f"Examples:\n\n  srcx data {verb}" in said.out


def test_degrade_makes_pairs_names_what_failed_and_goes_on(srcx, photos):
    whole = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(whole[:50])
    words = ("data", "degrade", photos, "-o", "out", "--preset", "web", "--scale", 2)
    said = srcx(*words)
    assert (said.code, said.out) == (1, "out: 2 images made, 1 failed\n")
    assert f"{photos}/a.png: is damaged or cut off; get a whole copy of the file" in said.sentences
    (photos / "a.png").write_bytes(whole)
    said = srcx(*words)
    assert (said.code, said.out) == (0, "out: 1 image made, 2 existed already\n")
    assert read_image("out/gt/b.png").shape == (10, 8, 3)
    assert read_image("out/lq/b.png").shape == (5, 4, 3)


def test_degrade_takes_a_description_of_ones_own_and_says_all_its_mistakes(srcx, photos, tmp_path):
    (tmp_path / "mine.yml").write_text("final: {compression: {quality: [5, 9]}}\n")
    assert srcx("data", "degrade", "photos/a.png", "-o", "out", "--preset", "mine.yml").code == 0
    (tmp_path / "mine.yml").write_text("clean_prop: 1\nfinal:\n  compression: {quality: [9, 5]}\n")
    said = srcx("data", "degrade", "photos/a.png", "-o", "other", "--preset", "mine.yml")
    assert said.code == 2
    assert [sentence.split(": ")[0] for sentence in said.sentences] == ["mine.yml:1", "mine.yml:3"]
    assert not (tmp_path / "other").exists()


def test_degrade_that_is_stopped_says_how_to_go_on(srcx, photos, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("srcx.prepare.images.make_degraded", stop)
    said = srcx("data", "degrade", "photos", "-o", "out", "--preset", "web")
    assert said.code == 130
    assert said.sentences == ["stopped; the same command resumes the work"]


def test_align_says_what_shift_is_left_and_writes_the_pairs(srcx, tmp_path):
    photo = data.astronaut()
    for kind, image in {"lq": imresize(photo, scale=0.5), "gt": photo}.items():
        (tmp_path / kind).mkdir()
        write_image(tmp_path / kind / "a.png", image)
    said = srcx("data", "align", "lq", "gt", "--scale", "2", "--write", "out")
    assert said.code == 0
    assert re.search(r"pair +┃ +zoom ┃ before, px ┃ after, px ┃ +90 %, px ┃ +max, px ┃ measured", said.out)
    assert re.search(r"│ a +│ 2.00\d\d │ +0.0\d+ │", said.out)
    assert re.search(r"│ all +│ +- │ +0.0\d+ │", said.out)
    assert "median shift of the blocks of a pair, in pixels of ground truth" in said.out
    assert said.out.endswith("out: 1 pair in lq and gt, fit for NonAlignedPairDataset with scale: 2\n")
    assert (tmp_path / "out/gt/a.png").exists()


def test_align_names_ground_truth_that_is_too_coarse_and_pairs_that_do_not_match(srcx, tmp_path):
    photo = data.astronaut()
    write_image(tmp_path / "a.png", photo[:, :400])
    write_image(tmp_path / "b.png", data.coffee())
    said = srcx("data", "align", "a.png", "a.png")
    assert said.code == 0
    assert "a: ground truth has 1.00 pixels per lq pixel, fewer than the scale 4" in said.err
    said = srcx("data", "align", "a.png", "b.png")
    assert said.code == 1
    assert "b: the images do not match: " in said.err


def test_check_counts_shows_and_moves(srcx, photos):
    shutil.copy(photos / "a.png", photos / "d.png")
    said = srcx("data", "check", photos)
    assert said.code == 0
    assert said.out.startswith(
        f"{photos}: 4 images, 1 with a defect; check.html shows them\n  duplicate  1\n"
    )
    assert (photos / "d.png").exists()
    said = srcx(
        *("data", "check", photos, "--move-to", "aside", "--kinds", "duplicate", "flat"),
        "-o",
        "new/page.html",
    )
    assert Path("new/page.html").is_file()
    assert said.out.endswith("aside: 1 image moved\n")
    assert not (photos / "d.png").exists()


def test_check_warns_of_an_image_once_and_decodes_it_once_more_for_its_thumbnails(srcx, photos, monkeypatch):
    ink = Image.fromarray(imresize(data.coffee(), scale=0.5)).convert("CMYK")
    for name in ("ink.jpg", "same.jpg"):  # both damaged, and the second a duplicate of the first
        ink.save(photos / name, quality=10)
    decoded, decode = Counter(), io.decode

    def noted(content, name, **others):
        decoded[Path(name).name] += 1
        return decode(content, name, **others)

    monkeypatch.setattr(io, "decode", noted)
    said = srcx("data", "check", photos)
    assert said.code == 0
    warned = sorted(line.split(":")[0] for line in said.sentences if "CMYK is converted to sRGB" in line)
    assert warned == [str(photos / "ink.jpg"), str(photos / "same.jpg")]
    assert (decoded["ink.jpg"], decoded["same.jpg"]) == (2, 2)


def test_check_looks_at_its_outputs_first_and_leaves_no_folder(srcx, photos, tmp_path):
    (tmp_path / "notes").write_text("")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for words, sentence in (
        ("gone -o new/page.html", "gone: this folder does not exist; check the path"),
        ("empty -o new/page.html", "empty: there are no images in this folder"),
        ("photos -o notes/page.html", "notes: cannot make this folder: notes is there and is no folder"),
        ("photos --move-to notes", "notes: cannot make this folder: notes is there and is no folder"),
    ):
        said = srcx("data", "check", *words.split())
        assert (said.code, len(said.sentences)) == (1, 1)
        assert said.sentences[0].startswith(sentence)
    assert sorted(tmp_path.rglob("*")) == before
