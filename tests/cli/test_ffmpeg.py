"""The lines of docs/howto/video.md, run by ffmpeg as they stand there, on a short film."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import srcx
from srcx.imaging import imresize

PAGE = (Path(__file__).resolve().parents[2] / "docs/howto/video.md").read_text("utf-8")
LINES = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)
EXACT = "-sws_flags accurate_rnd+full_chroma_int"
MODEL = "fast-x4"
FRAMES, HEIGHT, WIDTH = 5, 48, 64

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, where the word `srcx` starts this srcx."""
    command = tmp_path / "bin/srcx"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m srcx "$@"\n', "utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(srcx.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bash(line: str, *, given: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    line = line.replace("real-x2", MODEL).replace("ffmpeg ", "ffmpeg -v error ")
    done = subprocess.run(["bash", "-c", line], input=given, capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    return done


def frames_of(source: str, *, large: bool = True, given: bytes = b"") -> np.ndarray:
    """Return the frames of `ffmpeg SOURCE` as RGB, (N, H, W, 3); 4 times as large, or of the film's size."""
    rgb = bash(f"ffmpeg {source} {EXACT} -f rawvideo -pix_fmt rgb24 -", given=given).stdout
    factor = 4 if large else 1
    return np.frombuffer(rgb, np.uint8).reshape(-1, factor * HEIGHT, factor * WIDTH, 3)


def film(rng: np.random.Generator, sound: str = "", pixels: str = "yuv420p", name: str = "film.mp4") -> None:
    """Write a film: black to white and soft colours that move by two pixels a frame, BT.709, no loss."""
    coarse = rng.integers(0, 256, (5, 6, 1)) + rng.integers(-40, 41, (5, 6, 3))
    wide = imresize(np.clip(coarse, 0, 255).astype(np.uint8), size=(HEIGHT, WIDTH + 2 * FRAMES))
    moving = [wide[:, 2 * start :][:, :WIDTH] for start in range(FRAMES)]
    bash(
        f"ffmpeg -f rawvideo -pix_fmt rgb24 -s {WIDTH}x{HEIGHT} -r 25 -i - {sound} "
        f"-vf scale=out_color_matrix=bt709,format={pixels} -colorspace bt709 "
        f"-c:v libx264 -qp 0 -shortest {name}",
        given=np.stack(moving).tobytes(),
    )


def upscaled_singly(frames: np.ndarray) -> np.ndarray:
    return np.stack([srcx.upscale(frame, model=MODEL) for frame in frames])


def colors_differ_by(result: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of the means of R, G or B over the film, in levels of 255."""
    return float(np.abs(result.mean((0, 1, 2)) - expected.mean((0, 1, 2))).max())


@pytest.mark.parametrize("sound", ["-f lavfi -i sine=440 -c:a aac", ""], ids=["sound", "silent"])
@pytest.mark.parametrize("line", LINES, ids=["files", "pipe"])
def test_a_documented_line_upscales_a_film(folder, rng, line, sound):
    film(rng, sound)
    expected = upscaled_singly(frames_of("-i film.mp4", large=False))
    bash(line)
    # Y4M does not say the matrix; the page says what a player takes instead.
    matrix = "" if "out_color_matrix" in line else "-vf scale=in_color_matrix=bt709"
    result = frames_of(f"-i film_x2.mp4 {matrix}")
    assert len(result) == FRAMES
    assert np.abs(result - expected.astype(float)).mean() < 2
    assert colors_differ_by(result, expected) < 1
    probe = "ffprobe -v error -show_entries stream=codec_type,nb_frames,r_frame_rate -of csv=p=0"
    video, *others = bash(f"{probe} film_x2.mp4").stdout.decode().split()
    assert video == f"video,25/1,{FRAMES}"
    assert others == bash(f"{probe} film.mp4").stdout.decode().split()[1:]
    assert len(others) == bool(sound)


TO_RAW = "-f rawvideo -pix_fmt rgb24"
PIPES = {
    # How frames go in, srcx's own words, and how ffmpeg reads the results.
    "PNG": ("-f image2pipe -c:v png", "", "-f image2pipe -framerate 25 -i -"),
    "raw": (TO_RAW, "--size 640x360", f"{TO_RAW} -s 1280x720 -r 25 -i -"),
    "Y4M": ("-f yuv4mpegpipe", "", "-i -"),
}


def through(pipe: str, source: str, model: str = MODEL) -> np.ndarray:
    """Return the frames that `srcx upscale - -o -` made of a file, by the words of the page."""
    into, words, out_of = PIPES[pipe]
    for said in (into, words, out_of):
        assert said in PAGE
    words = words.replace("640x360", f"{WIDTH}x{HEIGHT}")
    out_of = out_of.replace("1280x720", f"{4 * WIDTH}x{4 * HEIGHT}")
    line = f"ffmpeg {source} {EXACT} {into} - | srcx upscale - -o - --model {model} {words} -q > large"
    bash(f"set -o pipefail; {line}")
    return frames_of(out_of, given=Path("large").read_bytes())


@pytest.mark.parametrize("pipe", ["PNG", "raw"])
def test_rgb_frames_are_those_upscaled_singly(folder, rng, pipe):
    film(rng)
    expected = upscaled_singly(frames_of("-i film.mp4", large=False))
    np.testing.assert_array_equal(through(pipe, "-i film.mp4"), expected)


@pytest.mark.parametrize(
    ("chroma", "color_range", "levels"),
    [("420", "tv", 1.5), ("420", "pc", 1.5), ("422", "tv", 1.5), ("444", "pc", 1)],
)
def test_y4m_keeps_colors_and_edges(folder, rng, chroma, color_range, levels):
    film(rng, pixels="yuv444p")
    source = f"-i film.mp4 -vf scale=out_color_matrix=bt601:out_range={color_range} -pix_fmt yuv{chroma}p"
    expected = upscaled_singly(frames_of("-i film.mp4", large=False))
    result = through("Y4M", source)
    assert np.abs(result - expected.astype(float)).mean() < levels
    assert colors_differ_by(result, expected) < 0.5


def test_ten_bits_come_through_as_png_of_sixteen(folder, rng):
    film(rng, pixels="yuv420p10le", name="ten.mp4")
    bash("ffmpeg -i ten.mp4 -f image2pipe -c:v png - | srcx upscale - -o - --model bicubic-x4 -q > large")
    probe = "ffprobe -v error -f image2pipe -show_entries stream=pix_fmt -of csv=p=0 large"
    assert bash(probe).stdout.decode().strip() == "rgb48be"


def test_a_wide_pixel_and_an_odd_size_come_out_right(folder, rng):
    film(rng)
    square = "-vf scale=iw*sar:ih,setsar=1"
    even = "-vf 'pad=ceil(iw/2)*2:ceil(ih/2)*2'"
    assert f"`{square}`" in PAGE
    assert f"`{even}`" in PAGE
    bash("ffmpeg -i film.mp4 -vf setsar=2 wide.mp4")
    bash(
        f"ffmpeg -i wide.mp4 {square} -f image2pipe -c:v png - | "
        f"srcx upscale - -o - --model bicubic-x2 --scale 1.52 -q | ffmpeg -f image2pipe -i - {even} large.mp4"
    )
    probe = "ffprobe -v error -show_entries stream=width,height -of csv=p=0 large.mp4"
    assert bash(probe).stdout.decode().strip() == "196,74"


def test_a_second_ffmpeg_that_stops_early_ends_srcx_with_code_1(folder):
    done = bash(
        "ffmpeg -f lavfi -i testsrc2=size=64x48 -t 60 -f yuv4mpegpipe - | "
        "srcx upscale - -o - --model bicubic-x2 -q | ffmpeg -i - -frames:v 3 -f null -; "
        "echo ${PIPESTATUS[1]} ${PIPESTATUS[2]}"
    )
    assert done.stdout == b"1 0\n"
    assert "-: the program that reads the results stopped after " in done.stderr.decode()


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (
            "ffmpeg -i film.mp4 -f yuv4mpegpipe - | head -c 10000",
            "-: the stream ends within a frame; the program",
        ),
        ("ffmpeg -i none.mp4 -f yuv4mpegpipe -", "-: nothing came through the pipe; look at the messages of"),
        (
            "ffmpeg -i film.mp4 -pix_fmt yuv420p10 -strict -1 -f yuv4mpegpipe -",
            "add -pix_fmt yuv420p or yuv444p",
        ),
        (
            "ffmpeg -i film.mp4 -vf interlace -flags +ilme -f yuv4mpegpipe -",
            "interlaced; add -vf bwdif to ffmpeg",
        ),
    ],
    ids=["within a frame", "no film", "10 bits", "interlaced"],
)
def test_a_first_ffmpeg_that_fails_is_said(folder, rng, first, message):
    film(rng)
    done = bash(f"{first} | srcx upscale - -o - --model bicubic-x2 -q > large", code=1)
    assert message in done.stderr.decode()
