import numpy as np
import pytest
import torch

from srcx.errors import ImageError
from srcx.imaging import imresize
from srcx.inference import Model, Upscaler, load_model
from srcx.inference.alpha import bleed_colours, upscale_with_alpha
from srcx.inference.kinds import check_image


def quadrupled(image: np.ndarray, result: np.ndarray) -> None:
    result[...] = imresize(image, scale=4)


def disc(dtype: type, colour: tuple[int, int, int]) -> np.ndarray:
    """A disc of one colour on nothing, whose hidden pixels are black; its edge is half transparent."""
    top = np.iinfo(dtype).max
    y, x = np.mgrid[:40, :40]
    alpha = np.clip(14.5 - np.hypot(y - 20, x - 20), 0, 1) * top
    image = np.zeros((40, 40, 4), dtype)
    image[..., 3] = alpha.round()
    image[alpha.round() > 0, :3] = colour
    return image


@pytest.mark.parametrize(("dtype", "colour"), [(np.uint8, (200, 30, 90)), (np.uint16, (60000, 300, 9000))])
def test_no_halo_around_a_cut_out(dtype, colour):
    large = upscale_with_alpha(disc(dtype, colour), quadrupled, (160, 160), (160, 160))
    assert large.shape == (160, 160, 4)
    assert large.dtype == dtype
    shows = large[..., 3] > 0
    assert shows.any()
    assert not shows.all()
    np.testing.assert_array_equal(large[shows][:, :3], np.broadcast_to(colour, (shows.sum(), 3)))


class Inventive(torch.nn.Module):
    """A network that is wrong everywhere, so that everything it touches is visible."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return 1 - lq.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) + self.bias


def upscalers(scale: float | None) -> list[Upscaler]:
    return [
        Upscaler(
            Model("inventive", 2, "test", "0" * 64, net=Inventive()),
            scale=scale,
            precision="fp32",
            backend="torch",
            tta=tta,
            tile=tile,
        )
        for tta, tile in ((False, 0), (True, 0), (False, 16))
    ] + [load_model("bicubic-x2", scale=scale)]


@pytest.mark.parametrize("scale", [None, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_upscaled_by_bicubic_whatever_the_network_does(dtype, scale, rng):
    """The contract: alpha is imresize's, bit for bit, and opaque stays exactly opaque."""
    top = np.iinfo(dtype).max
    size = tuple(round(side * (scale or 2)) for side in (40, 40))
    for upscaler in upscalers(scale):
        image = disc(dtype, (9, 8, 7))
        expected = imresize(np.ascontiguousarray(image[..., 3]), size=size)
        np.testing.assert_array_equal(upscaler(image)[..., 3], expected)
        opaque = rng.integers(0, top, (40, 40, 4), dtype, endpoint=True)
        opaque[..., 3] = top
        assert (upscaler(opaque)[..., 3] == top).all()
        opaque[5, 7, 3] = 0  # one hole, and all that is far from it stays opaque
        far = upscaler(opaque)[size[0] // 2 :, :, 3]
        assert (far == top).all()


@pytest.mark.parametrize("hidden", [0, 90, 255])
def test_colours_under_transparent_pixels_change_nothing_that_shows(hidden):
    for upscaler in upscalers(None):
        image = disc(np.uint8, (200, 30, 90))
        other = image.copy()
        other[image[..., 3] == 0, :3] = hidden
        one, two = upscaler(image), upscaler(other)
        np.testing.assert_array_equal(one, two)


def test_an_alpha_without_shape_costs_no_run(rng):
    shapes = []

    def noted(image: np.ndarray, result: np.ndarray) -> None:
        shapes.append((image.shape, result.shape))

    image = rng.integers(0, 256, (8, 9, 4), np.uint8)
    image[..., 3] = 77
    assert (upscale_with_alpha(image, noted, (32, 36), (32, 36))[..., 3] == 77).all()
    assert shapes == [((8, 9, 3), (32, 36, 3))]


def test_wholly_transparent_images_keep_their_colours(rng):
    colours = rng.integers(0, 256, (4, 4, 3), np.uint8)
    np.testing.assert_array_equal(bleed_colours(colours, np.zeros((4, 4), np.uint8)), colours)


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
def test_anything_but_an_image_is_refused(wrong):
    with pytest.raises(ImageError, match="upscale: expected"):
        check_image(wrong)
