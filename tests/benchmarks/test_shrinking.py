import numpy as np
import pytest

from srcx.benchmarks.shrinking import METHODS, compare
from srcx.errors import ImageError


@pytest.mark.parametrize("place", range(len(METHODS)), ids=[method.words for method in METHODS])
@pytest.mark.parametrize("shape", [(64, 80, 3), (64, 80)])
@pytest.mark.parametrize("scale", [2, 4])
def test_each_method_is_recognised(place, shape, scale, rng):
    gt = rng.integers(0, 256, shape, np.uint8)
    lq = METHODS[place].shrink(gt, (64 // scale, 80 // scale))
    found = compare(lq, gt, scale)
    same_at_2 = {5, 6} if scale == 2 else set()  # INTER_AREA and INTER_LINEAR both average two by two
    assert found.exact == ({place} | same_at_2 if place in same_at_2 else {place})
    assert found.mean == 0


def test_a_changed_image_is_nearest_to_its_method(rng):
    gt = rng.integers(0, 256, (64, 80, 3), np.uint8)
    lq = METHODS[4].shrink(gt, (16, 20)).astype(int)
    found = compare(np.clip(lq + 2, 0, 255).astype(np.uint8), gt, 4)
    assert (found.exact, found.nearest, found.most) == (frozenset(), 4, 2)
    assert 1.5 < found.mean <= 2


def test_ground_truth_is_cut_first(rng):
    gt = rng.integers(0, 256, (67, 81, 3), np.uint8)
    lq = METHODS[0].shrink(gt[:64, :80], (16, 20))
    assert compare(lq, gt, 4).exact == {0}


def test_grey_is_compared_with_grey_in_three_channels(rng):
    gt = rng.integers(0, 256, (64, 80), np.uint8)
    lq = METHODS[0].shrink(gt, (16, 20))
    assert compare(np.stack([lq] * 3, axis=2), gt, 4).exact == {0}
    coloured = rng.integers(0, 256, (16, 20, 3), np.uint8)
    assert compare(coloured, gt, 4).exact == frozenset()


def test_wrong_sizes_and_types_are_errors(rng):
    gt = rng.integers(0, 256, (64, 80, 3), np.uint8)
    with pytest.raises(ImageError, match="is 20 x 15 pixels, and 1/4 of its ground truth is 20 x 16"):
        compare(gt[:15, :20], gt, 4)
    with pytest.raises(ImageError, match="16 bits or alpha"):
        compare(gt[:16, :20].astype(np.uint16), gt, 4)
