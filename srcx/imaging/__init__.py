"""Pictures: files, colours, sizes, and the way to tensors and back."""

from srcx.imaging.color import on_white, opaque, rgb_to_grey, rgb_to_y, to_rgb, y_of_tensor
from srcx.imaging.decode import MAX_PIXELS, Picture, decode_picture
from srcx.imaging.extras import Extras
from srcx.imaging.io import (
    PICTURE_SUFFIXES,
    list_pictures,
    picture_size,
    read_picture,
    read_with_extras,
    write_picture,
)
from srcx.imaging.resize import Border, imresize
from srcx.imaging.tensors import check_same_shape, to_image, to_tensor

__all__ = [
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Border",
    "Extras",
    "Picture",
    "check_same_shape",
    "decode_picture",
    "imresize",
    "list_pictures",
    "on_white",
    "opaque",
    "picture_size",
    "read_picture",
    "read_with_extras",
    "rgb_to_grey",
    "rgb_to_y",
    "to_image",
    "to_rgb",
    "to_tensor",
    "write_picture",
    "y_of_tensor",
]
