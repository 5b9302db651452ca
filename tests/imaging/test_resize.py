import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from srcx.errors import ImageError
from srcx.imaging.color import rgb_to_y
from srcx.imaging.io import list_images, read_image
from srcx.imaging.resize import imresize

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
SMALL = st.tuples(st.integers(1, 9), st.integers(1, 9))


def keys_cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def resize_line_written_out(line, length, scale, border):
    """MATLAB's documentation put into loops: one output value after another, over a wide enough window."""
    stretch = min(scale, 1)
    radius = int(4 / stretch) + 2
    out = []
    for i in range(1, length + 1):
        center = i / scale + 0.5 * (1 - 1 / scale)
        total = norm = 0.0
        for place in range(int(np.floor(center)) - radius, int(np.floor(center)) + radius + 1):
            weight = stretch * keys_cubic(stretch * (center - place))
            inside = place - 1
            if border == "replicate":
                inside = min(max(inside, 0), len(line) - 1)
            while not 0 <= inside < len(line):
                inside = -1 - inside if inside < 0 else 2 * len(line) - 1 - inside
            total, norm = total + weight * line[inside], norm + weight
        out.append(total / norm)
    return np.array(out)


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
@pytest.mark.parametrize(("length", "new"), [(17, 5), (5, 17), (3, 1), (1, 4), (12, 4), (8, 8), (40, 3)])
def test_equals_the_formula_written_out(rng, border, length, new):
    line = rng.random(length)
    expected = resize_line_written_out(line, new, new / length, border)
    assert_allclose(imresize(line[:, None], size=(new, 1), border=border)[:, 0], expected, atol=1e-12)
    assert_allclose(imresize(line[None], size=(1, new), border=border)[0], expected, atol=1e-12)


def test_rounds_half_up_between_the_passes_rows_first():
    # One rounding at the end would give other numbers here.
    image = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    halfway = np.clip(np.floor(imresize(image.astype(float), size=(16, 8)) + 0.5), 0, 255)
    expected = np.clip(np.floor(imresize(halfway, size=(16, 16)) + 0.5), 0, 255)
    assert_array_equal(imresize(image, scale=2), expected)
    unrounded = np.clip(np.floor(imresize(image.astype(float), scale=2) + 0.5), 0, 255)
    assert (expected != unrounded).any()


def test_resizes_the_side_that_shrinks_more_first():
    image = np.random.default_rng(3).integers(0, 256, (12, 12), np.uint8)
    columns_first = imresize(imresize(image, size=(12, 3)), size=(6, 3))
    rows_first = imresize(imresize(image, size=(6, 12)), size=(6, 3))
    assert (columns_first != rows_first).any()
    assert_array_equal(imresize(image, size=(6, 3)), columns_first)


def test_saturates_and_does_not_wrap_around():
    edge = np.repeat(np.array([0, 255], np.uint8), 8)[None].repeat(4, axis=0)
    enlarged = imresize(edge, scale=4)
    assert (enlarged[:, :28] < 40).all()
    assert (enlarged[:, 36:] > 215).all()


@given(
    SHAPES,
    st.sampled_from([2, 3, 4, 0.5, 0.25, 1 / 3, 0.7, 1.9]),
    st.sampled_from(["symmetric", "replicate"]),
)
@settings(max_examples=60)
def test_a_constant_image_stays_constant_and_sizes_are_rounded_up(shape, scale, border):
    for value, dtype in [(255, np.uint8), (1, np.uint8), (65535, np.uint16), (0.1, np.float64)]:
        resized = imresize(np.full(shape, value, dtype), scale=scale, border=border)
        assert resized.dtype == dtype
        assert resized.shape == (int(np.ceil(scale * shape[0])), int(np.ceil(scale * shape[1])), shape[2])
        assert_allclose(resized, np.full_like(resized, value), rtol=1e-14)


@given(
    st.sampled_from([np.uint8, np.uint16]).flatmap(lambda kind: arrays(kind, SMALL)),
    st.sampled_from([0.125, 0.25, 0.5, 2, 4]),
)
@settings(max_examples=60)
def test_integers_equal_the_formula_rounded_after_each_pass(image, scale):
    top = np.iinfo(image.dtype).max
    expected = image.astype(float)
    for _ in ("rows", "columns"):  # each turns the image, so that the second resizes the other side
        length = int(np.ceil(scale * len(expected)))
        lines = [resize_line_written_out(line, length, scale, "symmetric") for line in expected.T]
        expected = np.floor(np.clip(lines, 0, top) + 0.5)
    assert_array_equal(imresize(image, scale=scale), expected)


@given(arrays(np.uint16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 65535)))
@settings(max_examples=30)
def test_flipping_and_turning_commute_with_resizing(image):
    for scale in (0.25, 4):
        resized = imresize(image, scale=scale)
        if all(side * scale % 1 == 0 for side in image.shape):
            assert_array_equal(imresize(image[::-1], scale=scale), resized[::-1])
            assert_array_equal(imresize(image[:, ::-1], scale=scale), resized[:, ::-1])


def test_equals_torch_antialiased_bicubic_inside_up_to_its_float32():
    image = np.random.default_rng(0).random((48, 64))
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], scale_factor=0.25, mode="bicubic", antialias=True
    )
    assert_allclose(imresize(image, scale=0.25)[3:-3, 3:-3], theirs[0, 0, 3:-3, 3:-3].numpy(), atol=1e-6)


def test_float32_is_summed_in_float64_and_given_back_as_float32():
    image = np.random.default_rng(0).random((16, 16), np.float32)
    resized = imresize(image, scale=0.5)
    assert resized.dtype == np.float32
    assert resized.flags.c_contiguous
    assert_allclose(resized, imresize(image.astype(np.float64), scale=0.5), rtol=2e-7)


def test_the_image_handed_in_is_not_changed():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    before = image.copy()
    imresize(image, scale=1)[:] = 0
    imresize(image, scale=2)[:] = 0
    assert_array_equal(image, before)


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_reproduces_the_stored_low_resolution_files_of_old_matlab(shared, name):
    folder = shared / "data/benchmark" / name
    for path in list_images(folder / "HR"):
        stored = read_image(folder / "LR_bicubic/X4" / f"{path.stem}x4.png")
        assert_array_equal(
            imresize(read_image(path), scale=1 / 4, border="replicate"), stored, err_msg=path.name
        )


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_reproduces_the_reference_enlargements_of_todays_matlab(shared, name):
    folder = shared / "data/benchmark" / name / "LR_bicubic/X4"
    references = list_images(shared / "reference/bicubic" / name)
    for lq, reference in zip(list_images(folder), references, strict=True):
        assert_array_equal(imresize(read_image(lq), scale=4), read_image(reference), err_msg=lq.name)


@pytest.mark.parametrize(("name", "published"), [("Set5", 28.4177), ("Set14", 25.9933), ("BSD100", 25.9565)])
def test_bicubic_psnr_is_the_published_one(shared, name, published):
    folder = shared / "data/benchmark" / name
    values = []
    for path in list_images(folder / "HR"):
        sr = imresize(read_image(folder / "LR_bicubic/X4" / f"{path.stem}x4.png"), scale=4)
        gt_y, sr_y = (rgb_to_y(image).astype(float)[4:-4, 4:-4] for image in (read_image(path), sr))
        values.append(10 * np.log10(255**2 / ((gt_y - sr_y) ** 2).mean()))
    assert np.mean(values) == pytest.approx(published, abs=1e-4)
    reference = json.loads((shared / "reference/metrics.json").read_text())["summary"].get(name)
    if reference:
        assert np.mean(values) == pytest.approx(reference["PSNR_Y_gray_as_Y"], abs=1e-10)


@pytest.mark.parametrize(
    ("image", "arguments", "message"),
    [
        (np.zeros((2, 2), np.int32), {"scale": 2}, "uint8, uint16 or floating; got int32"),
        (np.zeros((2, 0), np.uint8), {"scale": 2}, r"none of them 0; got \(2, 0\)"),
        (np.zeros(4, np.uint8), {"scale": 2}, r"\(H, W\) or \(H, W, C\).* got \(4,\)"),
        (np.zeros((2, 2)), {"scale": 0}, "positive number; got 0"),
        (np.zeros((2, 2)), {"scale": float("nan")}, "positive number; got nan"),
        (np.zeros((2, 2)), {"size": (0, 3)}, r"at least \(1, 1\); got \(0, 3\)"),
        (np.zeros((2, 2)), {}, "either scale or size"),
        (np.zeros((2, 2)), {"scale": 2, "size": (3, 3)}, "either scale or size"),
        (np.zeros((2, 2)), {"scale": 2, "border": "zero"}, "'symmetric' or 'replicate'; got 'zero'"),
    ],
)
def test_says_what_is_wrong_with_the_call(image, arguments, message):
    with pytest.raises(ImageError, match=message):
        imresize(image, **arguments)
