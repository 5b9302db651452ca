"""Images in rows and Markdown files, as the scripts of this folder write them."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srcx.atomic import atomic_path
from srcx.progress import OnProgress

Bytes = NDArray[np.uint8]


def side_by_side(images: Sequence[NDArray[np.generic]], *, gap_px: int = 4) -> Bytes:
    """Return 8-bit RGB images in a row on white, their upper edges aligned."""
    height = max(len(image) for image in images)
    pieces = []
    for image in images:
        if image.dtype != np.uint8:
            raise ValueError(f"expected 8-bit images, got {image.dtype}")
        column = np.full((height, gap_px + image.shape[1], 3), 255, np.uint8)
        column[: len(image), gap_px:] = image
        pieces.append(column)
    return np.hstack(pieces)[:, gap_px:]


def below(rows: Sequence[Bytes], *, gap_px: int = 4) -> Bytes:
    """Return rows of one width, one below the other, on white."""
    return np.ascontiguousarray(
        side_by_side([row.swapaxes(0, 1) for row in rows], gap_px=gap_px).swapaxes(0, 1)
    )


def write_markdown(path: Path, lines: Iterable[str]) -> None:
    """Write the lines of a page; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines).rstrip() + "\n", "utf-8")


def command_block(command: str, *, not_run: str) -> list[str]:
    """Return the lines of a code block with the command that writes a page.

    Args:
        command: The command.
        not_run: Why the tests of the documentation do not run it.
    """
    return [f"<!-- not run: {not_run} -->", "```bash", command, "```"]


def print_every(count: int) -> OnProgress:
    """Return a callback that prints every `count`-th step and the last one."""

    def on_progress(step: str, done: int, total: int) -> None:
        if done % count == 0 or done == total:
            print(f"{done} of {total}: {step}", file=sys.stderr)

    return on_progress
