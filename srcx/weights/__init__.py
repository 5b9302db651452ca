"""Checkpoints in files, and the published weights of the fixed networks."""

from srcx.weights.checkpoint import load_state, save_state

__all__ = ["load_state", "save_state"]
