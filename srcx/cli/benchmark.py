"""`srcx benchmark`: models side by side on the benchmark sets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug, print_table
from srcx.errors import Interrupted, UsageError

EXAMPLES = """
  srcx benchmark -o results/bicubic
  srcx benchmark --model bicubic experiments/mine/models/net_g_latest.pth --sets Set5 Set14 -o results/mine
  srcx benchmark --metrics psnr ssim niqe --data ~/sets -o results/bicubic
  srcx benchmark --sets BSD100 --every 5 --degrade web phone old --metrics lpips dists -o results/damaged
  srcx benchmark --images photos --model srresnet-x4 srgan-cx-x4 -o results/photos
"""


# The options, with the text of --help; `Debug` of verb.py is the last one.
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder of the report and the images.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE ...",
        help="Names of 'srcx models', checkpoints or folders of runs; bicubic if none is named.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of sets, each SET/HR and SET/LR_bicubic/X4; datasets/benchmark if none is named.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Instead of sets: a folder of images without ground truth."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(metavar="SET ...", help="Sets to take; all there are if none is named."),
]
Every = Annotated[int, typer.Option(metavar="N", min=1, help="Take every N-th image of each set or folder.")]
Degrade = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE ...",
        help="Test on lq images damaged by these degradations: web, phone, old, or .yml files.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the degradations; the report shows it.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(metavar="METRIC ...", help="Metrics; psnr and ssim if none is named, niqe with --images."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Number format of the networks.")
]


def benchmark(
    out: Out,
    model: Models = None,
    data: Data = None,
    images: Images = None,
    sets: Sets = None,
    every: Every = 1,
    degrade: Degrade = None,
    seed: Seed = 0,
    metrics: Metrics = None,
    precision: Precision = "fp32",
    debug: Debug = False,
) -> None:
    """Run models over benchmark sets, score them, and write a report."""
    from srcx.distributed import is_main, process_group
    from srcx.evaluation import benchmark as run

    given = {"--data": data, "--sets": sets, "--degrade": degrade}
    refused = [option for option, value in given.items() if value]
    if images is not None and refused:
        raise UsageError(
            f"--images: takes the images of a folder as they are; leave out {', '.join(refused)}, "
            "or leave out --images to use sets with ground truth"
        )
    try:
        with process_group(), progress(is_main()) as on_progress:
            is_main_process = is_main()  # asked now: after the block the group is gone
            results = run(
                model or ["bicubic"],
                images or data or Path("datasets/benchmark"),
                out,
                sets=sets,
                metrics=metrics or (["niqe"] if images else ["psnr", "ssim"]),
                degrade=degrade or (),
                seed=seed,
                every=every,
                without_gt=images is not None,
                precision=precision,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; the images and scores so far are in {out}, and the same command continues from them"
        ) from None
    if is_main_process:
        labels = [one.label for one in results.sets]
        means = sorted(
            results.means, key=lambda mean: labels.index(mean.label)
        )  # to compare models line by line
        print_table(["set", "model"], [((mean.label, mean.model), mean.metrics) for mean in means])
        for sentence in results.missing():
            print(f"no {sentence}")
        print(f"report: {out / 'report.html'}")
    if results.missing() and images is None:  # without ground truth the page is the aim
        raise typer.Exit(1)
