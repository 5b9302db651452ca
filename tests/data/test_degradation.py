import itertools
from collections import Counter
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage import data

from srcx.config import DegradationOptions, load_degradation
from srcx.data.degradation import degrade, seeded, sharpen
from srcx.errors import ImageError
from srcx.imaging import imresize

EVERY_KERNEL = [
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
    "sinc",
]
FILTERS = ["area", "bilinear", "bicubic", "bicubic_antialiased"]
EVERYTHING = {
    "sharpen_gt": True,
    "passes": [
        {
            "blur": {"kernels": dict.fromkeys(EVERY_KERNEL, 1 / 7)},
            "resize": {},
            "noise": {},
            "compression": {"webp_prob": 0.3, "twice_prob": 0.4},
        }
    ]
    * 2,
    "final": {
        "filters": dict.fromkeys(FILTERS, 0.25),
        "sinc_prob": 0.5,
        "compression": {"webp_prob": 0.3, "twice_prob": 0.4},
    },
}


def described(**fields):
    return DegradationOptions.model_validate(fields)


def one_pass(**stages):
    """A degradation of one pass; the end does nothing but resize."""
    return described(passes=[stages])


def made(gt, options, scale=1, seed=0):
    return degrade(gt, options, scale=scale, rng=np.random.default_rng(seed))


def flat(level=128, shape=(64, 64)):
    return np.full((*shape, 3), level, np.uint8)


@pytest.fixture
def photo():
    return np.ascontiguousarray(data.astronaut()[:240, 80:320])


def drawn(seed=0, options=None, name="a"):
    return seeded(seed, options or load_degradation("web"), name).random()


def test_the_generator_of_an_image_is_the_same_on_every_machine_and_day():
    """The benchmark's numbers and the bytes of `srcx data degrade` hang on it."""
    assert drawn() == pytest.approx(0.176167018785663, abs=1e-15)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"name": "b"}, {"options": load_degradation("old")}, {"options": DegradationOptions()}],
)
def test_the_generator_depends_on_seed_name_and_degradation(other):
    assert drawn(**other) != drawn()


def test_default_values_of_a_degradation_do_not_count():
    written = DegradationOptions.model_validate({"clean_prob": 0.0, "passes": [], "final": {"sinc_prob": 0}})
    assert drawn(options=written) == drawn(options=DegradationOptions())


def test_a_name_may_hold_bytes_that_are_no_utf_8():
    assert drawn(name="a\udcff") != drawn(name="a")


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_clean_images_are_matlabs_bicubic_whatever_the_stages_are(photo, scale):
    lq = made(photo, described(**{**EVERYTHING, "clean_prob": 1}), scale)
    assert_array_equal(lq, imresize(photo, size=(240 // scale, 240 // scale)))


def test_clean_prob_is_the_share_of_clean_images(rng):
    options = described(clean_prob=0.3, final={"filters": {"area": 1}})
    gt = rng.integers(0, 256, (8, 8, 3), np.uint8)
    clean = imresize(gt, size=(2, 2))
    share = np.mean([np.array_equal(made(gt, options, 4, seed), clean) for seed in range(1000)])
    assert share == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"passes": [{"prob": 0, **EVERYTHING["passes"][0]}]},
        {
            "passes": [
                {
                    "blur": {"prob": 0},
                    "resize": {"up_prob": 0, "down_prob": 0},
                    "noise": {"prob": 0},
                    "compression": {"prob": 0},
                }
            ],
            "final": {"compression": {"prob": 0}, "sinc_prob": 0},
        },
        {"passes": [{}, {}]},
    ],
    ids=["no stage", "no pass", "no probability", "empty passes"],
)
def test_without_a_stage_the_resize_alone_is_left(photo, scale, nothing):
    lq = made(photo, described(**nothing), scale)
    # MATLAB rounds and clips bytes between its two passes; here they stay as they are.
    exact = imresize(photo.astype(np.float32), size=(240 // scale, 240 // scale))
    assert_array_equal(lq, np.clip(np.rint(exact), 0, 255))
    assert np.abs(lq.astype(int) - imresize(photo, size=lq.shape[:2])).mean() < 0.2


@pytest.mark.parametrize(
    ("name", "flag"), [("area", cv2.INTER_AREA), ("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)]
)
def test_each_filter_is_opencv_s(photo, name, flag):
    lq = made(photo, described(final={"filters": {name: 1}}), 4)
    wanted = cv2.resize(photo.astype(np.float32), (60, 60), interpolation=flag)
    assert_array_equal(lq, np.clip(np.rint(wanted), 0, 255))


def test_area_is_the_mean_of_the_pixels(photo):
    lq = made(photo, described(final={"filters": {"area": 1}}), 4)
    means = photo.reshape(60, 4, 60, 4, 3).mean(axis=(1, 3))
    assert_allclose(lq, means, atol=0.5 + 1e-3)


@pytest.mark.parametrize("of", ["gt", "lq"])
def test_a_resize_draws_up_down_or_unchanged_by_their_shares(monkeypatch, of):
    """Each image's size after the pass is looked at where the noise is added."""
    sizes = []

    def note(image, *_):
        sizes.append(image.shape[0])
        return image

    monkeypatch.setattr("srcx.data.degradation._with_noise", note)
    resize = {"of": of, "up_prob": 0.2, "down_prob": 0.3, "factor": [0.5, 2]}
    options = one_pass(resize=resize, noise={})
    for seed in range(1000):
        assert made(flat(shape=(80, 120)), options, 4, seed).shape == (20, 30, 3)
    size = 80 if of == "gt" else 20
    kinds = Counter(int(np.sign(after - size)) for after in sizes)
    # A factor near 1 rounds to the size itself, in up to one draw of twenty.
    assert kinds[1] / 1000 == pytest.approx(0.2, abs=0.05)
    assert kinds[-1] / 1000 == pytest.approx(0.3, abs=0.06)
    assert size / 2 <= min(sizes) < 0.55 * size
    assert 1.9 * size < max(sizes) <= 2 * size


def test_the_drawn_filter_is_the_one_that_resizes_and_all_are_drawn(photo):
    options = described(final={"filters": {"area": 0.33, "bilinear": 0.33, "bicubic": 0.33}})
    alone = {name: made(photo, described(final={"filters": {name: 1}}), 4) for name in FILTERS[:3]}
    drawn_ones = Counter(
        next(name for name in alone if np.array_equal(alone[name], made(photo, options, 4, seed)))
        for seed in range(60)
    )
    assert all(drawn_ones[name] > 8 for name in FILTERS[:3])


@pytest.mark.parametrize("kernel", EVERY_KERNEL)
def test_a_blur_keeps_flat_images_and_the_mean_and_smoothes_noise(rng, kernel):
    options = one_pass(blur={"kernels": {kernel: 1}, "sigma": [1, 3]})
    assert_array_equal(made(flat(77), options), flat(77))
    noise = rng.integers(60, 200, (64, 64, 3), np.uint8)
    blurred = made(noise, options)
    assert blurred.std() < 0.95 * noise.std()
    assert blurred.mean() == pytest.approx(noise.mean(), abs=0.5)


@pytest.mark.parametrize("kernel", ["iso", "aniso", "generalized_iso", "generalized_aniso"])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_sigma_of_a_blur_is_measured_on_an_edge(kernel, axis):
    edge = flat(0, (61, 61))
    edge[30:] = 255
    edge = edge if axis == 0 else edge.swapaxes(0, 1)
    blur = {"kernels": {kernel: 1}, "sigma": [2, 2], "size_px": [21, 21], "beta_generalized": [1, 1]}
    profile = np.take(made(edge, one_pass(blur=blur)).astype(np.float64), 30, axis=1 - axis)[:, 1]
    weights, steps = np.diff(profile), np.arange(60) - 29.0
    assert np.sqrt((weights * steps**2).sum() / weights.sum()) == pytest.approx(2, rel=0.02)


def test_an_anisotropic_blur_is_longer_in_one_direction():
    point = flat(0, (41, 41))
    point[20, 20] = 255
    ratios = []
    for seed, kernel in itertools.product(range(20), ("iso", "aniso")):
        options = one_pass(blur={"kernels": {kernel: 1}, "sigma": [0.6, 3], "size_px": [21, 21]})
        rows, columns = np.nonzero(made(point, options, seed=seed)[..., 0] > 1)
        variances = np.linalg.eigvalsh(np.cov(rows, columns))
        ratios.append(variances[1] / variances[0])
    assert max(ratios[::2]) < 1.1
    assert max(ratios[1::2]) > 2


def test_gaussian_noise_has_its_sigma_and_differs_between_channels():
    options = one_pass(noise={"gaussian_prob": 1, "sigma": [10, 10], "grey_prob": 0})
    noise = made(flat(shape=(200, 200)), options).astype(np.float64) - 128
    assert_allclose(noise.std(axis=(0, 1)), 10, rtol=0.02)
    assert_allclose(noise.mean(axis=(0, 1)), 0, atol=0.2)
    assert_allclose(np.corrcoef(noise.reshape(-1, 3).T), np.eye(3), atol=0.02)


def test_the_sigma_of_noise_is_drawn_from_its_range():
    options = one_pass(noise={"gaussian_prob": 1, "sigma": [2, 20]})
    sigmas = [made(flat(), options, seed=seed).std() for seed in range(200)]
    assert 1.9 < min(sigmas) < 3
    assert 18.5 < max(sigmas) < 20.7
    assert np.mean(sigmas) == pytest.approx(11, abs=1.2)


@pytest.mark.parametrize("gaussian_prob", [0, 1])
@pytest.mark.parametrize("grey_prob", [0, 1])
def test_grey_noise_is_the_same_in_all_channels(photo, gaussian_prob, grey_prob):
    noise = {"gaussian_prob": gaussian_prob, "sigma": [9, 9], "poisson_scale": [0.5, 0.5]}
    middle = (photo // 2 + 60).astype(np.uint8)  # nothing is clipped
    added = made(middle, one_pass(noise={**noise, "grey_prob": grey_prob})).astype(int) - middle
    assert added.any()
    assert (np.ptp(added, axis=2) == 0).all() == bool(grey_prob)


def test_poisson_noise_grows_with_the_brightness_as_photons_do():
    """A ramp of all levels: 256 photons, so the variance at v is v * 255 / 256, times the scale squared."""
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (400, 1))[..., None], 3, axis=2)
    options = one_pass(noise={"gaussian_prob": 0, "poisson_scale": [1.5, 1.5], "grey_prob": 0})
    noise = made(ramp, options).astype(np.float64) - ramp
    for level in (0, 36, 100, 150):
        deviation = noise[:, level].std()
        assert deviation == pytest.approx(1.5 * np.sqrt(level * 255 / 256), rel=0.05)
        assert abs(noise[:, level].mean()) < 2


def test_each_stage_comes_by_its_probability():
    stages = {
        "noise": {"prob": 0.25, "sigma": [5, 5]},
        "blur": {"prob": 0.25, "sigma": [2, 2]},
        "compression": {"prob": 0.25, "quality": [10, 10]},
    }
    textured = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    for stage, settings in stages.items():
        options = one_pass(**{stage: settings})
        touched = [not np.array_equal(made(textured, options, seed=seed), textured) for seed in range(600)]
        assert np.mean(touched) == pytest.approx(0.25, abs=0.06), stage


def encoded(image, suffix, *settings):
    return cv2.imdecode(cv2.imencode(suffix, image[..., ::-1].copy(), settings)[1], cv2.IMREAD_COLOR)[
        ..., ::-1
    ]


@pytest.mark.parametrize(
    ("subsampling_prob", "sampling"),
    [(0, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444), (1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)],
)
def test_jpeg_is_really_encoded(photo, subsampling_prob, sampling):
    compression = {"quality": [35, 35], "subsampling_prob": subsampling_prob}
    settings = (cv2.IMWRITE_JPEG_QUALITY, 35, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    wanted = encoded(photo, ".jpg", *settings)
    assert_array_equal(made(photo, described(final={"compression": compression})), wanted)
    assert_array_equal(made(photo, one_pass(compression=compression)), wanted)


def test_webp_is_really_encoded(photo):
    options = described(final={"compression": {"quality": [20, 20], "webp_prob": 1}})
    assert_array_equal(made(photo, options), encoded(photo, ".webp", cv2.IMWRITE_WEBP_QUALITY, 20))


def test_red_stays_red_through_every_encoder():
    red = flat(0)
    red[..., 0] = 250
    for webp_prob in (0, 1):
        options = described(final={"compression": {"quality": [95, 95], "webp_prob": webp_prob}})
        assert_allclose(made(red, options)[32, 32], [250, 0, 0], atol=8)


def grid_column(image):
    """Where in a grid of 8 the steps between columns are larger than elsewhere; -1 if they are not."""
    steps = np.abs(np.diff(image.astype(np.float64).mean(axis=2), axis=1)).mean(axis=0)
    strength = np.array([steps[place::8].mean() for place in range(8)])
    return int(strength.argmax()) if strength.max() > 1.2 * np.median(strength) else -1


@pytest.mark.parametrize(
    ("compression", "places"),
    [
        ({"quality": [5, 100]}, {7}),  # the step from column 7 to column 8
        ({"quality": [12, 12], "twice_prob": 1}, {7}),
        # Where the last save is much finer than the first one, the first one's grid shows.
        ({"quality": [5, 100], "twice_prob": 1}, set(range(8))),
    ],
)
def test_the_last_grid_of_a_jpeg_starts_at_0_and_that_of_a_first_save_anywhere(rng, compression, places):
    texture = cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3), np.uint8), (0, 0), 2)
    options = described(final={"compression": compression})
    assert {grid_column(made(texture, options, seed=seed)) for seed in range(150)} - {-1} == places
    # Rows as columns: the image lies on its side.
    turned = texture.swapaxes(0, 1)
    assert {grid_column(made(turned, options, seed=seed).swapaxes(0, 1)) for seed in range(150)} - {
        -1
    } == places


def test_an_image_saved_twice_stays_where_it_is(photo):
    options = described(
        final={"compression": {"quality": [100, 100], "twice_prob": 1, "subsampling_prob": 0}}
    )
    for seed in range(8):
        assert np.abs(made(photo, options, seed=seed).astype(int) - photo).max() <= 6


def test_the_sinc_filter_comes_before_or_after_the_last_compression(photo):
    """A JPEG that nothing follows changes next to nothing when it is saved alike again."""
    final = {"sinc_prob": 1, "compression": {"quality": [30, 30], "subsampling_prob": 0}}
    settings = (
        cv2.IMWRITE_JPEG_QUALITY,
        30,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    )

    def change(first):
        lq = made(photo, described(final={**final, "compression_first_prob": first}))
        return np.abs(encoded(lq, ".jpg", *settings).astype(int) - lq).mean()

    assert change(0) < 0.3
    assert change(1) > 1


def test_lq_is_made_from_sharpened_gt_where_that_is_asked_for(photo):
    assert_array_equal(made(photo, described(sharpen_gt=True)), sharpen(photo))
    assert_array_equal(made(photo, described(sharpen_gt=True, clean_prob=1)), photo)


def test_sharpen_is_the_unsharp_mask_written_out():
    """Real-ESRGAN's USMSharp with float64, on one channel after the other."""
    photo = data.astronaut()[100:200, 100:220]
    wanted = np.empty(photo.shape)
    for channel in range(3):
        values = photo[..., channel].astype(np.float64) / 255
        residual = values - cv2.GaussianBlur(values, (51, 51), 0)
        mask = cv2.GaussianBlur((np.abs(residual) * 255 > 10).astype(np.float64), (51, 51), 0)
        sharp = np.clip(values + 0.5 * residual, 0, 1)
        wanted[..., channel] = 255 * (mask * sharp + (1 - mask) * values)
    assert_allclose(sharpen(photo), wanted, atol=0.51)
    assert np.abs(sharpen(photo).astype(int) - photo).max() > 10


def test_sharpen_leaves_flat_images_and_faint_texture(rng):
    assert_array_equal(sharpen(flat()), flat())
    faint = rng.integers(125, 132, (60, 60, 3), np.uint8)
    assert_array_equal(sharpen(faint), faint)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2)])
def test_images_of_a_few_pixels_go_through_every_stage(rng, scale, shape):
    gt = rng.integers(0, 256, (shape[0] * scale, shape[1] * scale, 3), np.uint8)
    before = gt.copy()
    for seed in range(40):
        lq = made(gt, described(**EVERYTHING), scale, seed)
        assert (lq.shape, lq.dtype) == ((*shape, 3), np.uint8)
        assert_array_equal(sharpen(gt).shape, gt.shape)
    assert_array_equal(gt, before)


@pytest.mark.parametrize("name", ["web", "phone", "old"])
def test_the_presets_damage_a_photograph_but_leave_it_to_be_recognised(photo, name):
    options = load_degradation(name)
    clean = imresize(photo, size=(60, 60)).astype(np.float64)
    errors = [np.sqrt(((made(photo, options, 4, seed) - clean) ** 2).mean()) for seed in range(20)]
    assert min(errors) > 2
    assert max(errors) < 45


def test_the_same_generator_gives_the_same_image_and_another_one_another(photo):
    options = described(**EVERYTHING)
    assert_array_equal(made(photo, options, 4, 7), made(photo, options, 4, 7))
    assert len({made(photo, options, 4, seed).tobytes() for seed in range(10)}) == 10


@pytest.mark.parametrize(
    ("gt", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"gt must be uint8 of shape \(H, W, 3\); got uint8 of shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"got uint8 of shape \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.float32), r"got float32 of shape \(8, 8, 3\)"),
        (np.zeros((8, 9, 3), np.uint8), r"multiples of the scale 4; got shape \(8, 9, 3\)"),
        (np.zeros((6, 8, 3), np.uint8), r"multiples of the scale 4; got shape \(6, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"multiples of the scale 4; got shape \(0, 8, 3\)"),
    ],
)
def test_an_image_of_another_shape_or_type_is_refused(gt, message):
    with pytest.raises(ImageError, match=message):
        made(gt, DegradationOptions(), 4)


@pytest.mark.parametrize(
    ("side", "compression", "message"),
    [
        (
            65_501,
            {"webp_prob": 0},
            r"a\.png: has 8 x 65501 pixels when .*, and \.jpg holds at most 65500 a side",
        ),
        (
            16_384,
            {"webp_prob": 1},
            r"a\.png: has 8 x 16384 pixels when .*, and \.webp holds at most 16383 a side",
        ),
    ],
)
def test_an_image_too_long_for_a_compression_is_refused_by_its_name(side, compression, message, capfd):
    options = one_pass(compression=compression)
    for length in (side - 1, side):
        gt = np.zeros((length, 8, 3), np.uint8)
        expected = pytest.raises(ImageError, match=message) if length == side else nullcontext()
        with expected:
            degrade(gt, options, scale=1, rng=np.random.default_rng(0), name="a.png")
    assert capfd.readouterr() == ("", "")
