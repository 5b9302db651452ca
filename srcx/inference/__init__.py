"""Upscaling: find a model, run it on pictures of any kind and size, on files and folders."""

from srcx.inference.model import Model, bundled_models, find_model
from srcx.inference.upscaler import Upscaler, load_model, upscale

__all__ = ["Model", "Upscaler", "bundled_models", "find_model", "load_model", "upscale"]
