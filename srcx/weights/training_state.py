"""Training states on disk: tensors and plain values, then the sha256 of it all, so that damage shows."""

import hashlib
import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from srcx.atomic import atomic_path
from srcx.errors import CheckpointError

__all__ = ["load_training_state", "save_training_state"]

DIGEST_BYTES = 32
END_BYTES = 22
"""The record that ends a file of `torch.save`, a zip archive."""


def save_training_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all.

    Raises:
        OutputError: the place cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save(_unshared(state), buffer)
    body = buffer.getbuffer()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(body)
        file.write(hashlib.sha256(body).digest())


def _unshared(value: Any) -> Any:
    """Copy the containers of `value` and make equal texts one object, so that equal states are equal bytes.

    A pickle writes an object once and refers to it after that. Which objects are the same depends on where
    they come from: the options, the code, or a state that was loaded.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {_unshared(key): _unshared(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_unshared(item) for item in value)
    return value


def load_training_state(path: Path) -> dict[str, Any]:
    """Read what `save_training_state` wrote; never runs code.

    Raises:
        CheckpointError: the file is missing, damaged, or something else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    body, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: {_what_else(path, content)}")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{path}: not a training state of srcx") from error
    return state


def _what_else(path: Path, content: bytes) -> str:
    """Say what a file is that does not end in the digest of its content."""
    is_whole = content[-END_BYTES:].startswith(b"PK\5\6")
    if is_whole and b"schedulers" in content and b"optimizers" in content:
        return (
            "this is a training state of BasicSR, and srcx continues only from its own; start a new run with "
            "path.pretrain_network_g naming the models/net_g_ITER.pth of that run"
        )
    if path.suffix != ".state" or (is_whole and b"progress" not in content):
        return (
            "this is no training state; path.resume_state takes a training_states/ITER.state, and "
            "path.pretrain_network_g takes weights"
        )
    return "this training state is damaged (its checksum does not match)"
