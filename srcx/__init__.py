"""srcx: super-resolution training and inference with the contextual loss."""

__version__ = "0.1.0"
