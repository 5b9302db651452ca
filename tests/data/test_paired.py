import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from srcx.basicsr_compat.importing import open_basicsr
from srcx.data import PairedImageDataset, SingleImageDataset
from srcx.data.stored import list_stored, names_in
from srcx.errors import BasicSRError, DataError, ImageError
from srcx.imaging.color import rgb_to_y
from srcx.imaging.io import read_image, write_image
from srcx.imaging.tensors import to_image, to_tensor


def test_whole_pairs_are_the_files_by_name(pairs):
    dataset = PairedImageDataset(**pairs)
    assert len(dataset) == 5
    assert [pair.name for pair in dataset] == ["00", "01", "02", "03", "04"]
    pair = dataset[1]
    assert_close(pair.gt, to_tensor(read_image(pairs["dataroot_gt"] / "01.png")), rtol=0, atol=0)
    assert_close(pair.lq, to_tensor(read_image(pairs["dataroot_lq"] / "01x4.png")), rtol=0, atol=0)
    assert dataset[-1].name == "04"
    with pytest.raises(IndexError):
        dataset[5]


def test_a_partner_may_have_another_suffix(pairs):
    lq = pairs["dataroot_lq"] / "03x4.png"
    write_image(lq.with_suffix(".bmp"), read_image(lq))
    lq.unlink()
    assert len(PairedImageDataset(**pairs)) == 5


def test_a_list_of_both_names_pairs_them_whatever_they_are(pairs, tmp_path):
    listed = tmp_path / "pairs.txt"
    listed.write_text("HR/02.png, LR/02x4.png\n\nHR/00.png,LR/00x4.png\n")
    arguments = {**pairs, "dataroot_gt": tmp_path, "dataroot_lq": tmp_path}
    dataset = PairedImageDataset(**arguments, meta_info=listed)
    assert [pair.name for pair in dataset] == ["02", "00"]
    (whole,) = (pair for pair in PairedImageDataset(**pairs) if pair.name == "02")
    assert dataset[0].lq.equal(whole.lq)
    assert dataset[0].gt.equal(whole.gt)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("HR/02.png\n", r"pairs\.txt:1: expected two names, 'gt\.png, lq\.png'; got 'HR/02\.png'"),
        ("\na.png, b.png, c.png\n", r"pairs\.txt:2: expected two names"),
        ("HR/02.png, LR/none.png\n", r"LR/none\.png: "),
        ("", r"pairs\.txt: there are no pairs in this file; check the path"),
    ],
)
def test_a_list_of_pairs_that_is_wrong_says_where(pairs, tmp_path, text, complaint):
    listed = tmp_path / "pairs.txt"
    listed.write_text(text)
    with pytest.raises(DataError, match=complaint):
        PairedImageDataset(**{**pairs, "dataroot_gt": tmp_path, "dataroot_lq": tmp_path}, meta_info=listed)


def test_a_meta_info_file_chooses_images_and_their_order(pairs, tmp_path):
    listed = tmp_path / "meta.txt"
    listed.write_text("04.png (64,60,3)\n\n01.png\n")
    dataset = PairedImageDataset(**pairs, meta_info_file=listed)
    assert [pair.name for pair in dataset] == ["04", "01"]


def test_lmdb_gives_what_the_folders_give(tmp_path, make_pairs, make_lmdb):
    names = make_pairs(tmp_path, template="{}")
    for side in ("HR", "LR"):
        make_lmdb(tmp_path / f"{side}.lmdb", {name: tmp_path / side / f"{name}.png" for name in names})
    folders = PairedImageDataset(dataroot_gt=tmp_path / "HR", dataroot_lq=tmp_path / "LR", scale=4)
    records = PairedImageDataset(
        dataroot_gt=tmp_path / "HR.lmdb", dataroot_lq=tmp_path / "LR.lmdb", scale=4, io_backend="lmdb"
    )
    for file, record in zip(folders, records, strict=True):
        assert file.name == record.name
        assert_close(file.lq, record.lq)
        assert_close(file.gt, record.gt)


def test_grey_alpha_and_16_bits_become_8_bit_rgb(pairs, rng):
    grey = rng.integers(0, 256, (48, 60), np.uint8)
    write_image(pairs["dataroot_gt"] / "00.png", grey.astype(np.uint16) * 256 + 200)
    lq = pairs["dataroot_lq"] / "00x4.png"
    small = read_image(lq)
    write_image(lq, np.dstack([small, small[..., 0]]))
    pair = PairedImageDataset(**pairs)[0]
    assert_array_equal(to_image(pair.gt), grey[..., None].repeat(3, axis=2))
    assert_array_equal(to_image(pair.lq), small)


def test_ground_truth_that_is_a_little_larger_is_cut_for_validation_only(pairs):
    path = pairs["dataroot_gt"] / "00.png"
    larger = np.pad(read_image(path), ((0, 3), (0, 1), (0, 0)))
    write_image(path, larger)
    assert PairedImageDataset(**pairs)[0].gt.shape == (1, 3, 48, 60)
    with pytest.raises(
        DataError, match=r"00x4\.png: is 15 x 12 pixels; times 4 that is 60 x 48, and 00\.png is 61 x 51"
    ):
        PairedImageDataset(**pairs, gt_size=16)


def test_color_mean_and_std_are_applied_as_in_basicsr(pairs):
    path = pairs["dataroot_gt"] / "00.png"
    y = PairedImageDataset(**pairs, color="y")[0].gt
    assert y.shape == (1, 1, 48, 60)
    assert (
        y[0, 0] * 255 - torch.from_numpy(rgb_to_y(read_image(path)).astype(np.float32))
    ).abs().max() < 0.501
    normal = PairedImageDataset(**pairs, mean=[0.1, 0.2, 0.3], std=[0.5, 1, 2])[0].gt
    expected = (to_tensor(read_image(path)) - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.5, 1, 2]
    ).view(1, 3, 1, 1)
    assert_close(normal, expected)


def test_crops_show_the_same_place_at_both_sizes_however_turned(pairs):
    dataset = PairedImageDataset(**pairs, gt_size=32)
    seen = set()
    for seed in range(64):
        crop = dataset.sample(0, np.random.default_rng(seed))
        assert crop.lq.shape == (8, 8, 3)
        assert crop.gt.shape == (32, 32, 3)
        means = crop.gt.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
        assert np.abs(means - crop.lq).mean() < 4  # smooth images: each lq pixel is the mean of its 4 x 4
        seen.add(crop.lq.tobytes())
    assert len(seen) > 40


@pytest.mark.parametrize(
    ("use_hflip", "use_rot", "ways"), [(False, False, 1), (True, False, 2), (False, True, 4), (True, True, 8)]
)
def test_flips_and_turns_are_those_asked_for(pairs, use_hflip, use_rot, ways):
    dataset = PairedImageDataset(**pairs, gt_size=48, use_hflip=use_hflip, use_rot=use_rot)
    whole = read_image(pairs["dataroot_gt"] / "00.png")
    places = {whole[:, left : left + 48].tobytes() for left in range(0, 13, 4)}
    seen, unturned = set(), 0
    for seed in range(200):
        crop = np.ascontiguousarray(dataset.sample(0, np.random.default_rng(seed)).gt)
        seen.add(crop.tobytes())
        unturned += crop.tobytes() in places
    assert len(seen) == 4 * ways
    assert unturned / 200 == pytest.approx(1 / ways, abs=0.1)


def half_flat(pairs):
    """Give every ground truth a right half of one colour."""
    for path in pairs["dataroot_gt"].glob("*.png"):
        image = read_image(path).copy()
        image[:, image.shape[1] // 2 :] = 90
        write_image(path, image)


@pytest.mark.parametrize(("candidates", "uniform_share"), [(1, 0.0), (8, 0.0), (8, 1.0), (8, 0.5)])
def test_of_several_places_the_one_with_the_most_detail_is_taken(pairs, candidates, uniform_share):
    half_flat(pairs)
    dataset = PairedImageDataset(**pairs, gt_size=16, crop_candidates=candidates, uniform_share=uniform_share)
    flat = [np.ptp(dataset.sample(0, np.random.default_rng(seed)).gt) == 0 for seed in range(400)]
    alone = 4 / 12  # of the 12 lq columns where a crop may begin, 4 are in the flat half
    expected = alone if candidates == 1 else uniform_share * alone + (1 - uniform_share) * alone**candidates
    assert np.mean(flat) == pytest.approx(expected, abs=0.06)


def test_by_default_a_crop_is_the_first_place_drawn(pairs):
    dataset = PairedImageDataset(**pairs, gt_size=16)
    whole = dataset.read(1)
    place = dataset.crops.draw(*whole.lq.shape[:2], np.random.default_rng(3))
    expected = place.cut(whole.lq, place.top, place.left, 4)
    assert_array_equal(dataset.sample(1, np.random.default_rng(3)).lq, expected)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"crop_candidates": 0}, "crop_candidates must be at least 1; got 0"),
        ({"uniform_share": 1.5}, r"uniform_share must be in \[0, 1\]; got 1.5"),
    ],
)
def test_wrong_choices_of_crops_are_named(pairs, wrong, said):
    with pytest.raises(DataError, match=said):
        PairedImageDataset(**pairs, gt_size=16, **wrong)


def test_a_image_is_decoded_once_while_the_cache_holds_it(pairs, monkeypatch):
    dataset = PairedImageDataset(**pairs, gt_size=16)
    reads = []
    read = dataset.read
    monkeypatch.setattr(dataset, "read", lambda index: reads.append(index) or read(index))
    for _ in range(3):
        for index in range(5):
            dataset.sample(index, np.random.default_rng(0))
    assert reads == [0, 1, 2, 3, 4]


def test_small_images_are_left_out_of_training_with_a_word(pairs, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = PairedImageDataset(**pairs, gt_size=56)
    assert [dataset.name(index) for index in range(len(dataset))] == ["02", "03", "04"]
    assert "2 of 5 images are smaller than a crop (gt_size 56) and left out" in caplog.text
    assert "00.png ..." in caplog.text
    with pytest.raises(DataError, match="none of 5 images holds a crop of gt_size 64; lower it"):
        PairedImageDataset(**pairs, gt_size=64)


def test_says_when_the_images_outgrow_the_cache(pairs, caplog):
    PairedImageDataset(**pairs, gt_size=16, cache_mib=0)
    assert "5 images need 0 MiB" not in caplog.text
    big = np.zeros((800, 800, 3), np.uint8)
    write_image(pairs["dataroot_gt"] / "00.png", big)
    write_image(pairs["dataroot_lq"] / "00x4.png", big[:200, :200])
    PairedImageDataset(**pairs, gt_size=16, cache_mib=1)
    assert "5 images need 2 MiB when decoded and cache_mib is 1" in caplog.text


def test_describes_what_there_is(pairs):
    assert PairedImageDataset(**pairs).describe() == "5 images, 0.0 megapixels, 0 MiB when decoded"


def test_every_problem_is_said_at_once(pairs):
    gt, lq = pairs["dataroot_gt"], pairs["dataroot_lq"]
    (lq / "00x4.png").unlink()
    (gt / "01.png").write_bytes((gt / "01.png").read_bytes()[:100])
    write_image(lq / "02x4.png", np.zeros((3, 5), np.uint8))
    (lq / "03x4.png").write_bytes(b"")
    shutil.copy(gt / "04.png", lq / "stray.png")
    with pytest.raises(DataError) as raised:
        PairedImageDataset(**pairs)
    lines = str(raised.value).split("\n  ")
    assert lines[0] == f"{gt}: 5 problems with its images:"
    assert f"{gt / '00.png'}: has no partner named 00x4.png in {lq}" in lines
    assert f"{lq / 'stray.png'}: has no partner in {gt} whose name gives it by '{{}}x4'" in lines
    assert f"{gt / '01.png'}: is damaged or cut off; get a whole copy of the file" in lines
    assert f"{lq / '02x4.png'}: is 5 x 3 pixels; times 4 that is 20 x 12, and 02.png is 60 x 56" in lines
    assert f"{lq / '03x4.png'}: is empty (0 bytes); get a whole copy of the file" in lines


def test_of_many_problems_ten_are_named_and_the_others_counted(tmp_path, make_pairs):
    make_pairs(tmp_path, count=14)
    with pytest.raises(DataError) as raised:
        PairedImageDataset(
            dataroot_gt=tmp_path / "HR", dataroot_lq=tmp_path / "LR", scale=2, filename_tmpl="{}x4"
        )
    lines = str(raised.value).split("\n  ")
    assert len(lines) == 12
    assert "14 problems" in lines[0]
    assert lines[-1] == "... and 4 more"


def test_missing_and_empty_folders_are_said_together(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        PairedImageDataset(dataroot_gt=tmp_path / "none", dataroot_lq=tmp_path / "empty", scale=4)
    assert f"{tmp_path / 'none'}: this folder does not exist" in str(raised.value)
    assert f"{tmp_path / 'empty'}: there are no images in this folder" in str(raised.value)


def test_an_empty_list_of_images_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match=r"list\.txt: there are no images in this list; check the path"):
        list_stored(tmp_path, meta_info_file=tmp_path / "list.txt")


def test_a_list_of_images_that_is_missing_or_names_missing_ones_is_an_error(pairs, tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: this list of images cannot be read: No such file"):
        PairedImageDataset(**pairs, meta_info_file=tmp_path / "none.txt")
    (tmp_path / "meta.txt").write_text("gone.png\n")
    with pytest.raises(DataError, match=r"gone\.png: has no partner named gonex4\.png"):
        PairedImageDataset(**pairs, meta_info_file=tmp_path / "meta.txt")
    (tmp_path / "meta.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="it is not text"):
        PairedImageDataset(**pairs, meta_info_file=tmp_path / "meta.txt")
    (tmp_path / "meta.txt").write_text("\n")
    with pytest.raises(DataError, match="there are no images"):
        PairedImageDataset(**pairs, meta_info_file=tmp_path / "meta.txt")


def test_wrong_lmdb_folders_are_errors(tmp_path, make_pairs, make_lmdb):
    names = make_pairs(tmp_path, count=2, template="{}")
    arguments = {"scale": 4, "io_backend": "lmdb"}
    with pytest.raises(DataError, match=r"whose name ends in \.lmdb"):
        PairedImageDataset(dataroot_gt=tmp_path / "HR", dataroot_lq=tmp_path / "LR", **arguments)
    gt, lq = tmp_path / "HR.lmdb", tmp_path / "LR.lmdb"
    with pytest.raises(DataError, match="this LMDB folder does not exist"):
        PairedImageDataset(dataroot_gt=gt, dataroot_lq=lq, **arguments)
    make_lmdb(gt, {name: tmp_path / "HR" / f"{name}.png" for name in names})
    make_lmdb(lq, {"00": tmp_path / "LR/00.png"})
    with pytest.raises(DataError, match=r"HR\.lmdb/01: has no partner named 01 in"):
        PairedImageDataset(dataroot_gt=gt, dataroot_lq=lq, **arguments)
    (lq / "meta_info.txt").write_text("00.png\n01.png\n")
    with pytest.raises(
        DataError, match=r"LR\.lmdb/01: meta_info\.txt names this image, but the LMDB has no such key"
    ):
        PairedImageDataset(dataroot_gt=gt, dataroot_lq=lq, **arguments)
    broken = tmp_path / "broken.lmdb"
    broken.mkdir()
    (broken / "meta_info.txt").write_text("00.png\n")
    (broken / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match=r"broken\.lmdb: this LMDB folder cannot be opened"):
        PairedImageDataset(dataroot_gt=broken, dataroot_lq=lq, **arguments)


def test_a_crop_that_is_no_multiple_of_the_scale_is_an_error(pairs):
    with pytest.raises(DataError, match="gt_size must be a multiple of scale 4; got 30"):
        PairedImageDataset(**pairs, gt_size=30)


def test_a_file_damaged_after_the_check_names_itself_when_it_is_read(pairs):
    dataset = PairedImageDataset(**pairs)
    (pairs["dataroot_gt"] / "02.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"02\.png: is empty"):
        dataset[2]


def test_equals_basicsrs_own_data_set(shared):
    try:
        theirs_kind = open_basicsr("basicsr.data.paired_image_dataset").PairedImageDataset
    except BasicSRError as error:
        pytest.skip(str(error))
    folder = shared / "data/benchmark/Set14"
    arguments = {
        "dataroot_gt": str(folder / "HR"),
        "dataroot_lq": str(folder / "LR_bicubic/X4"),
        "filename_tmpl": "{}x4",
        "scale": 4,
    }
    theirs = theirs_kind({**arguments, "io_backend": {"type": "disk"}, "phase": "val"})
    of_name = {Path(pair["gt_path"]).stem: pair for pair in theirs}
    ours = list(PairedImageDataset(**arguments))
    assert len(ours) == len(theirs) == 14
    for pair in ours:  # "bridge" among them, which is grey
        assert_close(pair.lq[0], of_name[pair.name]["lq"])
        assert_close(pair.gt[0], of_name[pair.name]["gt"])


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_meta_info_file_may_have_a_byte_order_mark_and_names_with_spaces(pairs, tmp_path, mark, end):
    for side, name in (("gt", "my photo 2.png"), ("lq", "my photo 2x4.png")):
        old = pairs[f"dataroot_{side}"] / ("02.png" if side == "gt" else "02x4.png")
        old.rename(old.with_name(name))
    listed = tmp_path / "meta.txt"
    for lines in (
        ["01.png", "my photo 2.png (56,60,3) 1"],
        ["01.png (52,60,3)", "my photo 2.png"],
        ["01.png x", "my photo 2.png"],
    ):
        listed.write_text(mark + end.join(lines) + end, encoding="utf-8", newline="")
        assert [pair.name for pair in PairedImageDataset(**pairs, meta_info_file=listed)] == [
            "01",
            "my photo 2",
        ]


@pytest.mark.parametrize("rest", ["", " (56,60,3)", " (56,60,3) 1"])
@pytest.mark.parametrize(
    "name", ["photo (100,200).png", "photo (100,200,3) 1.png", " lead.png", "two  words.png"]
)
def test_a_meta_info_file_names_any_file_that_is_there(pairs, tmp_path, name, rest):
    old = pairs["dataroot_gt"] / "02.png"
    old.rename(old.with_name(name))
    (tmp_path / "meta.txt").write_text(f"{name}{rest}\n")
    assert names_in(tmp_path / "meta.txt", old.parent) == [name.strip() if rest else name]
    (tmp_path / "meta.txt").write_text(f"{'a' * 300}{rest}\n")
    assert names_in(tmp_path / "meta.txt", old.parent) == ["a" * 300]


READ_ALL = """
import sys
from srcx.data import SingleImageDataset
from srcx.errors import SrcxError
try:
    print(sum(1 for _ in SingleImageDataset(dataroot_lq=sys.argv[1], io_backend="lmdb")))
except SrcxError as error:
    print(error)
"""


@pytest.mark.parametrize("length", [0, 1, 100, 4096, 5000, 8192, 8193, 0.3, 0.7, -4096, -1])
def test_an_lmdb_that_is_cut_off_is_an_error_and_no_crash(tmp_path, make_pairs, make_lmdb, length):
    names = make_pairs(tmp_path, template="{}")
    make_lmdb(tmp_path / "x.lmdb", {name: tmp_path / "HR" / f"{name}.png" for name in names})
    file = tmp_path / "x.lmdb/data.mdb"
    size = file.stat().st_size
    os.truncate(file, int(size * length) if isinstance(length, float) else length % size)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, tmp_path / "x.lmdb"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"killed by signal {-done.returncode}: {done.stderr}"
    assert "x.lmdb" in done.stdout
    assert "anew" in done.stdout


def test_an_lmdb_with_a_damaged_page_is_an_error(tmp_path, make_pairs, make_lmdb):
    names = make_pairs(tmp_path, template="{}")
    make_lmdb(tmp_path / "x.lmdb", {name: tmp_path / "HR" / f"{name}.png" for name in names})
    with (tmp_path / "x.lmdb/data.mdb").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * 8192)
    with pytest.raises((DataError, ImageError), match=r"x\.lmdb.*(damaged|cut off)"):
        list(SingleImageDataset(dataroot_lq=tmp_path / "x.lmdb", io_backend="lmdb"))


@pytest.mark.parametrize("key", ["/etc/x", ".hidden", "../../x", "k" * 512])
def test_keys_of_an_lmdb_that_cannot_be_or_lead_elsewhere_are_refused(tmp_path, pairs, make_lmdb, key):
    make_lmdb(tmp_path / "x.lmdb", {"k": pairs["dataroot_lq"] / "00x4.png"})
    (tmp_path / "x.lmdb/meta_info.txt").write_text(f"{key}.png (12,15,3) 1\n")
    with pytest.raises(DataError, match=r"meta_info\.txt: expected keys of 1 to 511 bytes"):
        SingleImageDataset(dataroot_lq=tmp_path / "x.lmdb", io_backend="lmdb")
