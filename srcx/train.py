"""A training run, from top to bottom."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from srcx import build
from srcx.config import Options
from srcx.errors import Interrupted
from srcx.host_memory import keep_freed_memory
from srcx.pace import Pace
from srcx.run_folder import Progress, RunFolder
from srcx.stopping import listen_for_stop
from srcx.validation import validate

__all__ = ["run_file", "train"]

logger = logging.getLogger(__name__)


def train(options: Options, run: RunFolder, *, resume_from: Path | None = None) -> None:
    """Train as `options` says, from a saved state of `run` if it has one; everything is kept in `run`.

    Args:
        options: A training file's options.
        run: The run's folder.
        resume_from: The state to go on from; None takes the newest of `run`.

    Raises:
        TrainingError: a loss is not finite; the last checkpoint is kept.
        Interrupted: the user stopped the run, which was saved; says how to go on.
    """
    assert options.train is not None
    total, every = options.train.total_iter, options.logger
    keep_freed_memory()
    torch.manual_seed(options.manual_seed)
    accelerator = build.accelerator(options)
    model = build.model(options, accelerator)
    progress = run.resume(model, resume_from) or Progress()
    batches = build.train_batches(options, accelerator, start_iter=progress.iteration)
    validation_sets = build.validation_sets(options)

    with listen_for_stop() as stop, Pace(progress.iteration, total) as pace, run:
        while progress.iteration < total and not stop.asked:
            progress.add(model.step(next(batches)))  # forward, losses, backward, optimizer, averaged weights
            pace.tick()
            last = progress.iteration == total
            if progress.iteration % every.print_freq == 0 or last:
                run.log_losses(progress, model.learning_rate, pace)
            if progress.iteration % options.val.val_freq == 0 or last:
                for validation_set in validation_sets:
                    save_as = (
                        partial(run.picture_path, progress, validation_set.name)
                        if options.val.save_img
                        else None
                    )
                    results = validate(model.eval_net, validation_set, save_as=save_as)
                    if run.log_results(
                        progress, validation_set.name, results, validation_set.higher_is_better
                    ):
                        run.save_weights(model, "best")
            if progress.iteration % every.save_checkpoint_freq == 0 or last or stop.asked:
                run.save(model, progress)
    if progress.iteration < total:
        raise Interrupted(
            f"stopped after iteration {progress.iteration} of {total}, which is saved in {run.root}; "
            "the same command with --auto_resume goes on from there"
        )
    run.save_weights(model, "latest")


def run_file(path: Path, *, overrides: Sequence[str] = (), auto_resume: bool = False) -> None:
    """Train the option file at `path`; the run is kept in experiments/NAME.

    Args:
        path: An option file in BasicSR's dialect.
        overrides: KEY:SUB=VALUE, replacing options of the file.
        auto_resume: Go on from the newest state of the run, if there is one.

    Raises:
        SrcxError: of the kind that fits; wrong options and data are found before anything is written.
    """
    options = build.load_training(path, overrides)
    build.check_data(options)
    resume_from = Path(options.path.resume_state) if options.path.resume_state else None
    train(options, open_run(options, auto_resume=auto_resume), resume_from=resume_from)


def open_run(options: Options, *, auto_resume: bool) -> RunFolder:
    """The run's folder; an older run of the name is set aside unless we go on from it."""
    root = Path(options.path.experiments_root) / options.name
    goes_on = options.path.resume_state is not None or (auto_resume and bool(RunFolder.saved_states(root)))
    if not goes_on and (aside := RunFolder.set_aside(root)):
        logger.warning("%s holds an earlier run, which is now %s", root, aside)
    return RunFolder(
        root,
        options_text=options.to_yaml(),
        keep_last=options.logger.keep_last,
        tensorboard=options.logger.use_tb_logger,
    )
