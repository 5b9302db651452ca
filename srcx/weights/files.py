"""Files of weights as bytes: which kind they are, and what they say about themselves. It needs no torch."""

import json
import struct
from pathlib import Path

from srcx.errors import CheckpointError

__all__ = ["check_suffix", "damaged", "is_pickle", "is_safetensors", "read_checkpoint", "read_metadata"]

PICKLED_SUFFIXES = (".pth", ".pt")
EXPORTED_SUFFIXES = (".onnx", ".xml", ".param", ".tflite", ".engine")
"""Of networks made ready for other programs: renaming does not make checkpoints of them."""
LONGEST_HEAD = 100_000_000
"""Bytes, safetensors' own limit."""


def read_checkpoint(path: Path | str) -> bytes:
    """Read the bytes of a file of weights.

    Raises:
        CheckpointError: the file is missing or empty, cannot be read, or its suffix is another.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: expected a file of weights, got a folder; name a file in it")
        if path.suffix.lower() in EXPORTED_SUFFIXES:
            raise CheckpointError(
                f"{path}: expected a checkpoint (.pth, .pt or .safetensors), got a {path.suffix} file, "
                "which is for other programs; name the checkpoint that it was made from"
            )
        check_suffix(path)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror or error}; check its permissions"
        ) from error
    if not content:
        raise CheckpointError(f"{path}: the file is empty; download or save it again")
    return content


def read_metadata(path: Path | str) -> dict[str, str]:
    """Read the words that a safetensors file says about itself; none for other files.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
            if not is_safetensors(head) and (is_pickle(head) or path.suffix != ".safetensors"):
                return {}
            (length,) = struct.unpack("<Q", head[:8])
            # A longer head is none that safetensors would read either.
            words = json.loads(head[8:] + file.read(min(length, LONGEST_HEAD) - 1)).get("__metadata__", {})
            return {str(key): str(value) for key, value in words.items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file; check the path") from error
    except (OSError, struct.error, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: {damaged('.safetensors')}") from error


def check_suffix(path: Path) -> None:
    """Refuse a name that no file of weights has.

    Raises:
        CheckpointError: its suffix is another.
    """
    if path.suffix not in (*PICKLED_SUFFIXES, ".safetensors"):
        raise CheckpointError(
            f"{path}: expected a .pth, .pt or .safetensors file, got the suffix '{path.suffix}'; "
            "name a file of weights, and rename it if it has another suffix"
        )


def is_safetensors(content: bytes) -> bool:
    """Return whether a file begins as safetensors files do: with the length of a JSON object, and with it."""
    return content[8:9] == b"{" and struct.unpack("<Q", content[:8])[0] <= LONGEST_HEAD


def is_pickle(content: bytes) -> bool:
    """Return whether a file begins as those of torch do, which are zip archives or pickles."""
    return content[:4] == b"PK\x03\x04" or content[:1] == b"\x80"


def damaged(suffix: str) -> str:
    """Return the end of the message about a damaged file."""
    return f"is damaged, cut short or no {suffix} file; download or save it again"
