"""Images prepared for training and tables: MATLAB's low resolution, degraded pairs, sub-images."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srcx.atomic import real_path, writing
from srcx.config.degradation import DegradationOptions
from srcx.data.degradation import degrade, seeded
from srcx.errors import ImageError, OutputError, SrcxError
from srcx.imaging.color import to_rgb
from srcx.imaging.io import image_size, read_image, write_image
from srcx.imaging.parallel import in_parallel
from srcx.imaging.resize import Border, crop_to_multiple, imresize
from srcx.prepare.recipe import Recipe, claim, forget, recipe, refuse_inside, shared_name, sources
from srcx.progress import OnProgress

__all__ = ["Outcome", "make_degraded", "make_low_resolution", "make_sub_images", "starts"]


@dataclass
class Outcome:
    """Numbers of images made and of images that existed already, and the problems of the others."""

    made: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)


def make_low_resolution(
    source: Path,
    out: Path,
    *,
    scale: int,
    multiple: int,
    border: Border,
    gt_out: Path | None,
    on_progress: OnProgress,
) -> Outcome:
    """Make OUT/X4/NAMEx4.png of each image of a folder, as MATLAB's `imresize` does; existing files stay.

    Args:
        source: Folder of ground truth.
        out: Folder to make X4 (or X2 ...) in.
        scale: The factor.
        multiple: Images are cut to multiples of this first; a multiple of `scale`.
        border: As for `imresize`.
        gt_out: Folder for the cropped images; None writes none.
        on_progress: Called after each image.

    Raises:
        DataError: the source holds no images.
        OutputError: the output holds something else, or another process writes to it.
    """
    images, folder = sources(source, lambda path: path.stem), out / f"X{scale}"
    claims = [(folder, recipe(images, scale=scale, multiple=multiple, border=border))]
    if gt_out:
        if real_path(gt_out) == real_path(folder):
            raise OutputError(f"{gt_out}: is the folder of the low-resolution images; name another for --gt")
        claims.append((gt_out, recipe(images, multiple=multiple)))

    def make(path: Path) -> bool:
        low = folder / f"{path.stem}x{scale}.png"
        gt = gt_out / f"{path.stem}.png" if gt_out else None
        if _there(low) and (gt is None or _there(gt)):
            return False
        image = crop_to_multiple(read_image(path), multiple)
        if 0 in image.shape:
            raise ImageError(
                f"{path}: has a side of less than {multiple} pixels, so nothing is left after the crop"
            )
        if gt is not None:
            write_image(gt, image)
        write_image(low, imresize(image, scale=1 / scale, border=border))
        return True

    return _each(make, images, claims, on_progress)


def make_degraded(
    source: Path,
    out: Path,
    *,
    degradation: DegradationOptions,
    name: str,
    scale: int,
    seed: int,
    on_progress: OnProgress,
) -> Outcome:
    """Make OUT/lq/NAME.png and OUT/gt/NAME.png of each image of a folder; existing files stay.

    An image is cut to a multiple of `scale` first. Its lq depends on seed, degradation and NAME, and on no
    other image, so the pairs are those that `PairedImageDataset` reads and that a later run makes again.

    Args:
        source: Folder of good images, or one image.
        out: Folder for the pairs.
        degradation: Settings of the degradation.
        name: Name of the degradation in messages.
        scale: gt is this much larger than lq.
        seed: Of all that is random.
        on_progress: Called after each image.

    Raises:
        DataError: the source holds no images, or two of one NAME.
        OutputError: `out` lies in the source, holds something else, another process writes to it, or it
            cannot be written.
    """
    if source.is_dir():
        refuse_inside(source, out)
    images = [source] if source.is_file() else sources(source, lambda path: path.stem)
    digest = hashlib.sha256(degradation.model_dump_json(exclude_defaults=True).encode()).hexdigest()
    settings: dict[str, str | int] = {"degradation": f"{name} ({digest[:8]})", "scale": scale, "seed": seed}
    folders = [out / "gt", out / "lq"]

    def make(path: Path) -> bool:
        targets = [folder / f"{path.stem}.png" for folder in folders]
        if all(map(_there, targets)):
            return False
        gt = to_rgb(crop_to_multiple(read_image(path), scale))
        if 0 in gt.shape:
            raise ImageError(
                f"{path}: has a side of less than {scale} pixels, so nothing is left after the crop"
            )
        rng = seeded(seed, degradation, path.stem)
        lq = degrade(gt, degradation, scale=scale, rng=rng, name=str(path))
        for target, image in zip(targets, (gt, lq), strict=True):
            write_image(target, image)
        return True

    claims = [(folder, recipe(images, **settings)) for folder in folders]
    return _each(make, images, claims, on_progress)


def make_sub_images(
    source: Path, out: Path, *, crop_px: int, step_px: int, threshold_px: int, on_progress: OnProgress
) -> Outcome:
    """Cut each image of a folder into OUT/NAME_s001.png ... as BasicSR's extract_subimages does.

    An ending x2, x3, x4 or x8 is removed from the names, so that both sides of a pair have the same name.

    Args:
        source: Folder of images.
        out: Folder for the sub-images.
        crop_px: Their side.
        step_px: From one to the next.
        threshold_px: A rest of more than this at the right or lower border gets a sub-image that ends there.
        on_progress: Called after each image.

    Raises:
        DataError: the source holds no images.
        OutputError: the output holds something else, or another process writes to it.
    """
    images = sources(source, shared_name)

    def make(path: Path) -> bool:
        height, width = image_size(path)
        if min(height, width) < crop_px:
            raise ImageError(f"{path}: is {width} x {height} pixels, smaller than a sub-image of {crop_px}")
        corners = [
            (top, left)
            for top in starts(height, crop_px, step_px, threshold_px)
            for left in starts(width, crop_px, step_px, threshold_px)
        ]
        targets = [out / f"{shared_name(path)}_s{number:03d}.png" for number in range(1, len(corners) + 1)]
        if all(map(_there, targets)):
            return False
        image = read_image(path)
        for target, (top, left) in zip(targets, corners, strict=True):
            write_image(target, image[top : top + crop_px, left : left + crop_px])
        return True

    wanted = recipe(images, crop=crop_px, step=step_px, threshold=threshold_px)
    return _each(make, images, [(out, wanted)], on_progress)


def starts(length: int, crop: int, step: int, threshold: int) -> list[int]:
    """Return the first pixels of the sub-images along one side.

    Example:
        >>> starts(1000, 480, 240, 0)
        [0, 240, 480, 520]
        >>> starts(1000, 480, 240, 40)
        [0, 240, 480]
    """
    found = list(range(0, length - crop + 1, step))
    return [*found, length - crop] if length - (found[-1] + crop) > threshold else found


def _there(target: Path) -> bool:
    """Return whether a result exists already.

    Raises:
        OutputError: it cannot, as where its name is too long.
    """
    with writing(target):
        return target.exists()


def _each(
    make: Callable[[Path], bool],
    images: Sequence[Path],
    claims: Sequence[tuple[Path, Recipe]],
    on_progress: OnProgress,
) -> Outcome:
    """Call `make` with each image and count: True is made, False existed, an error is a problem.

    The folders are claimed meanwhile.
    """

    def attempt(path: Path) -> bool | str:
        try:
            return make(path)
        except SrcxError as error:
            return str(error)

    outcome, failed = Outcome(), []
    with claim(*claims):
        for done, (path, answer) in enumerate(
            zip(images, in_parallel(attempt, images), strict=True), start=1
        ):
            if isinstance(answer, str):
                outcome.problems.append(answer)
                failed.append(path.name)
            elif answer:
                outcome.made += 1
            else:
                outcome.skipped += 1
            on_progress(path.name, done, len(images))
        for folder, _ in claims:
            forget(folder, failed)
    return outcome
