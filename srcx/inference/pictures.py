"""Pictures of every kind, brought to the colours a model enlarges and back: alpha is enlarged by itself."""

from collections.abc import Callable

import numpy as np

from srcx.errors import ImageError
from srcx.imaging import Picture

__all__ = ["check_picture", "enlarge_planes", "filled_under_alpha"]


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
    picture: Picture, enlarge: Callable[[Picture, Picture], None], size: tuple[int, int]
) -> Picture:
    """Enlarge the colours and, where there is one, the alpha channel.

    Colours that cannot be seen are replaced by the nearest that can before they are enlarged, so that
    nothing hidden shines through the edges; colours are not multiplied by alpha, which would darken them.

    Args:
        picture: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
        enlarge: What enlarges (H, W) and (H, W, 3) into the array it is given.
        size: Height and width of the result.

    Returns:
        The enlarged picture with the same channels.
    """
    result = np.empty((*size, *picture.shape[2:]), picture.dtype)
    if picture.ndim == 2 or picture.shape[2] == 3:
        enlarge(picture, result)
        return result
    colours, alpha = picture[..., :3], picture[..., 3]
    enlarge(filled_under_alpha(colours, alpha), result[..., :3])
    if (alpha == alpha.flat[0]).all():
        result[..., 3] = alpha.flat[0]
    else:
        enlarge(np.ascontiguousarray(alpha), result[..., 3])
    return result


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
