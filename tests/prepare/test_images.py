import json

import numpy as np
import pytest

from srcx.config import DegradationOptions, load_degradation
from srcx.data import PairedImageDataset
from srcx.data.degradation import degrade, seeded
from srcx.errors import DataError, OutputError
from srcx.imaging import imresize, read_image, write_image
from srcx.prepare.images import make_degraded, make_low_resolution, make_sub_images


def quiet(*_):
    """Ignore the progress."""


@pytest.fixture
def hr(tmp_path, rng):
    folder = tmp_path / "HR"
    folder.mkdir()
    for name, shape in (("a", (45, 50, 3)), ("b", (40, 41)), ("0801x4", (30, 30, 3))):
        write_image(folder / f"{name}.png", rng.integers(0, 256, shape, np.uint8))
    return folder


def low(hr, out, **changes):
    arguments = {
        "scale": 4,
        "multiple": 4,
        "border": "replicate",
        "gt_out": None,
        "on_progress": quiet,
    } | changes
    return make_low_resolution(hr, out, **arguments)


def sub(source, out, **changes):
    arguments = {"crop_px": 20, "step_px": 10, "threshold_px": 0, "on_progress": quiet} | changes
    return make_sub_images(source, out, **arguments)


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


@pytest.mark.parametrize("border", ["replicate", "symmetric"])
def test_low_resolution_is_matlab_s_of_the_cut_image(hr, tmp_path, border):
    outcome = low(hr, tmp_path / "LR", border=border, gt_out=tmp_path / "GT", multiple=12)
    assert (outcome.made, outcome.skipped, outcome.problems) == (3, 0, [])
    cut = read_image(hr / "a.png")[:36, :48]
    assert np.array_equal(read_image(tmp_path / "GT/a.png"), cut)
    assert np.array_equal(read_image(tmp_path / "LR/X4/ax4.png"), imresize(cut, scale=0.25, border=border))
    assert read_image(tmp_path / "LR/X4/bx4.png").shape == (9, 9)


@pytest.mark.parametrize("make", [low, sub])
def test_a_name_too_long_for_its_results_is_named_and_the_other_images_are_made(make, hr, tmp_path):
    (hr / "a.png").rename(hr / f"{'n' * 250}.png")
    outcome = make(hr, tmp_path / "out")
    assert outcome.made == 2
    (problem,) = outcome.problems
    assert problem.startswith(str(tmp_path / "out"))
    assert problem.endswith("n_s001.png: cannot be written: File name too long; choose a shorter name") or (
        problem.endswith("nx4.png: cannot be written: File name too long; choose a shorter name")
    )


def test_a_second_run_makes_only_what_is_missing(hr, tmp_path):
    low(hr, tmp_path / "LR")
    before = times(tmp_path / "LR/X4")
    (tmp_path / "LR/X4/bx4.png").unlink()
    outcome = low(hr, tmp_path / "LR")
    assert (outcome.made, outcome.skipped) == (1, 2)
    after = times(tmp_path / "LR/X4")
    assert {name for name in before if before[name] == after[name]} == {"ax4.png", "0801x4x4.png"}


def test_a_folder_of_something_else_is_not_touched(hr, tmp_path):
    (tmp_path / "LR/X4").mkdir(parents=True)
    (tmp_path / "LR/X4/ax4.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="holds files that srcx did not prepare"):
        low(hr, tmp_path / "LR")
    assert [path.name for path in (tmp_path / "LR/X4").iterdir()] == ["ax4.png"]


def test_where_one_of_two_folders_is_occupied_the_other_is_not_made(hr, tmp_path):
    for occupied in ("GT", "pairs/lq"):
        (tmp_path / occupied).mkdir(parents=True)
        (tmp_path / occupied / "mine.txt").touch()
    with pytest.raises(OutputError, match="GT: holds files that srcx did not prepare"):
        low(hr, tmp_path / "LR", gt_out=tmp_path / "GT")
    with pytest.raises(OutputError, match="pairs/lq: holds files that srcx did not prepare"):
        pairs(hr, tmp_path / "pairs")
    assert not (tmp_path / "LR").exists()
    assert not (tmp_path / "pairs/gt").exists()


def test_both_sides_do_not_go_into_one_folder(hr, tmp_path):
    with pytest.raises(OutputError, match="X4: is the folder of the low-resolution images"):
        low(hr, tmp_path, gt_out=tmp_path / "HR/../X4")
    assert not (tmp_path / "X4").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"settings": 1, "images": 2}', "[" * 100_000])
def test_a_damaged_record_is_as_good_as_none(hr, tmp_path, content):
    low(hr, tmp_path / "LR")
    (tmp_path / "LR/X4/.srcx-prepared.json").write_text(content)
    with pytest.raises(OutputError, match="holds files that srcx did not prepare"):
        low(hr, tmp_path / "LR")


def test_other_settings_and_other_images_are_refused(hr, tmp_path, rng):
    low(hr, tmp_path / "LR")
    with pytest.raises(OutputError, match="border replicate; expected scale 4, multiple 4, border symmetric"):
        low(hr, tmp_path / "LR", border="symmetric")
    write_image(hr / "a.png", rng.integers(0, 256, (60, 60, 3), np.uint8))
    with pytest.raises(OutputError, match=r"prepared from other images with the names a\.png"):
        low(hr, tmp_path / "LR")


def test_new_images_are_added(hr, tmp_path, rng):
    low(hr, tmp_path / "LR")
    write_image(hr / "c.png", rng.integers(0, 256, (40, 40, 3), np.uint8))
    assert low(hr, tmp_path / "LR").made == 1


def test_a_damaged_image_does_not_stop_the_others_and_is_taken_when_repaired(hr, tmp_path):
    whole = (hr / "a.png").read_bytes()
    (hr / "a.png").write_bytes(whole[:500])
    outcome = low(hr, tmp_path / "LR")
    assert outcome.made == 2
    assert [problem.split(": ")[1] for problem in outcome.problems] == [
        "is damaged or cut off; get a whole copy of the file"
    ]
    (hr / "a.png").write_bytes(whole)
    assert (low(hr, tmp_path / "LR").made, low(hr, tmp_path / "LR").made) == (1, 0)


def test_an_image_too_small_for_a_crop_is_named(hr, tmp_path):
    (problem,) = low(hr, tmp_path / "LR", multiple=44).problems[1:]
    assert problem.endswith("has a side of less than 44 pixels, so nothing is left after the crop")


def test_a_link_without_a_file_stops_no_other_image(hr, tmp_path):
    (hr / "gone.png").symlink_to("nowhere.png")
    outcome = low(hr, tmp_path / "LR")
    assert outcome.made > 0
    assert any("gone.png" in problem for problem in outcome.problems)


def test_two_images_of_one_name_are_refused(hr, tmp_path):
    write_image(hr / "a.jpg", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would get the same name"):
        low(hr, tmp_path / "LR")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="there are no images in this folder"):
        low(tmp_path / "none", tmp_path / "LR")
    assert not (tmp_path / "LR").exists()


def test_sub_images_are_those_of_basicsr_s_script(hr, tmp_path):
    """The loop of its extract_subimages, written out for 45 x 50."""
    assert sub(hr, tmp_path / "sub").made == 3
    image = read_image(hr / "a.png")
    corners = [(top, left) for top in (0, 10, 20, 25) for left in (0, 10, 20, 30)]
    found = sorted((tmp_path / "sub").glob("a_s*.png"))
    assert [path.name for path in found] == [f"a_s{number:03d}.png" for number in range(1, 17)]
    for path, (top, left) in zip(found, corners, strict=True):
        assert np.array_equal(read_image(path), image[top : top + 20, left : left + 20])


def test_both_sides_of_a_pair_get_the_same_names(hr, tmp_path):
    sub(hr, tmp_path / "sub")
    assert (tmp_path / "sub/0801_s001.png").exists()


def test_a_small_rest_gets_no_sub_image(hr, tmp_path):
    sub(hr, tmp_path / "sub", threshold_px=5)
    assert len(list((tmp_path / "sub").glob("a_s*.png"))) == 3 * 4


def test_an_image_smaller_than_a_sub_image_is_named(hr, tmp_path):
    outcome = sub(hr, tmp_path / "sub", crop_px=35)
    assert outcome.made == 2
    assert outcome.problems == [f"{hr}/0801x4.png: is 30 x 30 pixels, smaller than a sub-image of 35"]


def test_sub_images_go_on(hr, tmp_path):
    sub(hr, tmp_path / "sub")
    (tmp_path / "sub/a_s003.png").unlink()
    outcome = sub(hr, tmp_path / "sub")
    assert (outcome.made, outcome.skipped) == (1, 2)
    assert (tmp_path / "sub/a_s003.png").exists()


def test_the_record_names_no_folder_of_the_user_s(hr, tmp_path):
    low(hr, tmp_path / "LR")
    record = (tmp_path / "LR/X4/.srcx-prepared.json").read_text()
    assert str(tmp_path) not in record
    assert set(json.loads(record)["images"]) == {"a.png", "b.png", "0801x4.png"}


OLD = load_degradation("old")


def pairs(source, out, **changes):
    arguments = {"degradation": OLD, "name": "old", "scale": 4, "seed": 0, "on_progress": quiet} | changes
    return make_degraded(source, out, **arguments)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_degraded_pairs_are_the_cut_image_and_its_lq_by_the_seed_and_its_name(hr, tmp_path):
    outcome = pairs(hr, tmp_path / "out")
    assert (outcome.made, outcome.skipped, outcome.problems) == (3, 0, [])
    gt = read_image(hr / "a.png")[:44, :48]
    assert np.array_equal(read_image(tmp_path / "out/gt/a.png"), gt)
    lq = degrade(gt, OLD, scale=4, rng=seeded(0, OLD, "a"))
    assert np.array_equal(read_image(tmp_path / "out/lq/a.png"), lq)
    assert read_image(tmp_path / "out/gt/b.png").shape == (40, 40, 3)  # grey, as training sees it


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_degraded_pairs_train_as_they_are(hr, tmp_path, scale):
    pairs(hr, tmp_path / "out", scale=scale)
    dataset = PairedImageDataset(
        dataroot_gt=tmp_path / "out/gt", dataroot_lq=tmp_path / "out/lq", scale=scale, gt_size=6 * scale
    )
    assert [dataset.name(index) for index in range(len(dataset))] == ["0801x4", "a", "b"]


def test_an_image_s_bytes_depend_on_the_seed_and_on_no_other_image(hr, tmp_path):
    pairs(hr, tmp_path / "all")
    pairs(hr / "a.png", tmp_path / "alone")
    pairs(hr / "b.png", tmp_path / "alone")  # more images may come into the same folder
    pairs(hr, tmp_path / "other", seed=1)
    everything = contents(tmp_path / "all")
    alone = contents(tmp_path / "alone")
    assert alone == {name: data for name, data in everything.items() if "0801" not in name}
    assert len(alone) == 4
    other = contents(tmp_path / "other")
    assert {name for name in everything if everything[name] != other[name]} == {
        "lq/a.png",
        "lq/b.png",
        "lq/0801x4.png",
    }


def test_degraded_pairs_go_on_where_half_a_pair_is_missing(hr, tmp_path):
    pairs(hr, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out/lq/a.png").unlink()
    (tmp_path / "out/gt/b.png").unlink()
    outcome = pairs(hr, tmp_path / "out")
    assert (outcome.made, outcome.skipped) == (2, 1)
    assert contents(tmp_path / "out") == before


def test_pairs_of_another_seed_or_degradation_are_not_mixed(hr, tmp_path):
    pairs(hr, tmp_path / "out")
    with pytest.raises(OutputError, match=r"old \(\w{8}\), scale 4, seed 0; expected .* seed 1"):
        pairs(hr, tmp_path / "out", seed=1)
    # A file that was edited keeps its name; its description is another.
    with pytest.raises(OutputError, match="expected degradation"):
        pairs(hr, tmp_path / "out", degradation=DegradationOptions())


@pytest.mark.parametrize("inside", ["", "out", "some/out"])
def test_pairs_do_not_go_into_the_folder_that_is_read(hr, inside):
    before = sorted(hr.rglob("*"))
    with pytest.raises(OutputError, match="whose images are read; name a folder outside it"):
        pairs(hr, hr / inside)
    assert sorted(hr.rglob("*")) == before


def test_images_that_cannot_be_degraded_are_named_and_the_others_made(hr, tmp_path):
    (hr / "a.png").write_bytes(b"")
    write_image(hr / "long.png", np.zeros((4, 72_000), np.uint8))
    write_image(hr / "thin.png", np.zeros((3, 40, 3), np.uint8))
    always = DegradationOptions.model_validate({"passes": [{"compression": {}}]})
    outcome = pairs(hr, tmp_path / "out", degradation=always)
    assert outcome.made == 2
    empty, long, thin = outcome.problems
    assert long.startswith(f"{hr}/long.png: has 72000 x 4 pixels when the degradation compresses it")
    assert empty.startswith(f"{hr}/a.png: is empty")
    assert thin == f"{hr}/thin.png: has a side of less than 4 pixels, so nothing is left after the crop"


def test_what_is_no_folder_and_no_image_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: this folder does not exist"):
        pairs(tmp_path / "gone", tmp_path / "out")
    assert not (tmp_path / "out").exists()
