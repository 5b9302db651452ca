"""Checkpoints in files, and the published weights of the fixed networks."""

from typing import TYPE_CHECKING

from srcx.lazy import lazily

__all__ = ["load_state", "save_state"]

if TYPE_CHECKING:
    from srcx.weights.checkpoint import load_state, save_state
else:
    # torch comes with these alone: listing the weights needs none.
    __getattr__, __dir__ = lazily(__name__, dict.fromkeys(__all__, "srcx.weights.checkpoint"))
