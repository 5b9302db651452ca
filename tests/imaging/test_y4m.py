import cv2
import numpy as np
import pytest
import skimage.data

from srcx.errors import ImageError
from srcx.imaging import imresize
from srcx.imaging.y4m import CHROMA, Y4M

GREY = {"limited": (16, 235), "full": (0, 255)}


def header(chroma="420jpeg", size=(64, 48), more="") -> Y4M:
    return Y4M.parse(f"YUV4MPEG2 W{size[0]} H{size[1]} F25:1 Ip A1:1 C{chroma}{more}\n".encode())


def test_the_header_is_parsed_and_written_again():
    found = header("420mpeg2", more=" XYSCSS=420MPEG2 XCOLORRANGE=LIMITED")
    assert found[:5] == (64, 48, "420mpeg2", False, "BT.601")
    assert Y4M.parse(found.header()) == found
    assert b" F25:1 Ip A1:1 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED\n" in found.header()


def test_without_a_word_chroma_is_that_of_jpeg():
    assert Y4M.parse(b"YUV4MPEG2 W6 H4").frame_bytes == 36


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"YUV4MPEG2 W64 F25:1", "has no width and height"),
        (b"YUV4MPEG2 Wx H48", "has no width and height"),
        (b"YUV4MPEG2 W64 H48 C420p10", "got C420p10: add -pix_fmt yuv420p or yuv444p to ffmpeg"),
        (b"YUV4MPEG2 W64 H48 It", "interlaced; add -vf bwdif"),
    ],
)
def test_what_is_not_read_is_said_with_its_remedy(line, message):
    with pytest.raises(ImageError, match=message):
        Y4M.parse(line)


@pytest.mark.parametrize("chroma", CHROMA)
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1), (1280, 2)])
@pytest.mark.parametrize("levels", GREY)
def test_black_white_and_colours_have_their_levels(chroma, size, levels):
    stream = header(chroma, size, " XCOLORRANGE=FULL" if levels == "full" else "")
    for value, luma in zip((0, 255), GREY[levels], strict=True):
        image = np.full((size[1], size[0], 3), value, np.uint8)
        frame = stream.from_rgb(image)
        assert len(frame) == stream.frame_bytes
        samples = np.frombuffer(frame, np.uint8)
        assert set(samples[: size[0] * size[1]]) == {luma}
        assert set(samples[size[0] * size[1] :]) == {128}
        np.testing.assert_array_equal(stream.to_rgb(frame), image)
    red = np.zeros((size[1], size[0], 3), np.uint8) + np.uint8([255, 0, 0])
    assert np.abs(stream.to_rgb(stream.from_rgb(red)).astype(int) - red).max() <= 3


def test_small_frames_are_bt601_and_large_ones_bt709():
    red = np.uint8([[[255, 0, 0]]])
    small, large = header("444", (1, 1)), header("444", (1280, 720))
    assert list(small.from_rgb(red)) == [81, 90, 240]  # as ITU-R BT.601 has it
    assert list(large._replace(width=1, height=1).from_rgb(red)) == [63, 102, 240]


def test_luma_and_colours_are_opencvs(rng):
    stream = header("444", (40, 30), " XCOLORRANGE=FULL")
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    planes = np.frombuffer(stream.from_rgb(image), np.uint8).reshape(3, 30, 40)
    theirs = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]].transpose(2, 0, 1)
    assert np.abs(planes.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("chroma", CHROMA)
def test_a_photograph_survives(chroma):
    image = imresize(skimage.data.coffee(), scale=0.5)[:200, :300]
    stream = header(chroma, (300, 200))
    back = stream.to_rgb(stream.from_rgb(image)).astype(float)
    assert cv2.PSNR(back.astype(np.uint8), image) > (45 if chroma == "444" else 33)
    assert np.abs((back - image).mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("chroma", ["420jpeg", "420mpeg2", "422"])
def test_colours_stay_in_their_place(chroma):
    """A slope of colour comes back unmoved only where chroma lies where it is taken to lie."""
    slope = np.linspace(60, 180, 64)
    image = np.dstack([np.tile(slope, (48, 1)), np.full((48, 64), 120), np.tile(slope[::-1], (48, 1))])
    image = np.rint(image).astype(np.uint8)
    stream = header(chroma, more=" XCOLORRANGE=FULL")
    back = stream.to_rgb(stream.from_rgb(image)).astype(float)
    assert np.abs((back - image)[:, 4:-4].mean(axis=(0, 1))).max() < 0.25
