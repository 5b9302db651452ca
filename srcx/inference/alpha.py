"""Images with an alpha channel: a network upscales the colours, and bicubic the alpha."""

from collections.abc import Callable

import numpy as np

from srcx.imaging import ImageArray, imresize
from srcx.inference.tiling import upscale_by_bicubic

__all__ = ["bleed_colours", "upscale_with_alpha"]


def upscale_with_alpha(
    image: ImageArray,
    upscale: Callable[[ImageArray, ImageArray], None],
    native: tuple[int, int],
    wanted: tuple[int, int],
) -> ImageArray:
    """Upscale the colours by `upscale` and, where there is one, the alpha channel by bicubic.

    No network gets alpha: it would invent edges in it. Opaque stays exactly opaque.

    The colours of transparent pixels are first replaced by the nearest colour that is visible, so that they
    do not shine through the edges; colours are not multiplied by alpha, which would darken them.

    Args:
        image: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
        upscale: Upscales (H, W) and (H, W, 3) into the array it is given.
        native: Height and width of the result of `upscale`.
        wanted: Height and width of the result; resampled by bicubic where they are not `native`.

    Returns:
        The upscaled image with the same channels.
    """
    has_alpha = image.ndim == 3 and image.shape[2] == 4
    result = np.empty((*native, *image.shape[2:]), image.dtype)
    if has_alpha:
        upscale(bleed_colours(image[..., :3], image[..., 3]), result[..., :3])
    else:
        upscale(image, result)
    if native != wanted:
        result = imresize(result, size=wanted)
    if has_alpha:
        alpha = image[..., 3]
        if (alpha == alpha.flat[0]).all():
            result[..., 3] = alpha.flat[0]
        else:
            upscale_by_bicubic(np.ascontiguousarray(alpha), result[..., 3])
    return result


def bleed_colours(colours: ImageArray, alpha: ImageArray) -> ImageArray:
    """Give wholly transparent pixels the colour of the nearest visible pixel.

    Example:
        >>> colours = np.array([[[9, 9, 9], [0, 0, 0]]], np.uint8)
        >>> bleed_colours(colours, np.array([[255, 0]], np.uint8)).tolist()
        [[[9, 9, 9], [9, 9, 9]]]
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return np.ascontiguousarray(colours)
    from scipy.ndimage import distance_transform_edt  # a quarter second, and few images need it

    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return colours[tuple(nearest)]
