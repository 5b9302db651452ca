"""Frames of YUV4MPEG2 streams (Y4M), which ffmpeg and other video programs pipe to each other."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from srcx.errors import ImageError

__all__ = ["MAGIC", "Y4M"]

MAGIC = b"YUV4MPEG2 "

Plane = NDArray[np.uint8]

CHROMA = {
    "420": (2, 2, 0.5),
    "420jpeg": (2, 2, 0.5),
    "420mpeg2": (2, 2, 0.0),
    "422": (2, 1, 0.0),
    "444": (1, 1, 0.0),
}
"""Luma pixels to a chroma sample along x and y, and the place of the first sample along x, in luma pixels:
between two (0.5) or on the left one (0). Along y it lies between two."""
LUMA_WEIGHTS = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722)}
"""Weights of R and B."""
HIGH_DEFINITION_PX = (720, 1280)
"""From this height or width on, players take the colours of a stream for BT.709, below for BT.601."""


class Y4M(NamedTuple):
    """The header of a stream, and the conversion of its frames to RGB and back."""

    width: int
    height: int
    chroma: str
    """A key of `CHROMA`."""
    full_range: bool
    """Whether luma is 0 to 255 (JPEG), not 16 to 235 (television)."""
    matrix: str
    """A key of `LUMA_WEIGHTS`. Y4M does not say it; it is guessed from the size."""
    others: tuple[str, ...]
    """The other words of the header: rate, aspect ..."""

    @classmethod
    def parse(cls, line: bytes) -> "Y4M":
        """Return the header of a stream.

        Args:
            line: The first line, with or without its end.

        Raises:
            ImageError: a part is missing, or of a kind that is not read; says what ffmpeg can make of it.
        """
        words = line.decode("ascii", "replace").split()[1:]
        found = {word[0]: word[1:] for word in words if not word.startswith("X")}
        width, height = (int(found[key]) if found.get(key, "").isdecimal() else 0 for key in "WH")
        if not width or not height:
            raise ImageError(f"Y4M: the header has no width and height; got {' '.join(words)!r}")
        chroma = found.get("C", "420")
        if chroma not in CHROMA:
            raise ImageError(
                f"Y4M: expected 8 bits in {', '.join(f'C{name}' for name in CHROMA)}; got C{chroma}: "
                "add -pix_fmt yuv420p or yuv444p to ffmpeg, or pipe PNG"
            )
        if found.get("I", "p") not in ("p", "?"):
            raise ImageError("Y4M: the frames are interlaced; add -vf bwdif to ffmpeg")
        high = height >= HIGH_DEFINITION_PX[0] or width >= HIGH_DEFINITION_PX[1]
        others = tuple(word for word in words if word[0] not in "WHC")
        full_range = "XCOLORRANGE=FULL" in words
        return cls(width, height, chroma, full_range, "BT.709" if high else "BT.601", others)

    def header(self) -> bytes:
        """Return the first line of a stream like this."""
        words = [f"W{self.width}", f"H{self.height}", f"C{self.chroma}", *self.others]
        return MAGIC + " ".join(words).encode("ascii", "replace") + b"\n"

    @property
    def chroma_size(self) -> tuple[int, int]:
        """Width and height of a plane of chroma."""
        across, down, _ = CHROMA[self.chroma]
        return -(-self.width // across), -(-self.height // down)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame without its line."""
        return self.width * self.height + 2 * self.chroma_size[0] * self.chroma_size[1]

    def to_rgb(self, frame: bytes) -> NDArray[np.uint8]:
        """Return a frame as RGB, (H, W, 3); chroma is enlarged by bilinear interpolation where it lies.

        Args:
            frame: `frame_bytes` bytes: the planes Y, Cb and Cr.
        """
        samples = np.frombuffer(frame, np.uint8)
        luma_px, (across, down) = self.width * self.height, self.chroma_size
        planes: list[NDArray[Any]] = [samples[:luma_px].reshape(self.height, self.width).astype(np.float32)]
        for plane in np.split(samples[luma_px:], 2):
            placed = self._placing()
            planes.append(
                cv2.warpAffine(
                    plane.reshape(down, across).astype(np.float32),
                    placed,
                    (self.width, self.height),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_REPLICATE,
                )
            )
        black, luma_range, chroma_range = self._levels()
        ycc = np.stack(planes, axis=2) - np.array([black, 128, 128], np.float32)
        ycc /= np.array([luma_range, chroma_range, chroma_range], np.float32)
        rgb = ycc @ np.linalg.inv(self._weights()).T.astype(np.float32)
        return np.clip(np.rint(255 * rgb), 0, 255).astype(np.uint8)

    def from_rgb(self, image: NDArray[np.uint8]) -> bytes:
        """Return RGB, (H, W, 3), as a frame: chroma is averaged over the pixels around its place.

        Args:
            image: As high and wide as the header says.
        """
        black, luma_range, chroma_range = self._levels()
        ycc = image.astype(np.float32) / 255 @ self._weights().T.astype(np.float32)
        ycc = ycc * np.array([luma_range, chroma_range, chroma_range], np.float32) + np.array(
            [black, 128, 128], np.float32
        )
        chroma = [self._shrunk(np.ascontiguousarray(ycc[..., index])) for index in (1, 2)]
        planes: list[NDArray[Any]] = [ycc[..., 0], *chroma]
        return b"".join(np.clip(np.rint(plane), 0, 255).astype(np.uint8).tobytes() for plane in planes)

    def _placing(self) -> NDArray[np.float32]:
        """Return the matrix from places of luma, (x, y, 1), to those of chroma."""
        across, down, left = CHROMA[self.chroma]
        return np.array([[1 / across, 0, -left / across], [0, 1 / down, (1 / down - 1) / 2]], np.float32)

    def _shrunk(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        across, down, left = CHROMA[self.chroma]
        columns = np.array([1] if across == 1 else [0.5, 0.5] if left else [0.25, 0.5, 0.25], np.float32)
        rows = np.array([0.5, 0.5] if down == 2 else [1], np.float32)
        anchor = (1 if len(columns) == 3 else 0, 0)
        filtered = cv2.sepFilter2D(plane, -1, columns, rows, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(filtered[::down, ::across])

    def _levels(self) -> tuple[float, float, float]:
        """Return the level of black, and the ranges of luma and chroma."""
        return (0.0, 255.0, 255.0) if self.full_range else (16.0, 219.0, 224.0)

    def _weights(self) -> NDArray[np.float64]:
        """Return the matrix from R, G, B in [0, 1] to Y in [0, 1] and Cb, Cr in [-0.5, 0.5]."""
        red, blue = LUMA_WEIGHTS[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        return np.stack([luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))])
