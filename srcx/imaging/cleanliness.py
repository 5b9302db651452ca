"""Estimate whether an image is clean or damaged by JPEG compression or noise, far cheaper than a network.

The models for clean images take JPEG blocks and noise for texture and sharpen them; the models for damaged
images soften what is clean. `srcx upscale` chooses between them by this estimate.
"""

import math
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from srcx.imaging.decode import ImageArray

__all__ = [
    "LIMITS",
    "Cleanliness",
    "Limits",
    "blockiness",
    "cleanliness",
    "luma_of",
    "noise_levels",
    "tiles_of",
]

Plane = NDArray[np.float32]


class Limits(NamedTuple):
    """Limits of a clean image: maxima, and for the quality of its file a minimum.

    Chosen on the developers' training and validation images, clean and damaged, whole and shrunk by 4.
    """

    blockiness: float = 0.22
    """JPEG of quality 90 has 0.2, of quality 85 0.3."""
    luma_noise: float = 3.75
    """Grey levels of 255; the densest texture of clean images has as much."""
    colour_noise: float = 2.25
    """Grey levels of 255; texture is alike in R, G and B and hardly counts here."""
    file_quality: int = 90


LIMITS = Limits()

BLOCK_PX = 8
TILE_PX = 256
MOST_TILES = 16
"""A larger image is estimated from so many tiles, evenly spread: a megapixel."""

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
DCT = np.array(
    [
        [math.cos((2 * n + 1) * k * math.pi / 16) * (0.5 if k else math.sqrt(0.125)) for n in range(BLOCK_PX)]
        for k in range(BLOCK_PX)
    ],
    np.float32,
)
"""JPEG's transform: orthonormal, one frequency a row."""
ZERO = 0.5
"""Coefficients below it count as zero, in grey levels."""
NEIGHBOURS = np.ones((9, 9), np.uint8)
NEIGHBOURS[4, 4] = 0
MOST_FALSE_ALARMS = 1e-4
"""Expected number of the 64 grids that noise would give as many votes as the one that is taken."""

LOW_STEPS = {
    (0, 1): 11, (1, 0): 12, (2, 0): 14, (1, 1): 12, (0, 2): 10,
    (0, 3): 16, (1, 2): 14, (2, 1): 13, (3, 0): 14,
}  # fmt: skip
"""JPEG's steps at quality 50 for the lowest frequencies (ITU-T T.81, table K.1), by (row, column)."""
LARGEST_STEP = 48
LEAST_COEFFICIENTS = 12
"""Fewer say nothing of the step."""
LEAST_PERIODICITY = 0.6
"""Mean cosine of coefficients over the step: 1 where all are whole multiples, 0 for numbers of any kind."""
SURE_SHARE = 0.5
UNKNOWN_STEP = 0.5
"""Quality 75: what is assumed where so large a share votes for one grid but all blocks are clipped."""

LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
"""White noise keeps its standard deviation; slopes and edges along an axis vanish."""
QUIETEST = 0.1
"""Share of the blocks that the noise is measured in."""
QUIETEST_TO_ALL = 1.27
"""Level of white noise to that of these blocks, which are the quietest by chance too."""
WHITE_GROWTH = 1.4
TEXTURE_GROWTH = 3.5
"""In these blocks, twice the Laplacian of 2 x 2 means over the Laplacian of pixels: for white noise (1 over
all blocks), and for the texture of clean images, where most had more."""
COARSE_SHARE = 0.64
"""Weight of colour noise in 2 x 2 means, where cameras and resizing leave it; texture has more there."""
LEAST_BLOCKS = 16
MOST_CLIPPED = 0.1

TABLE_SUM = 3688
"""Of JPEG's luminance table at quality 50."""


class Cleanliness(NamedTuple):
    """Damage found in an image."""

    blockiness: float
    """As `blockiness` has it."""
    luma_noise: float
    """As `noise_levels` has it."""
    colour_noise: float
    """As `noise_levels` has it."""
    file: str = ""
    """Format, and quality where it is known, of a file so compressed that it damages; else empty."""

    @property
    def damage(self) -> list[str]:
        """The damage in plain phrases; empty for a clean image."""
        noise = max(
            self.luma_noise if self.luma_noise > LIMITS.luma_noise else 0,
            self.colour_noise if self.colour_noise > LIMITS.colour_noise else 0,
        )
        blocks = f"JPEG blocks of about quality {_quality(100 * self.blockiness):.0f}"
        return [
            *([self.file] if self.file else []),
            *([blocks] if self.blockiness > LIMITS.blockiness and not self.file else []),
            *([f"noise of about {noise:.0f} grey levels"] if noise else []),
        ]

    @property
    def is_clean(self) -> bool:
        """True if no damage was found."""
        return not self.damage

    def __str__(self) -> str:
        return f"damaged: {', '.join(self.damage)}" if self.damage else "clean"


def cleanliness(image: ImageArray, file: Path | None = None) -> Cleanliness:
    """Estimate what damages an image; of a large one, a megapixel is looked at.

    Not seen: blur, and JPEG compression before the image was resized, whose grid is gone.

    Args:
        image: uint8 or uint16, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, whose alpha is not looked at.
        file: Where it was read from; the quality of a JPEG file, and that it is a lossy WebP or an AVIF file,
            counts too.

    Example:
        >>> str(cleanliness(np.zeros((32, 32), np.uint8)))
        'clean'
    """
    return Cleanliness(blockiness(image), *noise_levels(image), _damage_of(file) if file else "")


def blockiness(image: ImageArray) -> float:
    """Return how coarsely JPEG has quantised an image, wherever its grid of 8 x 8 blocks lies.

    Args:
        image: As for `cleanliness`; nothing of the file it comes from is needed.

    Returns:
        Step of the quantisation in units of JPEG's at quality 50, so 0.2 at quality 90, 0.5 at 75, 0.8 at 60;
        0 where no grid is found, or one too fine to measure.

    References:
        Nikoukhah et al., "ZERO: a Local JPEG Grid Origin Detector Based on the Number of DCT Zeros", IPOL
        2021. Differs from the paper: votes are strict maxima within 9 x 9 positions.
    """
    tiles = [(luma_of(tile), _clipped(tile)) for tile in tiles_of(image)]
    votes = sum((_votes(luma) for luma, _ in tiles), np.zeros(BLOCK_PX**2, np.int64))
    most, total = int(votes.max()), int(votes.sum())
    if not most or BLOCK_PX**2 * _at_least(most, total, 1 / BLOCK_PX**2) > MOST_FALSE_ALARMS:
        return 0.0
    row, column = divmod(int(votes.argmax()), BLOCK_PX)
    blocks = np.concatenate([_blocks(luma[row:, column:]) for luma, _ in tiles])
    clipped = np.concatenate([_blocks(mask[row:, column:]) for _, mask in tiles]).any(axis=(1, 2))
    coefficients = np.abs(DCT @ blocks[~clipped] @ DCT.T)  # (blocks, 8, 8)
    steps = [
        found / step
        for (down, across), step in LOW_STEPS.items()
        if (found := _step(coefficients[:, down, across])) is not None
    ]
    if steps:
        return float(np.median(steps))
    return UNKNOWN_STEP if most > SURE_SHARE * total else 0.0


def noise_levels(image: ImageArray) -> tuple[float, float]:
    """Return the standard deviation of noise in luma, and of that which differs between R, G and B.

    Both are measured in the quietest tenth of the blocks. Texture there is coarser than white noise: with f
    the Laplacian of luma, c that of 2 x 2 means, doubled, and w and t the c / f of noise and texture alone,
    the noise is n^2 = (t^2 f^2 - c^2) / (t^2 - w^2).

    Args:
        image: As for `cleanliness`.

    Returns:
        Two figures in grey levels of 255, the second 0 for grey images. Both are 0 where there are fewer than
        16 blocks of 8 x 8 pixels that are not clipped.

    References:
        Immerkaer, "Fast Noise Variance Estimation", CVIU 1996. Differs from the paper: by blocks, and texture
        is taken off.
    """
    levels = np.concatenate([_levels(tile) for tile in tiles_of(image)])  # (blocks, 2, planes)
    if len(levels) < LEAST_BLOCKS:
        return 0.0, 0.0
    count = max(round(QUIETEST * len(levels)), 1)
    fine, coarse = _mean_squares(levels[np.argsort(levels[:, 0, 0])[:count], :, 0])
    luma = math.sqrt(max(TEXTURE_GROWTH**2 * fine - coarse, 0) / (TEXTURE_GROWTH**2 - WHITE_GROWTH**2))
    colour = 0.0
    if levels.shape[2] > 1:
        of_colours = _mean_squares(np.sort(levels[:, :, 1:], axis=0)[:count]).min(axis=1)
        colour = max(math.sqrt(of_colours[0]), COARSE_SHARE * math.sqrt(of_colours[1]))
    return QUIETEST_TO_ALL * luma, QUIETEST_TO_ALL * colour


def tiles_of(image: ImageArray) -> list[Plane]:
    """Return the image, or tiles of it that begin at multiples of 8, in grey levels; (h, w) or (h, w, 3)."""
    colours = image[..., :3] if image.ndim == 3 else image
    height, width = colours.shape[:2]
    if height * width <= MOST_TILES * TILE_PX**2:
        parts = [colours]
    else:
        down, across = (math.ceil(side / TILE_PX) for side in (height, width))
        rows = min(down, max(math.isqrt(MOST_TILES), MOST_TILES // across))
        columns = min(across, MOST_TILES // rows)
        parts = [
            colours[top : top + TILE_PX, left : left + TILE_PX]
            for top in _starts(height, rows)
            for left in _starts(width, columns)
        ]
    top_value = np.iinfo(image.dtype).max
    return [part.astype(np.float32) * np.float32(255 / top_value) for part in parts]


def _starts(length: int, count: int) -> list[int]:
    starts = np.linspace(0, max(length - TILE_PX, 0), count) if count > 1 else [max(length - TILE_PX, 0) / 2]
    return [int(start) // BLOCK_PX * BLOCK_PX for start in starts]


def luma_of(tile: Plane) -> Plane:
    """Return the luma of a tile, (h, w)."""
    return tile if tile.ndim == 2 else tile @ LUMA_WEIGHTS


def _clipped(tile: Plane) -> NDArray[np.bool_]:
    """Return where a channel is black or white: there rounding has changed what the decoder made."""
    clipped: NDArray[np.bool_] = (tile <= 0) | (tile >= 255)
    return clipped if tile.ndim == 2 else np.asarray(clipped.any(axis=2))


def _blocks(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the whole blocks of a plane, (blocks, 8, 8)."""
    rows, columns = (side // BLOCK_PX for side in plane.shape)
    cut = plane[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX)
    return cut.swapaxes(1, 2).reshape(-1, BLOCK_PX, BLOCK_PX)


def _votes(luma: Plane) -> NDArray[np.int64]:
    """Return for each of the 64 positions of the grid the blocks with more zeros than all around them."""
    height, width = (side - BLOCK_PX + 1 for side in luma.shape)
    if min(height, width) < BLOCK_PX:
        return np.zeros(BLOCK_PX**2, np.int64)
    zeros = np.zeros((height, width), np.uint8)
    for across in range(BLOCK_PX):
        half = _filtered(luma, DCT[across][None])[:, :width]
        for down in range(BLOCK_PX):
            zeros += np.abs(_filtered(half, DCT[down][:, None])[:height]) < ZERO
    rows, columns = np.nonzero(zeros > cv2.dilate(zeros, NEIGHBOURS))
    return np.bincount(rows % BLOCK_PX * BLOCK_PX + columns % BLOCK_PX, minlength=BLOCK_PX**2)


def _at_least(least: int, total: int, chance: float) -> float:
    """Return the probability of `least` hits or more in `total` trials; scipy's bdtrc, without its import.

    Example:
        >>> round(_at_least(2, 3, 0.5), 12)
        0.5
    """
    hits = np.arange(least, total)
    steps = (total - hits) / (hits + 1) * (chance / (1 - chance))  # from one number of hits to the next
    log_first = (
        math.lgamma(total + 1) - math.lgamma(least + 1) - math.lgamma(total - least + 1)
        + least * math.log(chance) + (total - least) * math.log1p(-chance)
    )  # fmt: skip
    return math.exp(log_first) * (1 + float(np.cumprod(steps).sum()))


def _filtered(plane: Plane, kernel: Plane) -> Plane:
    """Return the sums of `plane` under `kernel`, which extends down and right of each pixel."""
    return np.asarray(cv2.filter2D(plane, -1, kernel, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE))


def _step(coefficients: Plane) -> int | None:
    """Return the largest step that coefficients are multiples of, 0 for none, None for too few of them."""
    periodicity: dict[int, float] = {}
    for step in range(2, LARGEST_STEP + 1):
        large = coefficients[coefficients > step / 2]
        if len(large) < LEAST_COEFFICIENTS:
            break
        periodicity[step] = float(np.cos(2 * np.pi / step * large).mean())
    if not periodicity:
        return None
    largest = max((step for step, value in periodicity.items() if value > LEAST_PERIODICITY), default=0)
    # Its divisors are periodic too, and so, less, is what lies just above it.
    near = [step for step in periodicity if 3 / 4 * largest < step <= largest]
    return max(near, key=periodicity.__getitem__, default=0)


def _levels(tile: Plane) -> Plane:
    """Return the mean residual of each block in pixels and in 2 x 2 means, (blocks, 2, planes).

    The planes are luma and, of colours, R - G and B - G; of white noise the residuals are its standard
    deviation. Blocks that are clipped are left out.
    """
    planes = [luma_of(tile)]
    if tile.ndim == 3:
        planes += [(tile[..., one] - tile[..., 1]) / math.sqrt(2) for one in (0, 2)]
    height, width = (max(side - 2, 0) // BLOCK_PX * BLOCK_PX for side in tile.shape[:2])
    if not height or not width:
        return np.zeros((0, 2, len(planes)), np.float32)
    inside = slice(1, height + 1), slice(1, width + 1)
    fine = [_block_means(np.abs(cv2.filter2D(plane, -1, LAPLACIAN))[inside], BLOCK_PX) for plane in planes]
    means = [
        cv2.resize(plane[inside], (width // 2, height // 2), interpolation=cv2.INTER_AREA) for plane in planes
    ]
    coarse = [2 * _block_means(np.abs(cv2.filter2D(plane, -1, LAPLACIAN)), BLOCK_PX // 2) for plane in means]
    levels = math.sqrt(math.pi / 2) * np.stack([np.stack(fine, 1), np.stack(coarse, 1)], 1)
    return levels[_block_means(_clipped(tile)[inside], BLOCK_PX) <= MOST_CLIPPED]


def _mean_squares(levels: Plane) -> NDArray[np.float64]:
    return np.mean(np.square(levels, dtype=np.float64), axis=0)


def _block_means(plane: NDArray[np.generic], side: int) -> Plane:
    """Return the mean of each block of `side` x `side` pixels."""
    rows, columns = (length // side for length in plane.shape)
    return plane.reshape(rows, side, columns, side).mean(axis=(1, 3)).ravel()


def _damage_of(file: Path) -> str:
    """Return the format and quality of a file that is compressed so much that it damages; else nothing."""
    with file.open("rb") as content:
        start = content.read(12)
        content.seek(0)
        if start.startswith(b"\xff\xd8\xff"):
            # Not `Image.open`, which refuses large images. It reads the head alone.
            steps = next(iter(JpegImageFile(content).quantization.values()), [])
            quality = _quality(100 * sum(steps) / TABLE_SUM)
            return f"JPEG of quality {quality:.0f}" if quality < LIMITS.file_quality else ""
        if start[8:] == b"WEBP":
            return "lossy WebP" if _is_lossy_webp(content) else ""
        return "AVIF" if start[4:] in (b"ftypavif", b"ftypavis") else ""


def _quality(per_cent: float) -> float:
    """Return libjpeg's quality, 1 to 100, of a table that is so many per cent of that of quality 50."""
    quality = (200 - per_cent) / 2 if per_cent <= 100 else 5000 / per_cent
    return min(max(quality, 1), 100)


def _is_lossy_webp(content: BinaryIO) -> bool:
    """Return whether the first chunk of pixels in a WebP file is VP8, not VP8L."""
    content.seek(12)
    while len(head := content.read(8)) == 8:
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8 "
        content.seek(length + length % 2, 1)
    return False
