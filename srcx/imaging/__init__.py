"""Images: files, colours, sizes, and conversion to and from tensors."""

from typing import TYPE_CHECKING

from srcx.imaging.color import on_white, opaque, rgb_to_grey, rgb_to_y, to_rgb, y_of_tensor
from srcx.imaging.decode import MAX_PIXELS, ImageArray, decode_image
from srcx.imaging.extras import Extras
from srcx.imaging.io import (
    IMAGE_SUFFIXES,
    image_size,
    list_images,
    read_image,
    read_with_extras,
    write_image,
)
from srcx.imaging.resize import Border, imresize
from srcx.lazy import lazily

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Border",
    "Extras",
    "ImageArray",
    "decode_image",
    "image_size",
    "imresize",
    "list_images",
    "on_white",
    "opaque",
    "read_image",
    "read_with_extras",
    "rgb_to_grey",
    "rgb_to_y",
    "to_image",
    "to_rgb",
    "to_tensor",
    "write_image",
    "y_of_tensor",
]

if TYPE_CHECKING:
    from srcx.imaging.tensors import to_image, to_tensor
else:
    # torch comes with these alone: listing image sets needs none.
    __getattr__, __dir__ = lazily(__name__, dict.fromkeys(("to_image", "to_tensor"), "srcx.imaging.tensors"))
