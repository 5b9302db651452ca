"""Frames from pipe to pipe: PNG and Y4M streams, and raw RGB, as ffmpeg writes and reads them."""

import io
import itertools
from collections.abc import Callable, Iterator
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from srcx.errors import DataError, ImageError, UsageError
from srcx.imaging import ImageArray, decode_image
from srcx.imaging.decode import check_pixels, swap_red_and_blue
from srcx.imaging.y4m import MAGIC, Y4M
from srcx.inference.upscaler import Upscaler

__all__ = ["Stream", "open_stream", "upscale_stream"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
LONGEST_LINE = 4096
LONGEST_CHUNK = 1 << 30
"""Bytes; a longer piece of a PNG file is damage."""

OnFrame = Callable[[int], None]
"""Called after each frame with the number of frames done."""


class Stream:
    """Frames of one kind that come from a pipe, and how results of that kind are written.

    Args:
        source: Where the bytes come from.
        start: Bytes that were read from it already.
    """

    def __init__(self, source: BinaryIO, start: bytes) -> None:
        self._source, self._start = source, io.BytesIO(start)

    def frames(self) -> Iterator[ImageArray]:
        """Yield the frames, (H, W), (H, W, 3) or (H, W, 4).

        Raises:
            DataError: the stream ends within a frame.
            ImageError: a frame is damaged or of a kind that is not read.
        """
        raise NotImplementedError

    def encode(self, image: ImageArray, first: bool) -> bytes:
        """Return the bytes of a result.

        Args:
            image: The upscaled frame.
            first: Whether it is the first one, which the head of the stream comes before.
        """
        raise NotImplementedError

    def _read(self, count: int) -> bytes:
        """Return so many bytes, or fewer where the stream ends."""
        read = self._start.read(count)
        while len(read) < count and (more := self._source.read(count - len(read))):
            read += more
        return read

    def _exactly(self, count: int) -> bytes:
        read = self._read(count)
        if len(read) < count:
            raise DataError("-: the stream ends within a frame; the program that writes it has stopped early")
        return read


class PngStream(Stream):
    """PNG files one after the other, as `ffmpeg -f image2pipe -c:v png` writes them."""

    def frames(self) -> Iterator[ImageArray]:
        for number in itertools.count(1):
            head = self._read(len(PNG_MAGIC))
            if not head:
                return
            if head != PNG_MAGIC:
                raise ImageError(f"-: frame {number} is no PNG file; is the stream one of PNG alone?")
            parts, name = [head], b""
            while name != b"IEND":
                start = self._exactly(8)
                length, name = int.from_bytes(start[:4], "big"), start[4:]
                if length > LONGEST_CHUNK:
                    raise ImageError(f"-: frame {number} is damaged")
                parts += [start, self._exactly(length + 4)]
            yield decode_image(b"".join(parts), f"-: frame {number}")

    def encode(self, image: ImageArray, first: bool) -> bytes:
        # Fast, not small: the next program decodes it at once.
        _, encoded = cv2.imencode(".png", swap_red_and_blue(image), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return encoded.tobytes()


class Y4MStream(Stream):
    """A YUV4MPEG2 stream, as `ffmpeg -f yuv4mpegpipe` writes it; the header is that of the source."""

    def frames(self) -> Iterator[ImageArray]:
        self.format = Y4M.parse(self._line())
        check_pixels((self.format.width, self.format.height), "-: frame 1")
        while line := self._line():
            if not line.startswith(b"FRAME"):
                raise ImageError(f"-: expected the line FRAME of a Y4M stream; got {line[:20]!r}")
            yield self.format.to_rgb(self._exactly(self.format.frame_bytes))

    def encode(self, image: ImageArray, first: bool) -> bytes:
        large = self.format._replace(width=image.shape[1], height=image.shape[0])
        return (
            (large.header() if first else b"")
            + b"FRAME\n"
            + large.from_rgb(image.astype(np.uint8, copy=False))
        )

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (byte := self._read(1)):
            line += byte
            if len(line) > LONGEST_LINE:
                raise ImageError("-: a line of the Y4M stream has no end; is it one?")
        return line


class RawStream(Stream):
    """Bytes R, G, B of pixel after pixel, as `ffmpeg -f rawvideo -pix_fmt rgb24` writes them."""

    def __init__(self, source: BinaryIO, start: bytes, size: tuple[int, int]) -> None:
        super().__init__(source, start)
        self._width, self._height = size

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        length = 3 * self._width * self._height
        while frame := self._read(length):
            if len(frame) < length:
                size = f"{self._width} x {self._height} pixels"
                raise DataError(f"-: the stream ends within a frame of {size}; check --size")
            yield np.frombuffer(frame, np.uint8).reshape(self._height, self._width, 3)

    def encode(self, image: ImageArray, first: bool) -> bytes:
        return image.tobytes()


def open_stream(source: BinaryIO, size: tuple[int, int] | None) -> Stream:
    """Return the stream of a pipe; its first bytes say which kind it is.

    Args:
        source: Binary input.
        size: Width and height of raw frames; None where the stream is PNG or Y4M.

    Raises:
        DataError: nothing comes.
        UsageError: it is neither PNG nor Y4M and there is no size, or it is one of them and there is.
        ImageError: the size is that of too large an image.
    """
    start = source.read(len(MAGIC))
    if not start:
        raise DataError("-: nothing came through the pipe; look at the messages of the program before srcx")
    kind = PngStream if start.startswith(PNG_MAGIC) else Y4MStream if start == MAGIC else None
    if size is None and kind is None:
        raise UsageError(
            "-: the stream is neither PNG nor Y4M; --size WxH says how large its raw RGB frames are"
        )
    if size is not None and kind is not None:
        raise UsageError("--size: is of raw frames, and this stream says its size itself; leave it out")
    if kind:
        return kind(source, start)
    assert size is not None
    check_pixels(size, "-: frame 1")
    return RawStream(source, start, size)


def upscale_stream(stream: Stream, target: BinaryIO, upscaler: Upscaler, on_frame: OnFrame) -> str:
    """Upscale frame after frame; the model is chosen on the first frame and stays.

    Args:
        stream: Of `open_stream`.
        target: Where the results go.
        upscaler: Upscales them.
        on_frame: Called after each frame.

    Returns:
        Name of the model, and the reason for it in brackets where there was a choice.

    Raises:
        BrokenPipeError: whoever reads the results has stopped.
        DataError, ImageError: as `Stream.frames`.
    """
    chosen, words = upscaler, ""
    for done, frame in enumerate(stream.frames(), start=1):
        if done == 1:
            chosen, reason = upscaler.choose(frame)
            words = f"{chosen.model.name} (the first frame is {reason})" if reason else chosen.model.name
        target.write(stream.encode(chosen(frame), first=done == 1))
        target.flush()
        on_frame(done)
    if not words:
        raise DataError("-: the stream has no frames")
    return words
