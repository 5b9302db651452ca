"""Images of every kind, brought to the colours a model upscales and back; alpha is enlarged by bicubic."""

from collections.abc import Callable

import numpy as np

from srcx.errors import ImageError
from srcx.imaging import ImageArray, imresize
from srcx.inference.tiles import Tiling, run_tiled

__all__ = ["check_image", "enlarge_by_bicubic", "enlarge_planes", "filled_under_alpha"]

BICUBIC_TILING = Tiling(core_px=1024, overlap_px=8, fade_px=0)


def check_image(image: ImageArray) -> None:
    """Refuse what is no image.

    Raises:
        ImageError: not uint8 or uint16, or not (H, W), (H, W, 3) or (H, W, 4), or without pixels.
    """
    shape = tuple(getattr(image, "shape", ()))
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16) or not fits:
        kind = getattr(image, "dtype", type(image).__name__)
        raise ImageError(
            "upscale: expected a uint8 or uint16 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; "
            f"got {kind} of shape {shape}"
        )
    if 0 in shape:
        raise ImageError(f"upscale: expected an image with pixels; got shape {shape}")


def enlarge_planes(
    image: ImageArray,
    enlarge: Callable[[ImageArray, ImageArray], None],
    native: tuple[int, int],
    wanted: tuple[int, int],
) -> ImageArray:
    """Upscale the colours by `enlarge` and, where there is one, the alpha channel by bicubic.

    No network sees alpha: it would invent edges in it. Opaque stays exactly opaque.

    Colours that cannot be seen are replaced by the nearest that can before they are enlarged, so that
    nothing hidden shines through the edges; colours are not multiplied by alpha, which would darken them.

    Args:
        image: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
        enlarge: What enlarges (H, W) and (H, W, 3) into the array it is given.
        native: Height and width that `enlarge` gives.
        wanted: Height and width of the result; resampled by bicubic where they are not `native`.

    Returns:
        The enlarged image with the same channels.
    """
    has_alpha = image.ndim == 3 and image.shape[2] == 4
    result = np.empty((*native, *image.shape[2:]), image.dtype)
    if has_alpha:
        enlarge(filled_under_alpha(image[..., :3], image[..., 3]), result[..., :3])
    else:
        enlarge(image, result)
    if native != wanted:
        result = imresize(result, size=wanted)
    if has_alpha:
        alpha = image[..., 3]
        if (alpha == alpha.flat[0]).all():
            result[..., 3] = alpha.flat[0]
        else:
            enlarge_by_bicubic(np.ascontiguousarray(alpha), result[..., 3])
    return result


def enlarge_by_bicubic(image: ImageArray, result: ImageArray) -> None:
    """Fill `result` with MATLAB's bicubic of `image`, tile by tile where the factor is whole."""
    size = (result.shape[0], result.shape[1])
    scale = size[0] // image.shape[0]
    if size == (scale * image.shape[0], scale * image.shape[1]):
        run_tiled(image, lambda piece: imresize(piece, scale=scale), result, BICUBIC_TILING)
    else:
        result[...] = imresize(image, size=size)


def filled_under_alpha(colours: ImageArray, alpha: ImageArray) -> ImageArray:
    """Give wholly transparent pixels the colour of the nearest pixel that shows.

    Example:
        >>> colours = np.array([[[9, 9, 9], [0, 0, 0]]], np.uint8)
        >>> filled_under_alpha(colours, np.array([[255, 0]], np.uint8)).tolist()
        [[[9, 9, 9], [9, 9, 9]]]
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return np.ascontiguousarray(colours)
    from scipy.ndimage import distance_transform_edt  # a quarter second, and few images need it

    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return colours[tuple(nearest)]
