"""One's own images for `srcx new`: what is in the folders, the images to train on and those held out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srcx.atomic import make_folder
from srcx.counted import counted
from srcx.data.pairs import Problems, Size, check_pairs, find_pairs
from srcx.data.stored import Stored, StoredFile, list_stored
from srcx.errors import DataError
from srcx.imaging.io import write_image

__all__ = ["LEAST_CROP_PX", "OwnImages"]

LEAST_CROP_PX = 48
CROP_STEP_PX = 16
"""Crops are multiples of this: of every scale and of the strides of VGG's and the discriminators' layers."""
LEFT_OUT = 0.1
"""Largest share of images that may be smaller than a crop, before the crop is made smaller."""
HELD_OUT, MOST_HELD_OUT = 0.1, 8
"""Share and largest number of images that are held out."""
VALIDATION_PX = 384
"""Largest side of the held-out pieces: a validation takes seconds."""


@dataclass(frozen=True)
class OwnImages:
    """Images with the sizes of ground truth, and lq where it is stored too."""

    root: Path
    sizes: dict[Stored, Size]
    lqs: dict[Stored, Stored]
    """lq by its ground truth; empty where lq is made on the fly."""
    left_out: Mapping[Path, int] = field(default_factory=dict)
    """Folders that an earlier command of srcx wrote, with their numbers of images."""

    @classmethod
    def alone(cls, data: Path) -> "OwnImages":
        """Return the images of a folder and its sub-folders.

        Left out are those that srcx wrote below it: the pieces that an earlier `srcx new` held out, and the
        results of validations and tests.

        Raises:
            DataError: the folder has none, or files that cannot be read; names each.
        """
        problems = Problems()
        sizes: dict[Stored, Size] = {}
        left_out = Counter[Path]()
        for stored in list_stored(data, recursive=True):
            if isinstance(stored, StoredFile) and (folder := _written_by_srcx(stored.path, data)):
                left_out[folder] += 1
                continue
            with problems.noted():
                sizes[stored] = stored.size()
        problems.stop_if_any(str(data))
        images = cls(data, sizes, {}, left_out)
        if not sizes:
            raise DataError(
                f"{data}: all images below are from earlier commands of srcx: {images.describe_left_out()}; "
                "name the folder of your own images"
            )
        return images

    @classmethod
    def pairs(cls, data: Path, lq: Path, scale: int | None) -> tuple["OwnImages", int]:
        """Return pairs by name, and their scale: the first pair's, if it is None.

        Raises:
            DataError: a folder has no images, an image no partner, or sizes do not fit.
        """
        problems = Problems()
        found = find_pairs(data, lq, problems=problems)
        problems.stop_if_any(str(data))
        if scale is None:
            scale = max(round(found[0].gt.size()[0] / found[0].lq.size()[0]), 1)
        sizes = check_pairs(found, scale=scale, for_training=True, problems=problems)
        problems.stop_if_any(f"{data} with {lq}: `srcx data align` makes pairs that fit")
        return cls(
            data, {pair.gt: size for pair, size in sizes.items()}, {one.gt: one.lq for one in found}
        ), scale

    def describe(self) -> str:
        """Return number and sizes in words.

        Example:
            >>> OwnImages(Path("photos"), {StoredFile(Path("a.png")): (480, 640)}, {}).describe()
            '1 of 640 x 480 pixels'
        """
        by_area = sorted(self.sizes.values(), key=lambda size: size[0] * size[1])
        ends = dict.fromkeys(f"{width} x {height}" for height, width in (by_area[0], by_area[-1]))
        return f"{len(by_area)} of {' to '.join(ends)} pixels"

    def describe_left_out(self) -> str:
        """Return the numbers of images left out, by folder.

        Example:
            >>> OwnImages(Path("."), {}, {}, {Path("a_val"): 2, Path("b_val"): 1}).describe_left_out()
            '2 images in a_val, 1 image in b_val'
        """
        return ", ".join(f"{counted(count)} in {folder}" for folder, count in self.left_out.items())

    def decoded_mib(self, scale: int) -> int:
        """Return the memory of all images when decoded, lq included."""
        values = sum(3 * height * width for height, width in self.sizes.values())
        return round(values * (1 + 1 / scale**2) / 2**20)

    def crop_px(self, wanted: int) -> tuple[int, str]:
        """Return the side of crops, `wanted` or smaller, that nearly all images hold; and why.

        Raises:
            DataError: hardly an image holds the smallest crop.
        """
        sides = sorted(min(size) for size in self.sizes.values())
        needed = sides[int(LEFT_OUT * len(sides))]
        side = min(wanted, max(needed // CROP_STEP_PX * CROP_STEP_PX, LEAST_CROP_PX))
        small = sum(one < side for one in sides)
        if small == len(sides):
            raise DataError(
                f"{self.root}: none of {small} images holds a crop of {side} pixels; choose larger images"
            )
        left = f"; {small} smaller images are left out" if small else ""
        if side == wanted:
            return side, f"the recipe's{left or '; every image holds it'}"
        return side, f"the recipe's is {wanted}, and many images are smaller{left}"

    def split(self, crop_px: int) -> tuple[list[Stored], list[Stored]]:
        """Return the images to train on and those held out, which are spread over all.

        Raises:
            DataError: there is one image alone that holds a crop.
        """
        fitting = [one for one, size in self.sizes.items() if min(size) >= crop_px]
        if len(fitting) < 2:
            raise DataError(
                f"{self.root}: {len(fitting)} of {len(self.sizes)} images holds a crop of {crop_px} pixels, "
                "and 2 are needed, one to validate on; add images, or cut this one into several with "
                "`srcx data prepare sub-images`"
            )
        count = min(max(round(HELD_OUT * len(fitting)), 1), MOST_HELD_OUT)
        held_out = {(2 * number + 1) * len(fitting) // (2 * count) for number in range(count)}
        return (
            [one for place, one in enumerate(fitting) if place not in held_out],
            [one for place, one in enumerate(fitting) if place in held_out],
        )

    def names(self, images: Sequence[Stored]) -> str:
        """Return the text of a meta_info_file: one name a line, relative to the folder.

        Raises:
            DataError: such a list cannot hold a name.
        """
        paths = (one.path for one in images if isinstance(one, StoredFile))
        names = [path.relative_to(self.root).as_posix() for path in paths]
        for name in names:
            # Names of files may hold bytes that are no UTF-8; Python keeps them as surrogates.
            if {"\n", "\r", "\ufeff"}.intersection(name) or name != name.encode(errors="replace").decode():
                raise DataError(
                    f"{self.root}: the name {name!r} holds a line break, a byte order mark or bytes that are "
                    "not UTF-8, which a list of images cannot hold; rename this file"
                )
        return "".join(f"{name}\n" for name in names)

    def write_validation(self, images: Sequence[Stored], folder: Path, scale: int) -> None:
        """Write the middle of each image to `folder` as PNG; of pairs to its folders gt and lq."""
        taken: set[str] = set()
        for one in images:
            name = one.name
            while name in taken:
                name += "_"
            taken.add(name)
            self._write_middle(one, folder, f"{name}.png", scale)

    def _write_middle(self, one: Stored, folder: Path, name: str, scale: int) -> None:
        gt = one.read()
        side = min(VALIDATION_PX, *gt.shape[:2]) // scale  # in lq pixels
        top, left = ((length // scale - side) // 2 for length in gt.shape[:2])
        middle = gt[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        if not self.lqs:
            write_image(make_folder(folder) / name, middle)
            return
        write_image(make_folder(folder / "gt") / name, middle)
        lq = self.lqs[one].read()[top : top + side, left : left + side]
        write_image(make_folder(folder / "lq") / name, lq)


def _written_by_srcx(image: Path, root: Path) -> Path | None:
    """Return the folder below `root` that an earlier command wrote with this image in it; None without one.

    The file that the command writes beside such a folder tells it from one of the user's own.
    """
    for folder in [*image.relative_to(root).parents][:-1]:  # not `root`, which the user names
        place = root / folder
        if place.name == "visualization":  # of `srcx train` and `srcx test`
            beside = place.with_name("metrics.csv")
        elif place.name.endswith("_val"):  # of `srcx new`
            beside = place.with_name(f"{place.name.removesuffix('_val')}_train.txt")
        else:
            continue
        if beside.is_file():
            return place
    return None
