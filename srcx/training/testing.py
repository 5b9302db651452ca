"""Testing as BasicSR's test files say: a network over the pairs of each test set, with the file's metrics."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from pathlib import Path

from torch import nn

from srcx.atomic import atomic_path, make_folder
from srcx.config import Options
from srcx.data import WholePair
from srcx.errors import OptionsError
from srcx.evaluation.validation import ValidationSet, validate
from srcx.training import build
from srcx.training.checkpoints import RunFolder
from srcx.weights.checkpoint import load_state
from srcx.weights.fit import load_into

__all__ = ["run_test_file"]

Tell = Callable[[str, int, int], None]
SetResults = dict[str, dict[str, float | None]]


def run_test_file(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    results_root: Path = Path("results"),
    tell: Tell = lambda what, done, total: None,
) -> SetResults:
    """Test the network of an option file; images and metrics.csv go to results/NAME.

    Args:
        path: An option file in BasicSR's dialect, with `datasets.test*` and `path.pretrain_network_g`.
        overrides: KEY:SUB=VALUE, replacing options of the file.
        results_root: Where results/NAME goes; an older one of the name is set aside.
        tell: Called after each image.

    Returns:
        Set -> metric -> mean over its images; None where the metric cannot rate one of them.

    Raises:
        OptionsError: the file is wrong, or is no test file.
        DataError: a set's files are wrong.
        CheckpointError: the weights cannot be read or do not fit.
    """
    options = build.load_options(path, overrides)
    build.check_paths(options)
    net = _trained_network(path, options)
    metrics = build.check_metrics(options)
    tests = options.datasets.test.values()
    sets = [ValidationSet(one.name, build.dataset(one, options.scale), metrics) for one in tests]
    root = results_root / options.name
    RunFolder.set_aside(root)
    make_folder(root)
    results: SetResults = {}
    for one in sets:
        save_as = partial(_image_path, root, options, one.name) if options.val.save_img else None
        results[one.name] = validate(net, _told(one, tell), save_as=save_as)
    _write(root, options, results)
    return results


def _trained_network(path: Path, options: Options) -> nn.Module:
    source = options.path.pretrain_network_g
    if not options.datasets.test:
        raise OptionsError(f"{path}: no `datasets.test`, so there is nothing to test on; add one")
    if source is None:
        raise OptionsError(f"{path}: no `path.pretrain_network_g`: name the checkpoint to test")
    net = build.network(options.network_g)
    state = load_state(source, key=options.path.param_key_g)
    load_into(net, state, source=source, strict=options.path.strict_load_g)
    return net.to(build.accelerator(options).device)


def _image_path(root: Path, options: Options, set_name: str, image: str) -> Path:
    """results/NAME/visualization/SET/IMAGE_SUFFIX.png, as BasicSR names it."""
    return root / "visualization" / set_name / f"{image}_{options.val.suffix or options.name}.png"


def _told(one: ValidationSet, tell: Tell) -> ValidationSet:
    total = len(one.pairs) if isinstance(one.pairs, Sized) else 0

    def each() -> Iterator[WholePair]:
        for done, pair in enumerate(one.pairs, start=1):
            yield pair
            tell(f"{one.name} {pair.name}", done, total)

    return dataclasses.replace(one, pairs=each())


def _write(root: Path, options: Options, results: SetResults) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["set", "metric", "value"])
    writer.writerows(
        (name, metric, value) for name, means in results.items() for metric, value in means.items()
    )
    for file, text in ((f"{options.name}.yml", options.to_yaml()), ("metrics.csv", table.getvalue())):
        with atomic_path(root / file) as temporary:
            temporary.write_text(text, "utf-8")
