import io
import subprocess
import sys

import cv2
import numpy as np
import pytest

from srcx.errors import DataError, ImageError, UsageError
from srcx.imaging import decode_image, imresize, write_image
from srcx.imaging.y4m import Y4M
from srcx.inference import find_model
from srcx.inference.streams import open_stream, upscale_stream
from srcx.inference.upscaler import Choice, Upscaler

HEADER = b"YUV4MPEG2 W16 H12 F25:1 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2\n"
RAW = (16, 12)
HUGE = (99_999_999, 99_999_999)
TOO_LARGE = "-: frame 1: has 99999999 x 99999999 pixels, .* and at most 256 are read"


@pytest.fixture
def frames(rng) -> list[np.ndarray]:
    return [imresize(rng.integers(0, 256, (3, 4, 3), np.uint8), size=(12, 16)) for _ in range(3)]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def y4m(frames: list[np.ndarray]) -> bytes:
    stream = Y4M.parse(HEADER)
    return HEADER + b"".join(b"FRAME Ip\n" + stream.from_rgb(frame) for frame in frames)


def upscaled(data: bytes, size: tuple[int, int] | None = None) -> bytes:
    target = io.BytesIO()
    upscaler = Upscaler(find_model("bicubic-x2"))
    assert (
        upscale_stream(open_stream(io.BytesIO(data), size), target, upscaler, lambda done: None)
        == "bicubic-x2"
    )
    return target.getvalue()


def test_raw_frames(frames):
    result = upscaled(b"".join(frame.tobytes() for frame in frames), RAW)
    assert result == b"".join(imresize(frame, scale=2).tobytes() for frame in frames)


def test_png_frames(frames):
    result = io.BytesIO(upscaled(b"".join(map(png, frames))))
    large = list(open_stream(result, None).frames())
    np.testing.assert_array_equal(large, [imresize(frame, scale=2) for frame in frames])


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_grey_alpha_and_bits(rng, tmp_path, shape, dtype):
    write_image(tmp_path / "a.png", rng.integers(0, np.iinfo(dtype).max, shape, dtype))
    large = decode_image(upscaled((tmp_path / "a.png").read_bytes()), "large")
    assert large.dtype == dtype
    assert large.shape == (24, 32, *shape[2:])


def test_y4m_frames(frames):
    result = io.BytesIO(upscaled(y4m(frames)))
    assert result.readline() == HEADER.replace(
        b"W16 H12 F25:1 Ip A1:1 C420mpeg2", b"W32 H24 C420mpeg2 F25:1 Ip A1:1"
    )
    small, large = Y4M.parse(HEADER), Y4M.parse(HEADER)._replace(width=32, height=24)
    for frame in frames:
        assert result.readline() == b"FRAME\n"
        seen = small.to_rgb(small.from_rgb(frame))
        assert result.read(large.frame_bytes) == large.from_rgb(imresize(seen, scale=2))
    assert result.read() == b""


def test_the_model_is_chosen_on_the_first_frame_alone(frames):
    class Choosing(Upscaler):
        chosen = 0

        def choose(self, image, file=None):
            Choosing.chosen += 1
            return Choice(Upscaler(self.model), "clean")

    stream = open_stream(io.BytesIO(y4m(frames)), None)
    words = upscale_stream(stream, io.BytesIO(), Choosing(find_model("bicubic-x2")), lambda done: None)
    assert (Choosing.chosen, words) == (1, "bicubic-x2 (the first frame is clean)")


@pytest.mark.parametrize(
    ("change", "size", "error", "message"),
    [
        (lambda data: b"", None, DataError, "nothing came through the pipe"),
        (lambda data: b"\0" * 99, None, UsageError, "--size WxH says how large its raw RGB frames are"),
        (lambda data: data, RAW, UsageError, "--size: is of raw frames"),
        (lambda data: data[:-1], None, DataError, "the stream ends within a frame"),
        (lambda data: data.replace(b"FRAME", b"FROME"), None, ImageError, "expected the line FRAME"),
        (lambda data: data[:10] + b"W" * 9999, None, ImageError, "a line of the Y4M stream has no end"),
        (lambda data: data, HUGE, UsageError, "--size: is of raw frames"),
        (lambda data: b"\0" * 99, HUGE, ImageError, TOO_LARGE),
        (lambda data: data.replace(b"W16 H12", b"W99999999 H99999999"), None, ImageError, TOO_LARGE),
        (lambda data: data.replace(b"W16", b"W" + b"9" * 99), None, ImageError, "-: frame 1: has 999"),
        (lambda data: b"\0" * (16 * 12 * 3 + 1), RAW, DataError, "within a frame of 16 x 12 pixels"),
    ],
)
def test_a_wrong_stream_is_said(frames, change, size, error, message):
    with pytest.raises(error, match=message):
        upscaled(change(y4m(frames)), size)


def test_a_wrong_png_stream_is_said(frames):
    data = b"".join(map(png, frames))
    for wrong, error, message in (
        (data[:-1], DataError, "the stream ends within a frame"),
        (data + b"more", ImageError, "frame 4 is no PNG file"),
        (data[:8] + b"\xff" * 99, ImageError, "frame 1 is damaged"),
        (data[:60] + b"\xff" + data[61:], ImageError, "frame 1"),
    ):
        with pytest.raises(error, match=message):
            upscaled(wrong)


COMMAND = [sys.executable, "-m", "srcx", "upscale", "-", "-o", "-", "--model", "bicubic-x2"]


def test_the_command_writes_frames_to_stdout_and_words_to_stderr(frames):
    done = subprocess.run(COMMAND, input=y4m(frames), capture_output=True, check=True)
    assert done.stdout == upscaled(y4m(frames))
    assert done.stderr.decode().splitlines() == ["1 frames", "3 frames upscaled by bicubic-x2"]


def test_a_reader_that_stops_is_no_crash(frames, tmp_path):
    (tmp_path / "film.raw").write_bytes(b"".join(frame.tobytes() for frame in frames) * 500)
    with (
        (tmp_path / "film.raw").open("rb") as film,
        subprocess.Popen(
            [*COMMAND, "--size", "16x12", "-q"], stdin=film, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 1
    assert errors == "-: the program that reads the results stopped after 0 frames\n"
