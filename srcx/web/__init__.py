"""A page in the browser for upscaling pictures and comparing models."""

from srcx.web.page import serve

__all__ = ["serve"]
