"""`srcx upscale`: upscale images and folders of images."""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, complain, is_quiet, one_line
from srcx.counted import counted
from srcx.errors import Interrupted, UsageError
from srcx.progress import OnProgress

if TYPE_CHECKING:
    from srcx.inference.folder import Job, OnTile, Outcome
    from srcx.inference.upscaler import Upscaler

EXAMPLES = """
  srcx upscale photo.jpg -o large.png
  srcx upscale photos -o large --recursive --format png
  srcx upscale photo.jpg -o large.jpg --scale 1.5 --tta
  srcx upscale photo.jpg -o large.png --model srgan-cx-x4 --fidelity 0.5
  srcx upscale photos -o large --model experiments/srresnet_x4/models/net_g_latest.pth
  torchrun --nproc_per_node 2 -m srcx upscale photos -o large
  ffmpeg -i film.mp4 -f yuv4mpegpipe - | srcx upscale - -o - --model real-x2 | ffmpeg -i - film_x2.mp4
"""


# The options, with the text of --help; `Debug` of verb.py is the last one.
Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", help="Images, or folders of them; - for frames from a pipe."),
]
Out = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        metavar="OUT",
        help="The result, if INPUT is one image; else a folder; - for a pipe, if INPUT is one: PNG, Y4M or "
        "raw frames, as they came.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="auto|NAME|FILE",
        help="A name 'srcx models' lists, a checkpoint, an exported file (.onnx, .xml, .param), or the "
        "folder of a training run; auto chooses for each image the model for clean or for damaged images "
        "(JPEG blocks, noise), and prints which and why.",
    ),
]
Fidelity = Annotated[
    float,
    typer.Option(
        metavar="0..1",
        help="0: the model as it is, sharp; 1: its faithful parent, softer, which invents nothing; "
        "between 0 and 1 their weights are mixed, at the same speed.",
    ),
]
Tile = Annotated[str, typer.Option(metavar="auto|0|N", help="Side of the tiles in input pixels; 0 for none.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(help="auto: the fastest within 50 dB of fp32; int8: 8 bits by OpenVINO, made at first use."),
]
BackendName = Annotated[
    Literal["auto", "torch", "nnpack", "onnx", "openvino", "ncnn"],
    typer.Option(
        help="The program that runs the network; auto: the fastest that is installed, as far as known."
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Factor of the results, such as 2 or 1.5; if the model has another, its results are "
        "resampled. Default: the model's own, 4 for auto.",
    ),
]
Tta = Annotated[
    bool, typer.Option("--tta", help="Mean over the image's 8 rotations and reflections: 8 times slower.")
]
LockColor = Annotated[
    bool,
    typer.Option(
        "--lock-color",
        help="Make the low frequencies of the results those of the images: no model then shifts colours.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="cpu|cuda|cuda:N", help="The device that torch runs on. Default: the GPU if there is one."
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", help="Take the images in subfolders too, but not in linked ones.")
]
Format = Annotated[
    Literal["same", "png", "jpg", "jpeg", "webp", "avif", "tiff", "tif"],
    typer.Option(help="Format of the results; same: that of each image, JPEG for HEIC."),
]
Quality = Annotated[
    int | None,
    typer.Option(
        metavar="1..100",
        min=1,
        max=100,
        help="Of results in JPEG (default 95), AVIF (default 90) and WebP (default lossless).",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Of raw frames from a pipe: R, G, B in bytes (ffmpeg's rgb24)."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist already.")]


def upscale(
    inputs: Inputs,
    out: Out,
    model: Model = "auto",
    fidelity: Fidelity = 0.0,
    tile: Tile = "auto",
    precision: Precision = "auto",
    backend: BackendName = "auto",
    scale: Scale = None,
    tta: Tta = False,
    lock_color: LockColor = False,
    device: Device = None,
    recursive: Recursive = False,
    format: Format = "same",
    quality: Quality = None,
    size: Size = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Upscale images; one that cannot be read does not stop the others. Alpha is upscaled by bicubic."""
    from srcx.distributed import gather, is_main, local_rank, process_group, rank, run_on_main, world_size
    from srcx.inference.folder import plan, run
    from srcx.inference.load import load_model
    from srcx.inference.upscaler import device_of

    of_files = {
        "--recursive": recursive,
        "--format": format != "same",
        "--quality": quality is not None,
        "--overwrite": overwrite,
    }
    from_pipe = _from_pipe(inputs, out, size, [name for name, is_given in of_files.items() if is_given])
    count: Counter[str] = Counter()
    only: Outcome | None = None
    try:
        with process_group(), progress(is_main()) as on_progress:
            is_main_process = is_main()  # asked now: after the block the group is gone
            upscaler = load_model(
                model,
                tile=_tile(tile),
                precision=precision,
                scale=scale,
                tta=tta,
                lock_color=lock_color,
                backend=backend,
                device=device or device_of(local_rank()),
                fidelity=fidelity,
            )
            if from_pipe:
                return _upscale_pipe(upscaler, size, on_progress)
            # One process lists the files: the others would find results among them.
            all_jobs = run_on_main(lambda: plan(inputs, out, recursive=recursive, format=format))
            if quality is not None:
                _check_quality(all_jobs)
            jobs = all_jobs[rank() :: world_size()]
            on_tile = _tile_progress(on_progress, len(jobs), count)
            outcomes = run(jobs, upscaler, overwrite=overwrite, quality=quality, on_tile=on_tile)
            for done, outcome in enumerate(outcomes, start=1):
                only = outcome if len(jobs) == 1 else None
                count[_kind(outcome)] += 1
                _print_messages(outcome)
                on_progress(_line(outcome), done, len(jobs))
            count = sum(gather(count), Counter())
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {_summary(count)}; the same command continues with the rest") from None
    if is_main_process:
        print(_printable(_summary(count, where=_where(count, only, out))))
    if count["failed"]:
        raise typer.Exit(1)


def _check_quality(jobs: "Sequence[Job]") -> None:
    """Raise UsageError if none of the results is in a format that has a quality."""
    from srcx.imaging.io import LOSSY_SUFFIXES

    suffixes = sorted({job.target.suffix.lower() for job in jobs})
    if jobs and not set(suffixes) & set(LOSSY_SUFFIXES):
        raise UsageError(
            f"--quality: JPEG, WebP and AVIF have it, and the results are {', '.join(suffixes)}; "
            "choose another --format or leave --quality out"
        )


def _from_pipe(inputs: list[Path], out: Path, size: str | None, of_files: list[str]) -> bool:
    """Return whether frames go from pipe to pipe.

    Args:
        inputs: As given.
        out: As given.
        size: As given.
        of_files: The options given that are for files alone.

    Raises:
        UsageError: only one side is a pipe, or an option does not fit it.
    """
    from srcx.distributed import launched_processes

    pipe = Path("-")
    if pipe not in (*inputs, out):
        if size:
            raise UsageError("--size: is of raw frames from a pipe; the INPUT is then -")
        return False
    if inputs != [pipe] or out != pipe:
        raise UsageError("-: frames go from pipe to pipe; write 'srcx upscale - -o -'")
    if of_files:
        raise UsageError(f"{', '.join(of_files)}: for files, not for a pipe; leave out")
    if launched_processes() > 1:
        raise UsageError("-: one process reads a pipe; start srcx without torchrun")
    return True


def _upscale_pipe(upscaler: "Upscaler", size: str | None, on_progress: OnProgress) -> None:
    """Upscale frames from stdin to stdout; messages go to stderr."""
    from srcx.inference.streams import open_stream, upscale_stream

    wide_high = re.fullmatch(r"([1-9]\d{0,8})x([1-9]\d{0,8})", size) if size else None
    if size and not wide_high:
        raise UsageError(f"--size: expected width x height such as 640x360; got '{size}'")
    if sys.stdin.isatty():
        raise UsageError("-: stdin is the terminal; pipe frames into srcx")
    frames = 0

    def on_frame(done: int) -> None:
        nonlocal frames
        frames = done
        on_progress("frames", done, 0)

    try:
        stream = open_stream(sys.stdin.buffer, (int(wide_high[1]), int(wide_high[2])) if wide_high else None)
        model = upscale_stream(stream, sys.stdout.buffer, upscaler, on_frame)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped after {counted(frames, 'frame')}") from None
    except BrokenPipeError:
        # Python would flush stdout at its end and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"-: the program that reads the results stopped after {counted(frames, 'frame')}")
        raise typer.Exit(1) from None
    if not is_quiet():
        complain(f"{counted(frames, 'frame')} upscaled by {model}")


def _tile_progress(on_progress: OnProgress, images: int, count: Counter[str]) -> "OnTile":
    """Return a callback that shows the tiles of a large image: as the bar if it is the only image.

    Args:
        on_progress: Shows the progress.
        images: Number of images.
        count: Of the images done so far; it grows.
    """

    def on_tile(job: "Job", done: int, total: int) -> None:
        if images == 1:
            on_progress(f"tiles of {job.source}", done, total)
        elif total > 1:
            on_progress(f"{job.source}, tile {done} of {total}", count.total(), images)

    return on_tile


def _print_messages(outcome: "Outcome") -> None:
    if outcome.problem:
        complain(outcome.problem)
    if outcome.reason and not is_quiet():
        print(_printable(f"{outcome.job.source}: {outcome.reason}; upscaled by {outcome.model}"))


def _tile(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise UsageError(f"--tile: expected auto, 0 or a number of pixels; got '{text}'")
    return int(text)


def _where(count: Counter[str], only: "Outcome | None", out: Path) -> str:
    """Return the place of the results, and the size and model of a single one."""
    if not count["upscaled"]:
        return ""
    if only is None or only.size is None or count.total() > 1:
        return f" into {one_line(str(out))}"
    size = f"{only.size[0]} x {only.size[1]} pixels"
    return f": {one_line(str(only.job.target))}, {size}, by {only.model} in {only.time_s:.1f} s"


def _kind(outcome: "Outcome") -> str:
    return "failed" if outcome.problem else "upscaled" if outcome.size else "skipped"


def _line(outcome: "Outcome") -> str:
    if outcome.size is None:
        return f"{outcome.job.source} {_kind(outcome)}"
    width, height = outcome.size
    return f"{outcome.job.target} {width} x {height}, {outcome.time_s:.1f} s"


def _printable(text: str) -> str:
    """Escape the characters that stdout cannot encode, which names of files may have."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _summary(count: Counter[str], *, where: str = "") -> str:
    skipped = f"{count['skipped']} skipped, as their results exist already (--overwrite replaces them)"
    parts = [
        f"{count['upscaled']} upscaled{where}",
        *([skipped] if count["skipped"] else []),
        *([f"{count['failed']} failed"] if count["failed"] else []),
    ]
    return ", ".join(parts)
