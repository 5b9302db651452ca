"""A training run, from top to bottom."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from srcx.config import Options
from srcx.distributed import Team
from srcx.errors import Interrupted
from srcx.evaluation.validation import ValidationSet, validate
from srcx.progress import Pace
from srcx.training import build, random_state
from srcx.training.checkpoints import Progress, RunFolder
from srcx.training.dry_run import try_once
from srcx.training.host_memory import keep_freed_memory
from srcx.training.model import SRModel
from srcx.training.ranks import agree_on_start, working_together
from srcx.training.run_lock import only_training
from srcx.training.stopping import listen_for_stop

__all__ = ["run_file", "train"]

logger = logging.getLogger(__name__)


def train(options: Options, run: RunFolder, *, resume_from: Path | None = None) -> None:
    """Train as `options` says, from a saved state of `run` if it has one; everything is kept in `run`.

    Args:
        options: A training file's options.
        run: The run's folder.
        resume_from: The state to go on from; None takes the newest of `run`.

    Raises:
        TrainingError: a loss is not finite, or another process of the run died; the last checkpoint is kept.
            Or the run is being trained already.
        Interrupted: the user stopped the run, which was saved; says how to go on.
    """
    assert options.train is not None
    total, every = options.train.total_iter, options.logger
    keep_freed_memory()
    accelerator = build.accelerator(options)
    run.writes = accelerator.is_main_process
    if not run.writes:
        logging.getLogger("srcx").setLevel(logging.WARNING)  # one rank tells how it goes
    random_state.seed(options.manual_seed + accelerator.process_index)
    training_set, validation_sets = build.training_set(options), build.validation_sets(options)
    model = build.model(options, accelerator, resumes=run.goes_on)
    try_once(model, options)
    team = Team(accelerator.process_index, accelerator.num_processes)

    with listen_for_stop() as stop, working_together(run.kept), only_training(run.root, team):
        ignored = [name.replace("network", "net") for name in options.path.ignore_resume_networks]
        progress = run.resume(model, resume_from, ignored=ignored) or Progress()
        agree_on_start(progress.iteration)
        batches = build.train_batches(options, training_set, accelerator, start_iter=progress.iteration)
        with run, Pace(progress.iteration, total, shown=run.writes) as pace:
            if progress.iteration < total:
                logger.info(
                    "%s from iteration %d on: %s",
                    options.name, progress.iteration + 1, training_set.describe(),
                )  # fmt: skip
            else:
                logger.info(
                    "%s is finished: %d of %d iterations; a larger train.total_iter trains on",
                    options.name, progress.iteration, total,
                )  # fmt: skip
            stopping = False
            if _is_due(progress, options) and progress.validated < progress.iteration:
                # The run ended between saving this iteration and validating it.
                _validate(model, validation_sets, run, progress, keep_images=options.val.save_img)
                run.save_progress(model, progress)
            while progress.iteration < total and not stopping:
                losses = model.step(next(batches))  # forward, losses, backward, optimizer, averaged weights
                progress.add(losses)
                pace.tick()
                if stop.asked:
                    accelerator.set_trigger()
                stopping = accelerator.check_trigger()  # all ranks stop if one is asked to
                done = progress.iteration == total
                if progress.iteration % every.print_freq == 0 or done:
                    run.log_losses(progress, model.learning_rate, pace)
                saved = progress.iteration % every.save_checkpoint_freq == 0 or done or stopping
                if saved:
                    run.save(model, progress)  # before validating, which may fail
                if _is_due(progress, options) and (done or not stopping):
                    _validate(model, validation_sets, run, progress, keep_images=options.val.save_img)
                    if saved:
                        run.save_progress(model, progress)  # with the record of the best
            if progress.iteration < total:
                raise Interrupted(
                    f"stopped after iteration {progress.iteration} of {total}, which is saved in {run.root}; "
                    "the same command with --auto_resume goes on from there"
                )
            run.save_weights(model, "latest")
            latest, results = run.models / "net_g_latest.pth", Path("results") / options.name
            logger.info("weights: %s; next: srcx benchmark --model bicubic %s -o %s", latest, latest, results)


def _is_due(progress: Progress, options: Options) -> bool:
    """Whether this iteration is to be validated."""
    assert options.train is not None
    done = progress.iteration
    return done > 0 and (done % options.val.val_freq == 0 or done == options.train.total_iter)


def _validate(
    model: SRModel,
    validation_sets: Sequence[ValidationSet],
    run: RunFolder,
    progress: Progress,
    *,
    keep_images: bool,
) -> None:
    """Evaluate the model on every set, and keep its weights where it is the best so far."""
    for one in validation_sets if run.writes else ():
        save_as = partial(run.image_path, progress, one.name) if keep_images else None
        results = validate(model.eval_net, one, save_as=save_as)
        if run.log_results(progress, one.name, results, one.higher_is_better):
            run.save_weights(model, f"best_{one.name}")
    progress.validated = progress.iteration


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
    build.check_paths(options)
    resume_from = Path(options.path.resume_state) if options.path.resume_state else None
    root = Path(options.path.experiments_root) / options.name
    run = RunFolder(
        root,
        options_text=options.to_yaml(),
        goes_on=resume_from is not None or (auto_resume and bool(RunFolder.saved_states(root))),
        keep_last=options.logger.keep_last,
        tensorboard=options.logger.use_tb_logger,
    )
    train(options, run, resume_from=resume_from)
