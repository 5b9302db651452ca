"""`srcx data prepare lr|sub-images|lmdb|shards`: prepare images for training and benchmarks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, Verb, complain
from srcx.counted import counted
from srcx.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from srcx.prepare.images import Outcome

app = typer.Typer(help="Make MATLAB's low resolution, sub-images, LMDB, shards.", rich_markup_mode=None)

Source = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images.")]

GOES_ON = "stopped; the same command resumes the work"

LR = """
  srcx data prepare lr datasets/benchmark/Mine/HR -o datasets/benchmark/Mine/LR_bicubic
  srcx data prepare lr photos -o train/LR --scale 2 --gt train/HR
"""
SUB_IMAGES = """
  srcx data prepare sub-images datasets/DIV2K/DIV2K_train_HR -o datasets/DIV2K/DIV2K_train_HR_sub
  srcx data prepare sub-images datasets/DIV2K/DIV2K_train_LR_bicubic/X4 \\
      -o datasets/DIV2K/DIV2K_train_LR_bicubic/X4_sub --crop 120 --step 60
"""
LMDB = """
  srcx data prepare lmdb datasets/DIV2K/DIV2K_train_HR_sub -o datasets/DIV2K/DIV2K_train_HR_sub.lmdb
"""
SHARDS = """
  srcx data prepare shards photos -o shards
  srcx data prepare shards datasets/DIV2K/DIV2K_train_HR_sub -o shards \\
      --lq datasets/DIV2K/DIV2K_train_LR_bicubic/X4_sub
"""


@app.command("lr", cls=Verb, epilog=LR)
def lr(
    source: Source,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for X4/NAMEx4.png.")],
    scale: Annotated[int, typer.Option(metavar="N", min=2, max=16, help="The factor.")] = 4,
    multiple: Annotated[
        int | None,
        typer.Option("--mod", metavar="N", min=1, help="Crop to multiples of this first; default: --scale."),
    ] = None,
    gt: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the cropped images to this folder.")
    ] = None,
    border: Annotated[
        Literal["replicate", "symmetric"],
        typer.Option(help="replicate: as the published sets were made; symmetric: as MATLAB does today."),
    ] = "replicate",
    debug: Debug = False,
) -> None:
    """Make low-resolution images as MATLAB's imresize makes them, to the bit."""
    from srcx.prepare.images import make_low_resolution

    multiple = scale if multiple is None else multiple
    if multiple % scale:
        raise UsageError(f"--mod: expected a multiple of the scale {scale}; got {multiple}")
    try:
        with progress() as on_progress:
            outcome = make_low_resolution(
                source, out, scale=scale, multiple=multiple, border=border, gt_out=gt, on_progress=on_progress
            )
    except KeyboardInterrupt:
        raise Interrupted(GOES_ON) from None
    report(outcome, out / f"X{scale}")


@app.command("sub-images", cls=Verb, epilog=SUB_IMAGES)
def sub_images(
    source: Source,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for NAME_s001.png ...")],
    crop: Annotated[int, typer.Option(metavar="N", min=1, help="Side of a sub-image, in pixels.")] = 480,
    step: Annotated[int, typer.Option(metavar="N", min=1, help="Pixels from one to the next.")] = 240,
    threshold: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="A remainder of more pixels than this gets a sub-image too."),
    ] = 0,
    debug: Debug = False,
) -> None:
    """Cut large images into overlapping ones, which are quicker to read, as BasicSR's extract_subimages."""
    from srcx.prepare.images import make_sub_images

    try:
        with progress() as on_progress:
            outcome = make_sub_images(
                source, out, crop_px=crop, step_px=step, threshold_px=threshold, on_progress=on_progress
            )
    except KeyboardInterrupt:
        raise Interrupted(GOES_ON) from None
    report(outcome, out)


@app.command("lmdb", cls=Verb, epilog=LMDB)
def lmdb(
    source: Source,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.lmdb", help="The LMDB folder.")],
    debug: Debug = False,
) -> None:
    """Put a folder of images into an LMDB that srcx's and BasicSR's data sets read."""
    from srcx.prepare.lmdb_folder import make_lmdb

    try:
        with progress() as on_progress:
            outcome = make_lmdb(source, out, on_progress)
    except KeyboardInterrupt:
        raise Interrupted(GOES_ON) from None
    report(outcome, out, whole=True)


@app.command("shards", cls=Verb, epilog=SHARDS)
def shards(
    source: Source,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for shard-000000.tar ...")],
    lq: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the low-resolution images, to add to the shards."),
    ] = None,
    per_shard: Annotated[int, typer.Option(metavar="N", min=1, help="Images or pairs to a shard.")] = 1000,
    debug: Debug = False,
) -> None:
    """Put a folder of images, or two of pairs, into WebDataset's tar shards; files stay as they are."""
    from srcx.prepare.shards import make_shards

    try:
        with progress() as on_progress:
            outcome = make_shards(source, out, low=lq, per_shard=per_shard, on_progress=on_progress)
    except KeyboardInterrupt:
        raise Interrupted(GOES_ON) from None
    report(outcome, out, whole=True)


def report(outcome: "Outcome", out: Path, *, whole: bool = False) -> None:
    """Print what was made and what failed; exit with 1 if something failed.

    Args:
        outcome: The numbers and the problems.
        out: The folder that was to be made.
        whole: It is written only with all images in it.
    """
    for problem in outcome.problems:
        complain(problem)
    if whole and outcome.problems:
        failed = counted(len(outcome.problems))
        complain(f"{out}: not written: {failed} cannot be read; fix or remove them and run the command again")
        raise typer.Exit(1)
    skipped = f", {outcome.skipped} existed already" if outcome.skipped else ""
    failed = f", {len(outcome.problems)} failed" if outcome.problems else ""
    print(f"{out}: {counted(outcome.made)} made{skipped}{failed}")
    if outcome.problems:
        raise typer.Exit(1)
