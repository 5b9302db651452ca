import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from srcx.errors import DataError, ImageError, UsageError
from srcx.imaging import imresize, read_image, write_image
from srcx.prepare.align import align, align_folders, find_pairs
from srcx.prepare.shifts import block_shifts


@pytest.fixture(scope="module")
def photo():
    return data.astronaut()


@pytest.fixture(scope="module")
def grey(photo):
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)


def warped(image, matrix, size):
    return cv2.warpPerspective(image, np.asarray(matrix, float), size[::-1], flags=cv2.INTER_CUBIC)


def moved(image, right, down):
    """The image with everything in it `right` and `down` further on, by Fourier: exact but at borders."""
    rows, columns = (np.fft.fftfreq(side)[:, None] for side in image.shape)
    turn = np.exp(-2j * np.pi * (rows * down + columns.T * right))
    return np.fft.ifft2(np.fft.fft2(image) * turn).real.astype(np.float32)


def near(homography, true, size):
    """The largest distance of the corners under the two, in lq pixels."""
    corners = np.array([[[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]]], float)
    apart = cv2.perspectiveTransform(corners, homography) - cv2.perspectiveTransform(
        corners, np.asarray(true, float)
    )
    return np.abs(apart).max()


@pytest.mark.parametrize(("right", "down"), [(0, 0), (0.3, -0.45), (-2.25, 1.6), (7.4, -9.1)])
def test_a_known_shift_is_recovered_to_a_tenth_of_a_pixel(grey, right, down):
    _, shifts = block_shifts(grey[32:-32, 32:-32], moved(grey, right, down)[32:-32, 32:-32])
    measured = shifts[np.isfinite(shifts[:, 0])]
    assert len(measured) > len(shifts) / 2
    np.testing.assert_allclose(np.median(measured, axis=0), (right, down), atol=0.02)
    assert np.percentile(np.abs(measured - (right, down)), 90) < 0.1


def test_brightness_contrast_and_sharpness_change_no_shift(grey):
    other = 0.5 * cv2.GaussianBlur(moved(grey, 0.5, 1.25), (0, 0), 1.0) + 60
    _, shifts = block_shifts(grey[32:-32, 32:-32], other[32:-32, 32:-32])
    np.testing.assert_allclose(np.nanmedian(shifts, axis=0), (0.5, 1.25), atol=0.05)


def test_flat_blocks_and_lone_edges_are_not_measured(rng):
    flat = np.full((96, 96), 80, np.float32)
    assert np.isnan(block_shifts(flat, flat)[1]).all()
    edge = np.where(np.arange(96) > 40, 180, flat)
    edge, other = (edge + rng.normal(0, 1, (96, 96)).astype(np.float32) for _ in range(2))
    assert np.isnan(block_shifts(edge, other)[1]).all()


def test_other_images_are_not_measured(grey):
    other = cv2.cvtColor(data.coffee(), cv2.COLOR_RGB2GRAY).astype(np.float32)[:400, :400]
    measured = np.isfinite(block_shifts(grey[:400, :400], other)[1][:, 0])
    assert measured.mean() < 0.1


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_pairs_as_they_are_made_lie_upon_each_other(photo, scale):
    aligned = align(imresize(photo, scale=1 / scale) if scale > 1 else photo, photo, scale=scale)
    assert aligned.fit.zoom == pytest.approx(scale, rel=1e-3)
    assert aligned.fit.before.figures()["max"] < 0.1
    assert aligned.fit.after.figures()["90 %"] < 0.1
    assert aligned.gt.shape[0] == aligned.lq.shape[0] * scale


def test_a_known_shift_of_a_pair_is_measured_and_taken_away(photo):
    gt = photo[3:, 5:]  # what was at (x, y) is at (x - 5, y - 3)
    lq = imresize(photo, scale=0.25)[: gt.shape[0] // 4, : gt.shape[1] // 4]
    aligned = align(lq, gt[: lq.shape[0] * 4, : lq.shape[1] * 4], scale=4)
    assert aligned.fit.before.figures()["median"] == pytest.approx(np.hypot(5, 3), abs=0.1)
    assert aligned.fit.after.figures()["median"] < 0.2


def test_two_zooms_are_brought_together_by_their_homography(photo):
    # Ground truth is a part of the scene, twice as large as in lq, a little turned and seen from the side.
    to_lq = np.array([[0.5, 0.01, 70], [-0.008, 0.495, 60], [1e-5, -1e-5, 1]])
    wide, fine = imresize(photo, size=(400, 400)), imresize(photo, scale=2.0)
    factor = 400 / 1024  # edges lie upon edges
    to_wide = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    tele = warped(fine, np.linalg.inv(to_lq) @ to_wide, (420, 480))
    aligned = align(wide, tele, scale=2)
    assert near(aligned.fit.homography, to_lq, tele.shape) < 0.05
    assert aligned.fit.zoom == pytest.approx(2, rel=0.02)
    assert aligned.fit.before is None
    assert aligned.fit.after.figures()["median"] < 0.3
    assert aligned.gt.shape == (aligned.lq.shape[0] * 2, aligned.lq.shape[1] * 2, 3)
    small = imresize(aligned.gt, size=aligned.lq.shape[:2]).astype(float)
    assert np.abs(small - aligned.lq)[4:-4, 4:-4].mean() < 6


def test_two_scenes_do_not_match(photo):
    with pytest.raises(
        ImageError, match=r"the images do not match: \d+ features agree, and the aligned images"
    ):
        align(imresize(photo, scale=0.5), data.coffee(), scale=2)


def test_pairs_are_written_for_training_and_what_does_not_match_is_named(tmp_path, photo):
    for name, image in {"a": photo, "b": data.coffee()}.items():
        for kind in ("lq", "gt"):
            (tmp_path / kind).mkdir(exist_ok=True)
        write_image(tmp_path / f"gt/{name}.png", image)
        write_image(tmp_path / f"lq/{name}x2.png", imresize(photo, scale=0.5))
    calls = []
    found = dict(
        align_folders(
            tmp_path / "lq",
            tmp_path / "gt",
            scale=2,
            out=tmp_path / "out",
            on_progress=lambda *words: calls.append(words),
        )
    )
    assert isinstance(found["b"], ImageError)
    arrays = [value for value in vars(found["a"]).values() if isinstance(value, np.ndarray)]
    assert sum(array.size for array in arrays) < 100, "a list of all pairs must not hold their pixels"
    assert calls == [("a", 1, 2), ("b", 2, 2)]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/*/*")) == [
        "gt/a.png",
        "lq/a.png",
    ]
    lq, gt = (read_image(tmp_path / f"out/{kind}/a.png") for kind in ("lq", "gt"))
    assert gt.shape == (lq.shape[0] * 2, lq.shape[1] * 2, 3)


def test_without_a_match_no_folder_is_made(tmp_path, photo):
    write_image(tmp_path / "lq.png", imresize(photo, scale=0.5))
    write_image(tmp_path / "gt.png", data.coffee())
    ((_, error),) = align_folders(
        tmp_path / "lq.png", tmp_path / "gt.png", scale=2, out=tmp_path / "out", on_progress=lambda *_: None
    )
    assert isinstance(error, ImageError)
    assert not (tmp_path / "out").exists()


def test_images_without_a_partner_are_named(tmp_path, photo):
    for path in ("lq/a.png", "gt/a.png", "gt/b.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        write_image(tmp_path / path, photo[:8, :8])
    with pytest.raises(DataError, match=r"1 image without a partner of the same name \(.*b.png"):
        find_pairs(tmp_path / "lq", tmp_path / "gt")
    assert find_pairs(tmp_path / "lq/a.png", tmp_path / "gt/b.png")[0][0] == "b"


@pytest.mark.parametrize("places", [("lq", "gt"), ("lq", "other"), ("other", "gt")])
def test_results_do_not_replace_or_mix_with_inputs(tmp_path, photo, places):
    before = {}
    for kind, place in zip(("lq", "gt"), places, strict=True):
        path = tmp_path / place / "a.bmp"
        path.parent.mkdir(exist_ok=True)
        write_image(path, photo if kind == "gt" else imresize(photo, scale=0.5))
        before[path] = path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for inputs in (places, [f"{place}/a.bmp" for place in places]):
        lq, gt = (tmp_path / place for place in inputs)
        found = align_folders(lq, gt, scale=2, out=tmp_path / "link", on_progress=lambda *words: None)
        with pytest.raises(UsageError, match="holds inputs, which the results would replace or mix with"):
            next(found)
    files = {Path(here, name) for here, _, names in os.walk(tmp_path) for name in names}
    assert {path: path.read_bytes() for path in files} == before
