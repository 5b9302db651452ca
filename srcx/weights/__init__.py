"""What can be loaded, and from where: weights in files, and the fixed networks' published weights."""

from srcx.weights.checkpoint import load_state, save_state

__all__ = ["load_state", "save_state"]
