"""`srcx data list|fetch|verify|prepare|degrade|align|check`: benchmark sets, DIV2K, and your own images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcx.cli import prepare
from srcx.cli.progress import progress
from srcx.cli.verb import Debug, Group, Verb, complain, print_table
from srcx.counted import counted
from srcx.errors import DataError, Interrupted, SrcxError, UsageError

if TYPE_CHECKING:
    from srcx.benchmarks.manifest import KnownSet
    from srcx.prepare.align import Fit

app = typer.Typer(
    help="Benchmark sets, DIV2K and your own pairs: list, download, verify and make them.",
    rich_markup_mode=None,
)
app.add_typer(prepare.app, name="prepare", cls=Group)

Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of sets; else datasets/benchmark, and datasets/DIV2K."),
]

VERIFY = """
  srcx data verify
  srcx data verify Set5 ~/sets/Urban100
  srcx data verify --data ~/sets
"""
DEGRADE = """
  srcx data degrade photos -o damaged --preset web
  srcx data degrade photo.jpg -o damaged --preset custom.yml --scale 2 --seed 1
"""
ALIGN = """
  srcx data align wide/ tele/ --scale 2
  srcx data align wide/ tele/ --scale 2 --write datasets/mine
  srcx data align wide.jpg tele.jpg --scale 2
"""
CHECK = """
  srcx data check photos
  srcx data check photos --against datasets/benchmark -o photos.html
  srcx data check photos --move-to set_aside --kinds duplicate unreadable
"""
COARSE = 0.75
"""Ground truth of less than this share of the pixels asked for is named: it is enlarged, so it is blurred."""


@app.command("list", cls=Verb, epilog="\n  srcx data list\n")
def list_sets(data: Data = None, debug: Debug = False) -> None:
    """List the known sets: local copy, source and licence."""
    from srcx.benchmarks.manifest import known_sets

    for known in known_sets().values():
        place = known.place(data)
        print(
            f"{known.name:<9} {known.count} images; {_at_hand(known, place)}\n"
            f"          {known.about}\n          licence: {known.licence}\n          {known.url}"
        )


def _at_hand(known: "KnownSet", place: Path) -> str:
    """Return the numbers of local HR and LR images in words."""
    from srcx.benchmarks.layout import gt_files, lq_files

    if known.archives:
        names = [
            (archive.ending, place / archive.folder / name)
            for archive in known.archives
            for name in archive.image_names
        ]
        high = sum(path.exists() for ending, path in names if not ending)
        low = sum(path.exists() for ending, path in names if ending)
    else:
        gts, lqs = gt_files(place, 4), lq_files(place, 4)
        high, low = len(gts[1]) if gts else 0, len(lqs[1]) if lqs else 0
    return f"{high} HR and {low} LR x4 in {place}" if high or low else "not downloaded"


@app.command("fetch", cls=Verb, epilog="\n  srcx data fetch Set5 Set14 BSD100\n  srcx data fetch DIV2K\n")
def fetch_sets(
    names: Annotated[list[str], typer.Argument(metavar="SET...", help="Names that 'srcx data list' shows.")],
    data: Data = None,
    debug: Debug = False,
) -> None:
    """Download sets from their publishers and verify them; existing files are not downloaded again."""
    from srcx.benchmarks.fetch import fetch_set
    from srcx.benchmarks.manifest import known_set

    wanted = list({known.name: known for known in map(known_set, names)}.values())
    wrong = False
    try:
        with progress() as on_progress:
            for known in wanted:
                for problem in (problems := fetch_set(known, known.place(data), on_progress)):
                    complain(problem)
                wrong |= bool(problems)
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command resumes the download") from None
    there = [place for known in wanted if (place := known.place(data)).is_dir()]
    wrong |= not _verified(there)
    if wrong:
        raise typer.Exit(1)


@app.command("verify", cls=Verb, epilog=VERIFY)
def verify_sets(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SET|FOLDER ...]", help="Sets by name or folder; by default all local sets."),
    ] = None,
    data: Data = None,
    debug: Debug = False,
) -> None:
    """Verify local sets: which copy it is, how its low-resolution images were made, and its problems."""
    places = [_place(word, data) for word in what] if what else _all_places(data)
    if not _verified(places):
        raise typer.Exit(1)


def _place(word: str, data: Path | None) -> Path:
    from srcx.benchmarks.manifest import known_set

    if Path(word).exists() or len(Path(word).parts) > 1:
        return Path(word)
    try:
        return known_set(word).place(data)
    except UsageError as error:
        raise UsageError(f"{error} (and there is no folder {word})") from None


def _all_places(data: Path | None) -> list[Path]:
    from srcx.benchmarks.manifest import known_sets

    if data:
        return [data]
    places = {known.place(None) for known in known_sets().values() if known.archives}
    places |= {known.place(None).parent for known in known_sets().values() if not known.archives}
    there = sorted(place for place in places if place.is_dir())
    if not there:
        raise DataError(
            "datasets: there is no set in datasets/benchmark and no datasets/DIV2K; "
            "'srcx data fetch Set5' gets one, or name a folder"
        )
    return there


def _verified(places: Sequence[Path]) -> bool:
    """Print a verdict on each set in these folders; return True if all are correct."""
    from srcx.benchmarks.verify import sets_in, verify

    right = True
    for place in places:
        try:
            for folder in sets_in(place):
                with progress() as on_progress:
                    verdict = verify(folder, on_progress)
                print(f"{verdict.folder}: {'WRONG' if verdict.problems else 'ok'}: {verdict.sentence}")
                for problem in verdict.problems:
                    print(f"  {problem}")
                right &= not verdict.problems
        except SrcxError as error:
            complain(str(error))
            right = False
    return right


@app.command("degrade", cls=Verb, epilog=DEGRADE)
def degrade_images(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of good images, or one image.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for lq/NAME.png and gt/NAME.png.")
    ],
    preset: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="web, phone or old; or a .yml file: docs/degradation.md."),
    ],
    scale: Annotated[int, typer.Option(metavar="N", min=1, max=16, help="gt is this much larger.")] = 4,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The same seed gives the same bytes.")] = 0,
    debug: Debug = False,
) -> None:
    """Make degraded images with their ground truth, for training and evaluation."""
    from srcx.config import load_degradation
    from srcx.prepare.images import make_degraded

    degradation = load_degradation(preset)
    try:
        with progress() as on_progress:
            outcome = make_degraded(
                source,
                out,
                degradation=degradation,
                name=Path(preset).stem,
                scale=scale,
                seed=seed,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        raise Interrupted(prepare.GOES_ON) from None
    prepare.report(outcome, out)


@app.command("check", cls=Verb, epilog=CHECK)
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Images to train on, with sub-folders.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER ...", help="Benchmark sets that no image may resemble."),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The report with thumbnails.")
    ] = Path("check.html"),
    move_to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Move the images that were found there.")
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND ...",
            help="Kinds that --move-to moves: duplicate, benchmark, damaged, blurred, upscaled, flat, "
            "unreadable; default: all.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Find near-duplicates, and damaged, blurred, upscaled, flat and unreadable images; delete nothing."""
    from srcx.atomic import check_folder, make_folder
    from srcx.evaluation.report.image_check import write_check
    from srcx.prepare.check_images import KINDS, check_images, move
    from srcx.prepare.recipe import refuse_inside

    for kind in kinds or []:
        if kind not in KINDS:
            raise UsageError(f"--kinds: expected {', '.join(KINDS)}; got {kind!r}")
    if kinds and not move_to:
        raise UsageError("--kinds: says what --move-to moves; name a folder with --move-to")
    if "benchmark" in (kinds or []) and not against:
        raise UsageError("--kinds: benchmark is found by --against alone; name the sets with --against")
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise UsageError(f"{out}: the report is a page; name a file that ends in .html")
    if move_to:
        refuse_inside(folder, move_to)
        check_folder(move_to)
    check_folder(out.parent)
    with progress() as on_progress:
        images, found = check_images(folder, against or [], on_progress)
    make_folder(out.parent)
    write_check(out, folder, images, found)
    counts = {kind: sum(one.kind == kind for one in found) for kind in KINDS}
    print(f"{folder}: {counted(images)}, {len({one.path for one in found})} with a defect; {out} shows them")
    for kind, count in counts.items():
        print(f"  {kind:<10} {count}")
    if move_to:
        print(f"{move_to}: {counted(move(found, folder, move_to, kinds or KINDS))} moved")


@app.command("align", cls=Verb, epilog=ALIGN)
def align_pairs(
    lq: Annotated[Path, typer.Argument(metavar="LQ", help="Folder of low-resolution images, or one.")],
    gt: Annotated[
        Path, typer.Argument(metavar="GT", help="Folder of ground truth by the same names, or one image.")
    ],
    scale: Annotated[int, typer.Option(metavar="N", min=1, max=16, help="The factor to train for.")] = 4,
    write: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write the aligned pairs as OUT/lq and OUT/gt."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Align pairs taken with two lenses or zooms, and print the remaining shift in GT pixels."""
    from srcx.prepare.align import Fit, align_folders

    found: dict[str, Fit] = {}
    failed = 0
    try:
        with progress() as on_progress:
            for name, outcome in align_folders(lq, gt, scale=scale, out=write, on_progress=on_progress):
                if isinstance(outcome, Fit):
                    found[name] = outcome
                else:
                    failed += 1
                    complain(f"{name}: {outcome}")
    except KeyboardInterrupt:
        raise Interrupted("stopped; the pairs written so far are complete") from None
    if found:
        _print_shifts(found)
    for name, fit in found.items():
        if fit.zoom < COARSE * scale:
            complain(
                f"{name}: ground truth has {fit.zoom:.2f} pixels per lq pixel, fewer than the scale "
                f"{scale}, so it is enlarged and blurred; take a smaller --scale"
            )
    if write and found:
        print(
            f"{write}: {counted(len(found), 'pair')} in lq and gt, fit for NonAlignedPairDataset with "
            f"scale: {scale}"
        )
    if failed:
        raise typer.Exit(1)


def _print_shifts(found: dict[str, "Fit"]) -> None:
    """Print a table: zoom, shift before and after the alignment of each pair; then of all blocks."""
    from srcx.prepare.align import together

    came = [fit.before for fit in found.values() if fit.before]
    rows: list[tuple[list[str], dict[str, float | None]]] = []
    for name, fit in found.items():
        before = fit.before.figures()["median"] if fit.before else None
        rows.append(([name], _row(fit.zoom, before, fit.after.figures())))
    before = together(came).figures()["median"] if came else None
    after = together([fit.after for fit in found.values()])
    rows.append((["all"], _row(None, before, after.figures())))
    print_table(["pair"], rows)
    print(
        "before and after: median shift of the blocks of a pair, in pixels of ground truth; 90 % and max: "
        "after; measured: share of the blocks"
    )


def _row(zoom: float | None, before: float | None, after: dict[str, float | None]) -> dict[str, float | None]:
    """Return the figures of one pair under headings with units, in ground-truth pixels."""
    return {
        "zoom": zoom,
        "before, px": before,
        "after, px": after["median"],
        "90 %, px": after["90 %"],
        "max, px": after["max"],
        "measured": after["measured"],
    }
