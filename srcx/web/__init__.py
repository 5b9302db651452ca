"""A page in the browser for upscaling images and comparing models."""

from srcx.web.page import serve

__all__ = ["serve"]
