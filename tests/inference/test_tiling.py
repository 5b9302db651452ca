import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srcx.imaging import imresize
from srcx.inference import tiling as tiling_module
from srcx.inference.tiling import Tiling

UNSET = 123


def run_tiled(image: np.ndarray, upscale, *, scale: int, tiling: Tiling) -> np.ndarray:
    """`tiling.run_tiled` with an array made for its result."""
    shape = (scale * image.shape[0], scale * image.shape[1], *image.shape[2:])
    result = np.full(shape, UNSET, image.dtype)  # as memory is that nobody has written to
    tiling_module.run_tiled(image, upscale, result, tiling)
    return result


def doubled(image: np.ndarray) -> np.ndarray:
    return image.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (47, 53), (96, 96)])
@pytest.mark.parametrize("fade_px", [0, 1, 7, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_of_a_pixelwise_function_are_its_result(size, fade_px, dtype, rng):
    image = rng.integers(0, np.iinfo(dtype).max, (*size, 3), dtype, endpoint=True)
    tiling = Tiling(core_px=20, overlap_px=4, fade_px=fade_px)
    np.testing.assert_array_equal(run_tiled(image, doubled, scale=2, tiling=tiling), doubled(image))


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    scale=st.integers(1, 3),
    core_px=st.integers(1, 40),
    overlap_px=st.integers(2, 6),
    fade_px=st.integers(0, 4),
    align_px=st.sampled_from([1, 4, 8]),
)
@settings(max_examples=60)
def test_any_cut_of_any_image_gives_every_pixel_once(
    height, width, scale, core_px, overlap_px, fade_px, align_px
):
    def upscaled(piece: np.ndarray) -> np.ndarray:
        return piece.repeat(scale, axis=0).repeat(scale, axis=1)

    image = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    tiling = Tiling(core_px, overlap_px, fade_px, align_px)
    np.testing.assert_array_equal(run_tiled(image, upscaled, scale=scale, tiling=tiling), upscaled(image))


def test_a_fade_wider_than_two_tiles_share_is_refused():
    with pytest.raises(ValueError, match=r"from 0 to twice the overlap of 4, .*; got 9"):
        Tiling(core_px=20, overlap_px=4, fade_px=9)


def test_tiles_of_a_filter_are_its_result_when_the_overlap_covers_its_radius(rng):
    image = rng.integers(0, 256, (90, 70), np.uint8)
    tiling = Tiling(core_px=32, overlap_px=8, fade_px=8)
    tiled = run_tiled(image, lambda piece: imresize(piece, scale=3), scale=3, tiling=tiling)
    np.testing.assert_array_equal(tiled, imresize(image, scale=3))


def test_no_tile_is_larger_than_asked_for(rng):
    seen = []

    def noted(piece: np.ndarray) -> np.ndarray:
        seen.append(piece.shape)
        return piece

    run_tiled(
        rng.integers(0, 256, (100, 33), np.uint8), noted, scale=1, tiling=Tiling(core_px=32, overlap_px=4)
    )
    assert len(seen) == 8
    assert max(max(shape) for shape in seen) <= 32 + 2 * 4


def test_tiles_begin_at_multiples_of_the_alignment():
    tiling = Tiling(core_px=40, overlap_px=16, align_px=16)
    assert all(start % 16 == 0 for start, _ in tiling.spans(333))
    columns = np.arange(333, dtype=np.uint16).reshape(1, -1)
    starts = []
    run_tiled(columns, lambda piece: starts.append(int(piece[0, 0])) or piece, scale=1, tiling=tiling)
    assert all(start % 16 == 0 for start in starts)


def test_neighbours_that_disagree_fade_into_each_other():
    calls = iter([0, 200])
    image = np.zeros((1, 64), np.uint8)
    tiling = Tiling(core_px=32, overlap_px=16, fade_px=16)
    result = run_tiled(image, lambda piece: np.full_like(piece, next(calls)), scale=1, tiling=tiling)
    steps = np.diff(result[0].astype(int))
    assert result[0, 0] == 0
    assert result[0, -1] == 200
    assert steps.min() >= 0
    assert steps.max() <= 200 / 16 + 1


def test_tiles_become_pixels_while_the_next_is_upscaled(rng):
    """Never more than two at once, and placed in their order, as they fade into each other."""
    image = rng.integers(0, 256, (40, 60), np.uint8)
    tiling = Tiling(core_px=20, overlap_px=4, fade_px=8)
    expected = run_tiled(image, doubled, scale=2, tiling=tiling)
    events, second_began = [], threading.Event()

    def upscale(piece: np.ndarray) -> list[np.ndarray]:
        events.append("upscale")
        if events.count("upscale") == 2:
            second_began.set()
        return [doubled(piece)]

    def pixels_of(tile: list[np.ndarray]) -> np.ndarray:
        assert second_began.wait(60), "the first tile blocks the second"
        events.append("pixels")
        assert events.count("upscale") - events.count("pixels") <= 2
        return tile[0]

    result = np.full(expected.shape, UNSET, np.uint8)
    steps: list[int] = []
    tiling_module.run_tiled(
        image,
        upscale,
        result,
        tiling,
        lambda _what, done, _total: steps.append(done),
        pixels_of=pixels_of,
        overlapped=True,
    )
    np.testing.assert_array_equal(result, expected)
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("overlapped", [False, True])
def test_an_error_while_pixels_are_made_is_raised(overlapped):
    def fails(_tile: np.ndarray) -> np.ndarray:
        raise MemoryError("no memory for the pixels")

    image, result = np.zeros((40, 60), np.uint8), np.zeros((80, 120), np.uint8)
    tiling = Tiling(core_px=20, overlap_px=4)
    with pytest.raises(MemoryError, match="no memory for the pixels"):
        tiling_module.run_tiled(image, doubled, result, tiling, pixels_of=fails, overlapped=overlapped)
