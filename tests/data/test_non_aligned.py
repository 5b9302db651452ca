import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from srcx.data import HighResolutionDataset, NonAlignedPairDataset, PairedImageDataset, train_batches
from srcx.errors import DataError
from srcx.imaging.io import read_image, write_image

STILL = {"use_hflip": False, "use_rot": False}


@pytest.fixture
def scene(tmp_path, rng):
    """One image of noise, whose every crop is found again, and its x4 lq."""
    write_image_in(tmp_path / "gt", "a.png", rng.integers(0, 256, (80, 96, 3), np.uint8))
    return tmp_path / "gt"


@pytest.fixture
def several(tmp_path, make_pairs):
    """Two lq images with three and two targets, each of one level of grey."""
    for name, levels in {"0": (10, 20, 30), "1": (40, 50)}.items():
        write_image_in(tmp_path / "lq", f"{name}.png", np.full((12, 16, 3), levels[0], np.uint8))
        for level in levels:
            write_image_in(tmp_path / "gt" / name, f"{level}.png", np.full((24, 32, 3), level, np.uint8))
    return {"dataroot_gt": tmp_path / "gt", "dataroot_lq": tmp_path / "lq", "scale": 2, "gt_size": 8}


def write_image_in(folder, name, image):
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / name, image)


def place(crop, whole):
    """Top and left of a crop in an image of noise."""
    windows = np.lib.stride_tricks.sliding_window_view(whole, crop.shape)[:, :, 0]
    ((top, left),) = np.argwhere((windows == crop).all((2, 3, 4)))
    return int(top), int(left)


def offsets(dataset, draws=400):
    """Of each draw how far its target is moved down and right."""
    whole = dataset.read(0)
    found = []
    for seed in range(draws):
        lq, gt = dataset.sample(0, np.random.default_rng(seed))
        (top, left), (down, right) = place(lq, whole.lq), place(gt, whole.gt)
        found.append((down - top * dataset.scale, right - left * dataset.scale))
    return found


def take(count, dataset, **arguments):
    return list(itertools.islice(train_batches(dataset, batch_size=3, seed=5, **arguments), count))


def test_without_offsets_the_crops_are_those_of_the_aligned_data_sets(pairs, tmp_path):
    lone = {"dataroot_gt": tmp_path / "HR", "scale": 4, "gt_size": 16}
    for ours, theirs in (
        (NonAlignedPairDataset(**pairs, gt_size=16), PairedImageDataset(**pairs, gt_size=16)),
        (NonAlignedPairDataset(**lone), HighResolutionDataset(**lone)),
    ):
        for one, other in zip(take(4, ours), take(4, theirs), strict=True):
            assert torch.equal(one["lq"], other["lq"])
            assert torch.equal(one["gt"], other["gt"])


def test_every_offset_up_to_the_largest_is_drawn_and_none_beyond(scene):
    dataset = NonAlignedPairDataset(dataroot_gt=scene, scale=4, gt_size=16, max_offset=3, **STILL)
    assert set(offsets(dataset)) == set(itertools.product(range(-3, 4), repeat=2))


def test_offsets_have_room_at_every_place(tmp_path, rng, caplog):
    # The smallest image there can be: a crop of 16 and 2 lq pixels about it for offsets up to 5.
    write_image_in(tmp_path, "a.png", rng.integers(0, 256, (32, 32, 3), np.uint8))
    dataset = NonAlignedPairDataset(dataroot_gt=tmp_path, scale=4, gt_size=16, max_offset=5, **STILL)
    drawn = offsets(dataset, 200)
    assert {down for down, _ in drawn} == {right for _, right in drawn} == set(range(-5, 6))
    write_image_in(tmp_path, "small.png", np.zeros((30, 40, 3), np.uint8))
    with caplog.at_level("WARNING"):
        NonAlignedPairDataset(dataroot_gt=tmp_path, scale=4, gt_size=16, max_offset=5)
    assert caplog.text.endswith(f"(gt_size 16 and max_offset 5) and left out ({tmp_path}/small.png)\n")
    with pytest.raises(DataError, match="none of 2 images holds a crop of gt_size 16 and max_offset 9"):
        NonAlignedPairDataset(dataroot_gt=tmp_path, scale=4, gt_size=16, max_offset=9)


def test_lq_and_its_target_are_turned_alike(tmp_path, rng):
    gt = np.kron(rng.integers(0, 256, (12, 12, 3), np.uint8), np.ones((2, 2, 1), np.uint8))
    write_image_in(tmp_path / "gt", "a.png", gt)
    write_image_in(tmp_path / "lq", "a.png", gt[::2, ::2])
    dataset = NonAlignedPairDataset(
        dataroot_gt=tmp_path / "gt", dataroot_lq=tmp_path / "lq", scale=2, gt_size=12
    )
    for seed in range(20):
        lq, gt_crop = dataset.sample(0, np.random.default_rng(seed))
        assert_array_equal(gt_crop[::2, ::2], lq)


def test_one_of_several_targets_each_once_an_epoch(several):
    dataset = NonAlignedPairDataset(**several, targets="several")
    assert len(dataset) == 5
    assert [dataset.name(index) for index in range(5)] == ["0", "0", "0", "1", "1"]
    stream = train_batches(dataset, batch_size=5, seed=0)
    orders = []
    for batch in itertools.islice(stream, 3):
        levels = [[round(255 * image.mean().item()) for image in batch[key]] for key in ("lq", "gt")]
        assert sorted(zip(*levels, strict=True)) == [(10, 10), (10, 20), (10, 30), (40, 40), (40, 50)]
        orders.append(levels[1])
    assert orders[0] != orders[1]


def test_unpaired_targets_are_any_place_of_any_image(several, tmp_path, rng):
    for number in range(3):
        write_image_in(tmp_path / "any", f"{number}.png", np.full((9 + number, 8, 3), 60 + number, np.uint8))
    dataset = NonAlignedPairDataset(**several | {"dataroot_gt": tmp_path / "any"}, targets="unpaired")
    assert len(dataset) == 3
    seen = set()
    for seed in range(60):
        for index in range(3):
            lq, gt = dataset.sample(index, np.random.default_rng(seed))
            assert (lq.shape, gt.shape) == ((4, 4, 3), (8, 8, 3))
            seen.add((int(lq[0, 0, 0]), int(gt[0, 0, 0])))
    assert seen == {(lq, gt) for lq in (10, 40) for gt in (60, 61, 62)}


def test_unpaired_targets_need_no_lq_images(scene):
    write_image_in(scene, "b.png", np.full((30, 30, 3), 200, np.uint8))
    dataset = NonAlignedPairDataset(dataroot_gt=scene, scale=4, gt_size=16, targets="unpaired", **STILL)
    whole = dataset.read(0)
    drawn = [dataset.sample(0, np.random.default_rng(seed)) for seed in range(40)]
    of_another = [pair for pair in drawn if (pair.gt == 200).all()]
    assert 0 < len(of_another) < 40
    apart = [
        place(lq, whole.lq) != tuple(at // 4 for at in place(gt, whole.gt)) for lq, gt in drawn if gt.std()
    ]
    assert sum(apart) > len(apart) / 2


@pytest.mark.parametrize("targets", ["paired", "unpaired"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_starts_later_goes_on_exactly(pairs, targets, workers):
    offset = {"paired": 4, "unpaired": 0}[targets]
    dataset = NonAlignedPairDataset(**pairs, gt_size=16, targets=targets, max_offset=offset)
    whole, rest = take(6, dataset), take(4, dataset, start_iter=2, workers=workers)
    for one, other in zip(rest, whole[2:], strict=True):
        assert torch.equal(one["lq"], other["lq"])
        assert torch.equal(one["gt"], other["gt"])


def test_targets_of_lqs_own_size_make_pairs_to_denoise(scene, tmp_path):
    write_image_in(tmp_path / "noisy", "a.png", read_image(scene / "a.png")[::-1])
    dataset = NonAlignedPairDataset(dataroot_gt=scene, dataroot_lq=tmp_path / "noisy", scale=1, gt_size=16)
    lq, gt = dataset.sample(0, np.random.default_rng(0))
    assert lq.shape == gt.shape == (16, 16, 3)


def test_says_how_its_pairs_are_not_aligned(scene):
    dataset = NonAlignedPairDataset(dataroot_gt=scene, scale=4, gt_size=16, max_offset=3)
    assert dataset.describe().endswith("when decoded, targets paired, gt_size 16 and max_offset 3")


def test_every_problem_of_several_targets_is_said_at_once(several):
    (several["dataroot_gt"] / "empty").mkdir()
    write_image_in(several["dataroot_lq"], "alone.png", np.zeros((12, 16, 3), np.uint8))
    write_image_in(several["dataroot_gt"] / "0", "odd.png", np.zeros((24, 30, 3), np.uint8))
    with pytest.raises(DataError) as raised:
        NonAlignedPairDataset(**several, targets="several")
    message = str(raised.value)
    assert "3 problems" in message
    assert "alone.png: has no folder in" in message
    assert "gt/empty: has no partner named empty in" in message
    assert "times 2 that is 32 x 24, and odd.png is 30 x 24" in message


def test_several_targets_are_folders(several):
    with pytest.raises(DataError, match="expected a folder of targets for each image; there is no folder"):
        NonAlignedPairDataset(**several | {"dataroot_gt": several["dataroot_gt"] / "0"}, targets="several")
