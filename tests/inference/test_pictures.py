import numpy as np
import pytest

from srcx.errors import ImageError
from srcx.imaging import imresize
from srcx.inference.pictures import check_picture, enlarge_planes, filled_under_alpha


def quadrupled(picture: np.ndarray, result: np.ndarray) -> None:
    result[...] = imresize(picture, scale=4)


def disc(dtype: type, colour: tuple[int, int, int]) -> np.ndarray:
    """A disc of one colour on nothing, whose hidden pixels are black; its edge is half transparent."""
    top = np.iinfo(dtype).max
    y, x = np.mgrid[:40, :40]
    alpha = np.clip(14.5 - np.hypot(y - 20, x - 20), 0, 1) * top
    picture = np.zeros((40, 40, 4), dtype)
    picture[..., 3] = alpha.round()
    picture[alpha.round() > 0, :3] = colour
    return picture


@pytest.mark.parametrize(("dtype", "colour"), [(np.uint8, (200, 30, 90)), (np.uint16, (60000, 300, 9000))])
def test_no_halo_around_what_is_cut_out(dtype, colour):
    large = enlarge_planes(disc(dtype, colour), quadrupled, (160, 160))
    assert large.shape == (160, 160, 4)
    assert large.dtype == dtype
    shows = large[..., 3] > 0
    assert shows.any()
    assert not shows.all()
    np.testing.assert_array_equal(large[shows][:, :3], np.broadcast_to(colour, (shows.sum(), 3)))


def test_alpha_is_enlarged_as_a_grey_picture():
    picture = disc(np.uint8, (1, 2, 3))
    expected = imresize(picture[..., 3], scale=4)
    np.testing.assert_array_equal(enlarge_planes(picture, quadrupled, (160, 160))[..., 3], expected)


def test_an_alpha_without_shape_costs_no_run(rng):
    shapes = []

    def noted(picture: np.ndarray, result: np.ndarray) -> None:
        shapes.append((picture.shape, result.shape))

    picture = rng.integers(0, 256, (8, 9, 4), np.uint8)
    picture[..., 3] = 77
    assert (enlarge_planes(picture, noted, (32, 36))[..., 3] == 77).all()
    assert shapes == [((8, 9, 3), (32, 36, 3))]


def test_wholly_transparent_pictures_keep_their_colours(rng):
    colours = rng.integers(0, 256, (4, 4, 3), np.uint8)
    np.testing.assert_array_equal(filled_under_alpha(colours, np.zeros((4, 4), np.uint8)), colours)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
        [[1]],
    ],
)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ImageError, match="upscale: expected"):
        check_picture(wrong)
