"""Images of every kind, brought to the colours a model upscales and back; alpha is enlarged by bicubic."""

from collections.abc import Callable

import numpy as np

from srcx.errors import ImageError
from srcx.imaging import Picture, imresize
from srcx.inference.tiles import Tiling, run_tiled

__all__ = ["check_picture", "enlarge_by_bicubic", "enlarge_planes", "filled_under_alpha"]

BICUBIC_TILING = Tiling(core_px=1024, overlap_px=8, fade_px=0)


def check_picture(picture: Picture) -> None:
    """Refuse what is no picture.

    Raises:
        ImageError: not uint8 or uint16, or not (H, W), (H, W, 3) or (H, W, 4), or without pixels.
    """
    shape = tuple(getattr(picture, "shape", ()))
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if not isinstance(picture, np.ndarray) or picture.dtype not in (np.uint8, np.uint16) or not fits:
        kind = getattr(picture, "dtype", type(picture).__name__)
        raise ImageError(
            "upscale: expected a uint8 or uint16 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; "
            f"got {kind} of shape {shape}"
        )
    if 0 in shape:
        raise ImageError(f"upscale: expected a picture with pixels; got shape {shape}")


def enlarge_planes(
    picture: Picture,
    enlarge: Callable[[Picture, Picture], None],
    native: tuple[int, int],
    wanted: tuple[int, int],
) -> Picture:
    """Upscale the colours by `enlarge` and, where there is one, the alpha channel by bicubic.

    No network sees alpha: it would invent edges in it. Opaque stays exactly opaque.

    Colours that cannot be seen are replaced by the nearest that can before they are enlarged, so that
    nothing hidden shines through the edges; colours are not multiplied by alpha, which would darken them.

    Args:
        picture: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
        enlarge: What enlarges (H, W) and (H, W, 3) into the array it is given.
        native: Height and width that `enlarge` gives.
        wanted: Height and width of the result; resampled by bicubic where they are not `native`.

    Returns:
        The enlarged picture with the same channels.
    """
    has_alpha = picture.ndim == 3 and picture.shape[2] == 4
    result = np.empty((*native, *picture.shape[2:]), picture.dtype)
    if has_alpha:
        enlarge(filled_under_alpha(picture[..., :3], picture[..., 3]), result[..., :3])
    else:
        enlarge(picture, result)
    if native != wanted:
        result = imresize(result, size=wanted)
    if has_alpha:
        alpha = picture[..., 3]
        if (alpha == alpha.flat[0]).all():
            result[..., 3] = alpha.flat[0]
        else:
            enlarge_by_bicubic(np.ascontiguousarray(alpha), result[..., 3])
    return result


def enlarge_by_bicubic(picture: Picture, result: Picture) -> None:
    """Fill `result` with MATLAB's bicubic of `picture`, tile by tile where the factor is whole."""
    size = (result.shape[0], result.shape[1])
    scale = size[0] // picture.shape[0]
    if size == (scale * picture.shape[0], scale * picture.shape[1]):
        run_tiled(picture, lambda piece: imresize(piece, scale=scale), result, BICUBIC_TILING)
    else:
        result[...] = imresize(picture, size=size)


def filled_under_alpha(colours: Picture, alpha: Picture) -> Picture:
    """Give wholly transparent pixels the colour of the nearest pixel that shows.

    Example:
        >>> colours = np.array([[[9, 9, 9], [0, 0, 0]]], np.uint8)
        >>> filled_under_alpha(colours, np.array([[255, 0]], np.uint8)).tolist()
        [[[9, 9, 9], [9, 9, 9]]]
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return np.ascontiguousarray(colours)
    from scipy.ndimage import distance_transform_edt  # a quarter second, and few pictures need it

    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return colours[tuple(nearest)]
