"""A training run, from top to bottom."""

import logging
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from srcx.config import Options
from srcx.distributed import name_lost_ranks
from srcx.errors import Interrupted
from srcx.hardware import keep_freed_memory
from srcx.training import build, build_data
from srcx.training.checkpoints import Progress, RunFolder, check_same_start
from srcx.training.dry_run import try_once
from srcx.training.options import check_paths, check_weights, load_training
from srcx.training.random_state import seed_generators
from srcx.training.run_lock import run_lock
from srcx.training.tracking import ProgressBar
from srcx.training.validations import Validations

__all__ = ["StopRequest", "run_file", "run_options", "stop_on_signal", "train"]

logger = logging.getLogger(__name__)

STDERR = 2
STOPPING = b"\nstopping after this iteration or validation and saving it; a second Ctrl-C stops at once\n"


def train(options: Options, run: RunFolder, *, resume_from: Path | None = None) -> None:
    """Train as `options` says, from a saved state of `run` if it resumes; all files go to `run`.

    Args:
        options: A training file's options.
        run: The run's folder.
        resume_from: The state to resume from; None takes the newest of `run`.

    Raises:
        TrainingError: a loss is not finite, or another process of the run died; the last checkpoint remains.
            Or another process trains this run already.
        Interrupted: the user stopped the run, which was saved; says how to resume.
    """
    assert options.train is not None
    assert options.datasets.train is not None
    total, val, every = options.train.total_iter, options.val, options.logger
    keep_freed_memory()
    state = run.find_state(resume_from)
    accelerator = build.accelerator(options, precision_before=state.precision if state else None)
    run.writes = accelerator.is_main_process
    if not run.writes:
        logging.getLogger("srcx").setLevel(logging.WARNING)  # rank 0 alone reports progress
    seed_generators(options.manual_seed + accelerator.process_index)
    training_set, validation_sets = build_data.training_set(options), build_data.validation_sets(options)
    model = build.model(options, accelerator, resumes=run.resumes)
    try_once(model, options)

    validations = Validations(validation_sets if run.writes else [], val, run, scale=options.scale)

    def validate(*, is_saved: bool, is_last: bool) -> None:
        validations.start(model, progress)
        if is_last:
            validations.finish(progress)
        if is_saved and (is_last or not validations.is_parallel):
            run.save_progress(model, progress)  # with the record of the best

    with (
        stop_on_signal(announced=run.writes) as stop,
        name_lost_ranks(run.describe_checkpoints),
        run_lock(run.root),
    ):
        ignored = [name.replace("network", "net") for name in options.path.ignore_resume_networks]
        progress = run.resume(model, state, ignored=ignored) if state else Progress()
        del state  # as large as the networks and their optimizers
        check_same_start(model.iteration)
        batches = build_data.train_batches(options, training_set, accelerator, start_iter=model.iteration)
        stages = options.datasets.train.stages(total)
        bar = ProgressBar(model.iteration, total, stages=stages, shown=run.writes)
        with run, validations, bar:
            if model.iteration < total:
                logger.info(
                    "%s from iteration %d on: %s", options.name, model.iteration + 1, training_set.describe()
                )
            else:
                logger.info(
                    "%s is finished: %d of %d iterations; a larger train.total_iter trains on",
                    options.name, model.iteration, total,
                )  # fmt: skip
            logger.info("convolutions by %s: %s", model.convolution.way, model.convolution.reason)
            done, stopping = model.iteration >= total, False
            if model.iteration == 0:
                validations.compare_start(model)
            if model.iteration > progress.validated and (done or model.iteration % val.val_freq == 0):
                # The run ended between saving this iteration and validating it.
                validate(is_saved=True, is_last=done)
            while not (done or stopping):
                losses = model.step(next(batches))  # forward, losses, backward, optimizer, EMA
                progress.add(losses)
                bar.update(model.iteration)
                stopping = stop.requested
                if accelerator.num_processes > 1:  # all ranks stop if one is asked to
                    if stopping:
                        accelerator.set_trigger()
                    stopping = accelerator.check_trigger()
                done = model.iteration >= total
                if model.iteration % every.print_freq == 0 or done:
                    run.log_losses(model, progress, bar)
                saved = model.iteration % every.save_checkpoint_freq == 0 or done or stopping
                validations.finish(progress, waits=saved and not stopping)
                if saved:
                    run.save(model, progress)  # before validating, which may fail
                if done or (model.iteration % val.val_freq == 0 and not stopping):
                    validate(is_saved=saved, is_last=done)
                elif stopping and validations.is_parallel:
                    validations.finish(progress)
                    run.save_progress(model, progress)
            if not done:
                raise Interrupted(
                    f"stopped after iteration {model.iteration} of {total}, which is saved in {run.root}; "
                    "the same command with --auto_resume continues from there"
                )
            run.save_weights(model, "latest")
            for line in run.describe_files(progress) if run.writes else ():
                logger.info("%s", line)
            logger.info("next: srcx upscale IMAGE -o OUT --model %s", shlex.quote(str(run.root)))


def run_file(path: Path, *, overrides: Sequence[str] = (), auto_resume: bool = False) -> None:
    """Train the option file at `path`; the run's files go to experiments/NAME.

    Args:
        path: An option file in BasicSR's dialect.
        overrides: KEY:SUB=VALUE, replacing options of the file.
        auto_resume: Resume from the newest state of the run, if there is one.

    Raises:
        SrcxError: of the kind that fits; wrong options and data are found before anything is written.
    """
    options = load_training(path, overrides)
    check_paths(options)
    run_options(options, auto_resume=auto_resume)


def run_options(options: Options, *, auto_resume: bool = False) -> None:
    """Train as `options` say, whose paths were checked; the run's files go to experiments/NAME.

    Args:
        options: A training file's options.
        auto_resume: Resume from the newest state of the run, if there is one.

    Raises:
        SrcxError: of the kind that fits; wrong data are found before anything is written.
    """
    root = Path(options.path.experiments_root) / options.name
    auto_resumes = auto_resume and bool(RunFolder.saved_states(root))
    # As in BasicSR, --auto_resume comes first: a run that began with `resume_state` continues from its own.
    named = None if auto_resumes else options.path.resume_state
    resume_from = Path(named) if named else None
    is_own = auto_resumes or (resume_from is not None and root.resolve() in resume_from.resolve().parents)
    if resume_from is not None or not auto_resumes:
        check_weights(options)
    run = RunFolder(
        root,
        options_text=options.to_yaml(),
        resumes=resume_from is not None or auto_resumes,
        archives=not is_own,
        logs=options.logger,
    )
    train(options, run, resume_from=resume_from)


@dataclass
class StopRequest:
    """Set by the first signal to stop."""

    requested: bool = False


@contextmanager
def stop_on_signal(*, announced: bool = True) -> Iterator[StopRequest]:
    """Inside the block the first signal to stop only sets `requested`; a second one interrupts at once.

    The signals are SIGINT, SIGTERM and SIGHUP, which comes when the terminal or its connection is gone; a
    signal that the process was started to ignore, as by `nohup`, stays ignored.
    Outside the main thread signals cannot be caught, and `requested` stays False.

    Args:
        announced: Say so on stderr, since the end of an iteration or of a validation may take minutes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True
        if announced:
            with suppress(OSError):  # the terminal may be gone
                os.write(STDERR, STOPPING)  # the signal may have interrupted a write to sys.stderr

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows: no SIGHUP
    signals: list[int] = [getattr(signal, name) for name in names]
    signals = [one for one in signals if one == signal.SIGINT or signal.getsignal(one) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, handle) for signum in signals}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
