"""The options of a run from their file, and all that is wrong with them: found before torch is imported."""

import logging
from collections.abc import Sequence
from pathlib import Path

from srcx import config
from srcx.basicsr_compat.checks import PartChecks
from srcx.config import Options
from srcx.errors import CheckpointError, DataError, OptionsError
from srcx.inference.bundled import bundled_models, file_of
from srcx.nearest import did_you_mean

__all__ = ["check_paths", "check_weights", "load_options", "load_test", "load_training"]

logger = logging.getLogger(__name__)


def load_options(path: Path, overrides: Sequence[str] = ()) -> Options:
    """Read an option file and check every part it names.

    Args:
        path: The file.
        overrides: KEY:SUB=VALUE, replacing options of the file.

    Raises:
        OptionsError: with every mistake found, one line each.
    """
    return config.load_options(path, overrides=overrides, parts=PartChecks())


def load_training(path: Path, overrides: Sequence[str] = ()) -> Options:
    """`load_options` of a file that says how to train.

    Raises:
        OptionsError: as `load_options`, or the file is a test file.
    """
    options = load_options(path, overrides)
    if options.train is None or options.datasets.train is None:
        raise OptionsError(
            f"{path}: no `train` or `datasets.train`, so there is nothing to train; use srcx test"
        )
    # A warning alone: the same file with a smaller total_iter is a trial.
    unused = [size for size, iters in options.datasets.train.stages(options.train.total_iter) if not iters]
    if unused:
        option = "datasets.train.iters"
        logger.warning(
            "%s: %s: no crop of %s is made: the sizes before take all %d iterations of total_iter; give the "
            "number of iterations at each size",
            options.where(option), option, " or ".join(map(str, unused)), options.train.total_iter,
        )  # fmt: skip
    return options


def load_test(path: Path, overrides: Sequence[str] = ()) -> Options:
    """`load_options` of a file that says what to test, whose sets are there.

    Raises:
        OptionsError: as `load_options`, or the file is no test file.
        DataError: as `check_paths`.
        CheckpointError: as `check_weights`.
    """
    options = load_options(path, overrides)
    check_paths(options, test_only=True)
    if not options.tested:
        raise OptionsError(f"{path}: no `datasets.test`, so there is nothing to test on; add one")
    if options.path.pretrain_network_g is None:
        raise OptionsError(f"{path}: no `path.pretrain_network_g`: name the checkpoint to test")
    check_weights(options, test_only=True)
    return options


def check_paths(options: Options, *, test_only: bool = False) -> None:
    """Check that the folders and files of the data sets are there, before any of them is read.

    Args:
        options: A training or test file's options.
        test_only: Whether to check the test sets alone, because no other set is read.

    Raises:
        DataError: with a line for each that is missing.
    """
    sets = options.tested
    if not test_only:
        sets = {**options.datasets.val, **sets}
    if options.datasets.train is not None and not test_only:
        sets = {"train": options.datasets.train, **sets}
    missing = []
    for key, part in sets.items():
        for name in ("dataroot_gt", "dataroot_lq", "meta_info_file", "meta_info"):
            given = getattr(part, name) or []
            if name.startswith("dataroot") and part.io_backend.type == "webdataset":
                continue  # a pattern of names of shards
            for path in [given] if isinstance(given, str) else given:
                if not Path(path).exists():
                    option = f"datasets.{key}.{name}"
                    place = f"{options.where(option)}: {option}"
                    missing.append(f"{place}: {path}: this file or folder does not exist; check the path")
    if missing:
        raise DataError("\n".join(missing))


def check_weights(options: Options, *, test_only: bool = False) -> None:
    """Check that the files of `path` are there, before any of them is read.

    A run that resumes reads its state, and may have lost the weights that it started from.

    Args:
        options: A training or test file's options.
        test_only: Whether to check the generator's weights alone, because no other file is read.

    Raises:
        CheckpointError: with a line for each that is missing.
    """
    names = ["pretrain_network_g"]
    if not test_only:
        names = ["resume_state"] if options.path.resume_state else [*names, "pretrain_network_d"]
    missing = []
    for name in names:
        given = getattr(options.path, name)
        takes_models = name == "pretrain_network_g"
        if given is None or Path(given).exists() or (takes_models and file_of(given)):
            continue
        said = "this file does not exist; check the path"
        if takes_models and not Path(given).suffix:
            hint = did_you_mean(given, bundled_models())
            said = f"neither a model that comes with srcx nor a file; {hint}"
        missing.append(f"{options.where(f'path.{name}')}: path.{name}: {given}: {said}")
    if missing:
        raise CheckpointError("\n".join(missing))
