import numpy as np
import pytest

from srcx.data import PairedImageDataset, SingleImageDataset
from srcx.errors import DataError
from srcx.imaging import write_image


@pytest.fixture
def folders(tmp_path, rng):
    for folder, side in (("gt", 16), ("lq", 8)):
        (tmp_path / folder).mkdir()
        for name in ("a.png", "a.bmp"):
            write_image(tmp_path / folder / name, rng.integers(0, 256, (side, side, 3), np.uint8))
    return tmp_path


def test_two_images_of_one_name_are_refused_in_a_test_set(folders):
    """Their results would go by one name."""
    gt, lq = folders / "gt", folders / "lq"
    with pytest.raises(DataError, match=r"a\.(png|bmp): has the same name as a\.(png|bmp); keep one"):
        PairedImageDataset(dataroot_gt=gt, dataroot_lq=lq, scale=2)
    with pytest.raises(DataError, match=r"a\.(png|bmp): has the same name as a\.(png|bmp); keep one"):
        SingleImageDataset(dataroot_lq=lq)


def test_they_are_two_pairs_in_a_training_set(folders):
    gt, lq = folders / "gt", folders / "lq"
    assert len(PairedImageDataset(dataroot_gt=gt, dataroot_lq=lq, scale=2, gt_size=16)) == 2
