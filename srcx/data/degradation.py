"""Damage to images, as Real-ESRGAN makes it: blur, resize, noise and compression in passes.

`degrade` carries out what `srcx.config.degradation` describes. Every choice comes from the generator that is
handed in, so an item of a training set is the same whatever the number of workers, ranks or restarts.
"""

import hashlib
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from srcx.config.degradation import Blur, Compression, DegradationOptions, Final, Noise, Pass, Resize
from srcx.data.blur_kernels import gaussian_kernel, generalized_kernel, plateau_kernel, sinc_kernel
from srcx.errors import ImageError
from srcx.imaging.io import LONGEST_SIDE
from srcx.imaging.resize import imresize

__all__ = ["degrade", "seeded", "sharpen"]

Image = NDArray[np.float32]  # RGB in levels of 255, (H, W, 3); may lie outside [0, 255] until it is encoded
Size = tuple[int, int]  # height, width

GREY = np.array([0.2989, 0.5870, 0.1140], np.float32)  # torchvision's weights, as in BasicSR
GRID_PX = 8  # side of JPEG's blocks
FILTERS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def degrade(
    gt: NDArray[np.uint8],
    options: DegradationOptions,
    *,
    scale: int,
    rng: np.random.Generator,
    name: str = "degrade",
) -> NDArray[np.uint8]:
    """Make a low-quality image of a good one.

    Args:
        gt: RGB, uint8, (H, W, 3), sides that are multiples of `scale`.
        options: The degradation.
        scale: gt is this much larger than what is returned.
        rng: Makes every choice.
        name: What messages call the image.

    Returns:
        RGB, uint8, (H / scale, W / scale, 3).

    Raises:
        ImageError: shape or type of `gt` is none of the above, or a compression cannot hold such a long side.

    References:
        Wang et al., "Real-ESRGAN", ICCVW 2021, arXiv:2107.10833; BasicSR 1.4.2's RealESRGANModel.
        Differs from them: every image of a batch has its own sizes and filters; JPEG is encoded by libjpeg,
        not by a differentiable copy; WebP, images saved twice and clean images are there too; Poisson noise
        is drawn from the normal distribution of the same mean and variance.
    """
    if gt.ndim != 3 or gt.shape[2] != 3 or gt.dtype != np.uint8:
        raise ImageError(f"{name}: gt must be uint8 of shape (H, W, 3); got {gt.dtype} of shape {gt.shape}")
    if gt.shape[0] % scale or gt.shape[1] % scale or not gt.size:
        raise ImageError(
            f"{name}: the sides of gt must be multiples of the scale {scale}; got shape {gt.shape}"
        )
    size = gt.shape[0] // scale, gt.shape[1] // scale
    if rng.random() < options.clean_prob:
        return imresize(gt, size=size)
    image: Image = (sharpen(gt) if options.sharpen_gt else gt).astype(np.float32)
    try:
        for stage in options.passes:
            image = _pass(image, stage, gt.shape[:2], size, rng)
        return _levels(_final(image, options.final, size, rng))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def seeded(seed: int, options: DegradationOptions, name: str) -> np.random.Generator:
    """Return the generator of one image's degradation, which depends on no other image.

    Args:
        seed: Of the whole set of images.
        options: The degradation, of which default values do not count: two degradations draw apart.
        name: The image's name, without folder and suffix.
    """
    text = f"{seed}\n{options.model_dump_json(exclude_defaults=True)}\n{name}"
    # Names of files may hold bytes that are no UTF-8; Python keeps them as surrogates.
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def sharpen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sharpen an image as Real-ESRGAN sharpens its ground truth.

    An unsharp mask of weight 0.5 and radius 50, where the image differs from its blur by more than 10 levels.

    Args:
        image: RGB, uint8, (H, W, 3).

    Returns:
        The sharpened image, of the same shape and type.

    References:
        BasicSR 1.4.2, `basicsr/utils/img_process_util.py`, `USMSharp`.
    """
    values = image.astype(np.float32)
    residual = values - _soft(values)
    soft_mask = _soft((np.abs(residual) > 10).astype(np.float32))
    sharp = np.clip(values + 0.5 * residual, 0, 255)
    return _levels(soft_mask * sharp + (1 - soft_mask) * values)


def _soft(image: Image) -> Image:
    return _same_shape(cv2.GaussianBlur(image, (51, 51), 0, borderType=cv2.BORDER_REFLECT_101), image)


def _pass(image: Image, stage: Pass, gt: Size, lq: Size, rng: np.random.Generator) -> Image:
    if rng.random() >= stage.prob:
        return image
    if stage.blur is not None and rng.random() < stage.blur.prob:
        image = _filter(image, _kernel(stage.blur, rng))
    if stage.resize is not None:
        image = _resize(image, *_drawn_size(stage.resize, gt, lq, image.shape[:2], rng))
    if stage.noise is not None and rng.random() < stage.noise.prob:
        image = _with_noise(image, stage.noise, rng)
    return _compress(image, stage.compression, rng)


def _final(image: Image, final: Final, size: Size, rng: np.random.Generator) -> Image:
    name = _draw(final.filters.as_dict(), rng)
    kernel = None
    if rng.random() < final.sinc_prob:
        kernel = _sinc(_odd(final.sinc_size_px, rng), rng, lowest=math.pi / 3)
    compression_first = rng.random() < final.compression_first_prob
    if compression_first:
        image = _compress(image, final.compression, rng)
    image = _resize(image, size, name)
    if kernel is not None:
        image = _filter(image, kernel)
    return image if compression_first else _compress(image, final.compression, rng)


def _kernel(blur: Blur, rng: np.random.Generator) -> NDArray[np.float32]:
    kind = _draw(blur.kernels.as_dict(), rng)
    size_px = _odd(blur.size_px, rng)
    if kind == "sinc":
        return _sinc(size_px, rng, lowest=math.pi / 3 if size_px < 13 else math.pi / 5)
    sigma_x = _between(blur.sigma, rng)
    sigma_y, angle = sigma_x, 0.0
    if kind.endswith("aniso"):
        sigma_y, angle = _between(blur.sigma, rng), rng.uniform(-math.pi, math.pi)
    if kind.startswith("generalized"):
        return generalized_kernel(size_px, sigma_x, sigma_y, angle, _beta(blur.beta_generalized, rng))
    if kind.startswith("plateau"):
        return plateau_kernel(size_px, sigma_x, sigma_y, angle, _beta(blur.beta_plateau, rng))
    return gaussian_kernel(size_px, sigma_x, sigma_y, angle)


def _beta(limits: tuple[float, ...], rng: np.random.Generator) -> float:
    """As often at most 1 as above, where the range holds 1: both sides of the Gaussian, as in BasicSR."""
    low, high = limits
    if low <= 1 <= high:
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))
    return float(rng.uniform(low, high))


def _sinc(size_px: int, rng: np.random.Generator, *, lowest: float) -> NDArray[np.float32]:
    return sinc_kernel(size_px, rng.uniform(lowest, math.pi))


def _filter(image: Image, kernel: NDArray[np.float32]) -> Image:
    return _same_shape(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), image)


def _drawn_size(resize: Resize, gt: Size, lq: Size, now: Size, rng: np.random.Generator) -> tuple[Size, str]:
    """The size after a pass's resize, and the filter."""
    unchanged = max(0.0, 1 - resize.up_prob - resize.down_prob)
    kind = _draw({"up": resize.up_prob, "down": resize.down_prob, "unchanged": unchanged}, rng)
    factor = 1.0
    if kind == "up":
        factor = rng.uniform(1, resize.factor[1])
    elif kind == "down":
        factor = rng.uniform(resize.factor[0], 1)
    name = _draw(resize.filters.as_dict(), rng)
    if kind == "unchanged" and resize.of == "gt":
        return now, name
    height, width = lq if resize.of == "lq" else gt
    return (max(1, round(height * factor)), max(1, round(width * factor))), name


def _resize(image: Image, size: Size, name: str) -> Image:
    if image.shape[:2] == size:
        return image
    if name == "bicubic_antialiased":
        return imresize(image, size=size)
    return _same_shape(cv2.resize(image, (size[1], size[0]), interpolation=FILTERS[name]), image)


def _with_noise(image: Image, noise: Noise, rng: np.random.Generator) -> Image:
    gaussian, grey = rng.random() < noise.gaussian_prob, rng.random() < noise.grey_prob
    drawn = rng.standard_normal((*image.shape[:2], 1 if grey else 3), np.float32)
    if gaussian:
        return np.clip(image + np.float32(_between(noise.sigma, rng)) * drawn, 0, 255)
    levels = _levels(image)
    if grey:
        levels = _levels(levels.astype(np.float32) @ GREY)[..., None]
    # As many photons at full brightness as there are levels in the image, up to the next power of two.
    photons = 2 ** math.ceil(math.log2(np.count_nonzero(np.bincount(levels.ravel()))))
    deviation = np.sqrt(levels.astype(np.float32) * (255 / photons))
    return np.clip(image + np.float32(_between(noise.poisson_scale, rng)) * deviation * drawn, 0, 255)


def _compress(image: Image, compression: Compression | None, rng: np.random.Generator) -> Image:
    if compression is None or rng.random() >= compression.prob:
        return image
    levels = _levels(image)
    if rng.random() < compression.webp_prob:
        return _encoded(levels, ".webp", [cv2.IMWRITE_WEBP_QUALITY, _quality(compression, rng)])
    if rng.random() < compression.twice_prob:
        down, right = rng.integers(GRID_PX, size=2).tolist()
        # Saved with a border that is cropped after it: its grid starts elsewhere than the second one.
        larger = cv2.copyMakeBorder(levels, down, 0, right, 0, cv2.BORDER_REFLECT_101)
        levels = _levels(_jpeg(np.asarray(larger, np.uint8), compression, rng)[down:, right:])
    return _jpeg(levels, compression, rng)


def _jpeg(levels: NDArray[np.uint8], compression: Compression, rng: np.random.Generator) -> Image:
    halved = rng.random() < compression.subsampling_prob
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if halved else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    quality = _quality(compression, rng)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return _encoded(levels, ".jpg", settings)


def _quality(compression: Compression, rng: np.random.Generator) -> int:
    return round(_between(compression.quality, rng))


def _encoded(levels: NDArray[np.uint8], suffix: str, settings: list[int]) -> Image:
    height, width = levels.shape[:2]
    if max(height, width) > LONGEST_SIDE[suffix]:
        raise ImageError(
            f"has {width} x {height} pixels when the degradation compresses it, and {suffix} holds at most "
            f"{LONGEST_SIDE[suffix]} a side; cut it into smaller images"
        )
    done, data = cv2.imencode(suffix, levels[..., ::-1], settings)
    assert done, f"OpenCV cannot write {suffix}"
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].astype(np.float32)


def _draw(shares: dict[str, float], rng: np.random.Generator) -> str:
    """Draw one of the names, each by its share of the sum."""
    possible = [name for name, share in shares.items() if share]
    place = rng.random() * sum(shares.values())
    for name in possible[:-1]:
        place -= shares[name]
        if place < 0:
            return name
    return possible[-1]


def _between(limits: tuple[float, ...], rng: np.random.Generator) -> float:
    low, high = limits
    return float(rng.uniform(low, high))


def _odd(limits: tuple[int, ...], rng: np.random.Generator) -> int:
    return int(rng.integers(limits[0] // 2, limits[1] // 2 + 1)) * 2 + 1


def _levels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _same_shape(made: NDArray[Any], image: Image) -> Image:
    """OpenCV drops an axis of length 1, and its annotations leave the type open."""
    return made.reshape(*made.shape[:2], image.shape[2])
