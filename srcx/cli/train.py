"""`srcx train`: one training run from an option file."""

from typing import Annotated

import typer

from srcx.cli.verb import Debug, OptionFile, OptionFlag, option_file, uncollected
from srcx.errors import UsageError

EXAMPLES = """
  srcx train -opt options/train/srresnet_x4.yml
  srcx train -opt options/train/srresnet_x4.yml --check
  srcx train -opt options/train/srresnet_x4.yml --profile
  srcx train -opt options/train/srresnet_x4.yml --auto_resume
  srcx train -opt options/train/srresnet_x4.yml --force_yml train:total_iter=1000 manual_seed=1
"""


def train(
    file: OptionFile = None,
    opt: OptionFlag = None,
    auto_resume: Annotated[
        bool, typer.Option("--auto_resume", help="Go on from the run's newest saved state, if it has one.")
    ] = False,
    force_yml: Annotated[
        list[str] | None,
        typer.Option(
            "--force_yml", metavar="KEY:SUB=VALUE ...", help="Options that replace those of the file."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Say what the run would be and need, draw its first crops, and train nothing."
        ),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Train 50 steps, say where their time goes, and throw the weights away."
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Train the networks of an option file; the run's files go to experiments/NAME."""
    opt = option_file(file, opt)
    if check and profile:
        raise UsageError("--check, --profile: take one of them")
    if profile and auto_resume:
        raise UsageError("--auto_resume: a profile always begins anew; leave it out beside --profile")
    with uncollected():
        from srcx.training.options import check_paths, load_training

        options = load_training(opt, force_yml or [])
        check_paths(options)  # what is wrong is said now: importing torch takes seconds
    if check:
        from srcx.training.build_data import check_data
        from srcx.training.dry_run import SHEET_CROPS, describe, write_contact_sheet

        sets = check_data(options)
        print(describe(options, sets))
        print(f"\n# the first {SHEET_CROPS} crops of the training, lq beside gt")
        print(f"  {write_contact_sheet(options, sets[0][1])}")
        print("nothing was trained, and nothing else was written")
    elif profile:
        from srcx.training.profiling import profile_run

        print(profile_run(options).table())
    else:
        from srcx.training.run import run_options

        run_options(options, auto_resume=auto_resume)
