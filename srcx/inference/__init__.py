"""Upscaling: find a model, run it on images of any kind and size, on files and folders."""

from srcx.inference.models import Model, bundled_models, default_model, find_model
from srcx.inference.upscaler import Upscaler, load_model, upscale

__all__ = ["Model", "Upscaler", "bundled_models", "default_model", "find_model", "load_model", "upscale"]
