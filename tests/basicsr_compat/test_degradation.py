"""The degradation against BasicSR's own functions: kernels equal, noise and resize in distribution."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from srcx.basicsr_compat.importing import open_basicsr
from srcx.config.degradation import DegradationOptions
from srcx.data import degradation
from srcx.data.blur_kernels import gaussian_kernel, generalized_kernel, plateau_kernel, sinc_kernel
from srcx.data.degradation import degrade, sharpen
from srcx.imaging.resize import imresize

SIZES = range(7, 22, 2)


@pytest.fixture(scope="module")
def theirs(basicsr):
    return open_basicsr("basicsr.data.degradations")


@pytest.fixture
def image(rng):
    """Smooth areas with edges and some texture, RGB."""
    coarse = imresize(rng.integers(0, 256, (8, 8, 3), np.uint8), size=(128, 128))
    return imresize(np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8), scale=2)


def tensor(image):
    return torch.tensor(image.astype(np.float32) / 255).permute(2, 0, 1)[None]


def levels(image):
    return (image[0].detach().permute(1, 2, 0) * 255).round().clamp(0, 255).numpy()


def psnr(one, other):
    return 10 * math.log10(255**2 / np.square(one.astype(np.float64) - other).mean())


@pytest.mark.parametrize("size", SIZES)
def test_kernels_are_equal(theirs, rng, size):
    for _ in range(20):
        x, y = rng.uniform(0.2, 3, 2)
        angle = rng.uniform(-math.pi, math.pi)
        beta, plateau, cutoff = rng.uniform(0.5, 4), rng.uniform(1, 2), rng.uniform(math.pi / 5, math.pi)
        for isotropic in (True, False):
            across = x if isotropic else y
            for ours, their in (
                (
                    gaussian_kernel(size, x, across, angle),
                    theirs.bivariate_Gaussian(size, x, y, angle, isotropic=isotropic),
                ),
                (
                    generalized_kernel(size, x, across, angle, beta),
                    theirs.bivariate_generalized_Gaussian(size, x, y, angle, beta, isotropic=isotropic),
                ),
                (
                    plateau_kernel(size, x, across, angle, plateau),
                    theirs.bivariate_plateau(size, x, y, angle, plateau, isotropic=isotropic),
                ),
            ):
                np.testing.assert_allclose(ours, their, rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            sinc_kernel(size, cutoff), theirs.circular_lowpass_kernel(cutoff, size), rtol=0, atol=1e-6
        )


def test_exponents_of_kernels_are_drawn_alike(theirs, rng, monkeypatch):
    drawn = []
    monkeypatch.setattr(theirs, "bivariate_plateau", lambda *args, **_: drawn.append(args[4]) or np.ones(1))
    for low, high in ((1, 2), (0.5, 4)):
        drawn.clear()
        for _ in range(2000):
            theirs.random_bivariate_plateau(7, (0.2, 3), (0.2, 3), (-1, 1), (low, high))
        ours = [degradation._beta((low, high), rng) for _ in range(2000)]
        np.testing.assert_allclose(
            np.quantile(ours, (0.2, 0.4, 0.6, 0.8)), np.quantile(drawn, (0.2, 0.4, 0.6, 0.8)), atol=0.2
        )


@pytest.mark.parametrize("grey", [0, 1])
@pytest.mark.parametrize(
    ("kind", "strength"), [("gaussian", 5), ("gaussian", 25), ("poisson", 0.5), ("poisson", 2.5)]
)
def test_noise_has_the_same_mean_and_deviation_at_each_brightness(theirs, rng, kind, strength, grey):
    ramp = np.broadcast_to(np.linspace(60, 190, 256)[:, None, None], (256, 512, 3)).round().astype(np.uint8)
    noise = {"gaussian_prob": float(kind == "gaussian"), "grey_prob": float(grey)}
    noise |= {"sigma": [strength] * 2, "poisson_scale": [strength] * 2}
    options = DegradationOptions.model_validate({"passes": [{"noise": noise}]})
    ours = degrade(ramp, options, scale=1, rng=rng) - ramp.astype(float)
    add = getattr(theirs, f"add_{kind}_noise_pt")
    arguments = {"sigma": strength} if kind == "gaussian" else {"scale": float(strength)}
    their = levels(add(tensor(ramp), **arguments, gray_noise=grey)) - ramp.astype(float)
    for band in np.split(np.arange(256), 4):
        assert ours[band].std() == pytest.approx(their[band].std(), rel=0.03)
        assert ours[band].mean() == pytest.approx(their[band].mean(), abs=0.05 * ours[band].std())
    for found in (ours, their):
        alike = np.corrcoef(found[..., 0].ravel(), found[..., 2].ravel())[0, 1]
        assert alike == pytest.approx(grey, abs=0.02)


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_is_near_the_differentiable_one(theirs, image, rng, quality):
    compression = {"quality": [quality] * 2, "subsampling_prob": 1.0}
    options = DegradationOptions.model_validate({"final": {"compression": compression}})
    ours = degrade(image, options, scale=1, rng=rng)
    jpeg = open_basicsr("basicsr.utils.diffjpeg").DiffJPEG(differentiable=False)
    their = levels(jpeg(tensor(image), quality=quality))
    luma = np.array([0.299, 0.587, 0.114])  # colour comes back from half the resolution in two ways
    assert psnr(ours @ luma, their @ luma) > 38
    assert psnr(ours @ luma, image @ luma) == pytest.approx(psnr(their @ luma, image @ luma), abs=0.7)
    assert psnr(ours, image) == pytest.approx(psnr(their, image), abs=1.5)


def test_the_unsharp_mask_is_equal_up_to_rounding(theirs, image):
    their = open_basicsr("basicsr.utils.img_process_util").USMSharp()(tensor(image))
    their = (their[0].permute(1, 2, 0) * 255).numpy()
    assert np.abs(sharpen(image) - their).max() <= 0.52
    assert np.abs(sharpen(image).astype(float) - image).max() > 5


@pytest.mark.parametrize(("mode", "least_db"), [("bilinear", 55), ("bicubic", 55), ("area", 30)])
@pytest.mark.parametrize("size", [(64, 64), (77, 201), (300, 310), (256, 90)])
def test_resize_gives_the_same_image(image, mode, least_db, size):
    ours = degradation._resize(image.astype(np.float32), size, mode)
    their = functional.interpolate(tensor(image), size=size, mode=mode)
    assert psnr(np.rint(np.clip(ours, 0, 255)), levels(their)) > least_db
