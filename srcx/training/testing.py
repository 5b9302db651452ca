"""`srcx test`: evaluates a network on the test sets of an option file, with the file's metrics."""

import csv
import dataclasses
import io
from collections.abc import Iterator, Sized
from functools import partial
from pathlib import Path

from srcx.atomic import atomic_path, make_folder
from srcx.config import Options
from srcx.data import WholePair
from srcx.evaluation.validation import ValidationSet, validate
from srcx.inference.bundled import file_of
from srcx.progress import OnProgress, no_progress
from srcx.training import build, build_data
from srcx.training.checkpoints import RunFolder

__all__ = ["run_test"]

SetResults = dict[str, dict[str, float | None]]


def run_test(
    options: Options,
    *,
    results_root: Path = Path("results"),
    on_progress: OnProgress = no_progress,
) -> SetResults:
    """Test the network of a test file; images and metrics.csv go to results/NAME.

    Args:
        options: Of a test file, from `load_test`.
        results_root: Folder of results/NAME; an older folder of this name is renamed.
        on_progress: Called after each image.

    Returns:
        Set -> metric -> mean over its images; None if the metric is undefined for one of them.

    Raises:
        DataError: a set's files are wrong.
        CheckpointError: the weights cannot be read or do not fit.
    """
    source = options.path.pretrain_network_g
    assert source is not None
    net = build.network(options.network_g)
    build.load_pretrained(
        net,
        file_of(source) or source,
        key=options.path.param_key_g,
        strict=options.path.strict_load_g,
        option="path.strict_load_g",
    )
    net = net.to(build.accelerator(options).device)
    metrics = build_data.check_metrics(options)
    tests = options.tested.values()
    sets = [ValidationSet(one.name, build_data.dataset(one, options.scale), metrics) for one in tests]
    root = results_root / options.name
    RunFolder.archive(root)
    make_folder(root)

    def image_path(set_name: str, image: str) -> Path:
        suffix = options.val.suffix or options.name  # as BasicSR names images
        return root / "visualization" / set_name / f"{image}_{suffix}.png"

    def pairs_with_progress(one: ValidationSet) -> Iterator[WholePair]:
        total = len(one.pairs) if isinstance(one.pairs, Sized) else 0
        for done, pair in enumerate(one.pairs, start=1):
            yield pair
            on_progress(f"{one.name} {pair.name}", done, total)

    results: SetResults = {}
    for one in sets:
        save_as = partial(image_path, one.name) if options.val.save_img else None
        pairs = dataclasses.replace(one, pairs=pairs_with_progress(one))
        results[one.name] = validate(net, pairs, tile_px=options.val.tile, save_as=save_as)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["set", "metric", "value"])
    writer.writerows(
        (name, metric, value) for name, means in results.items() for metric, value in means.items()
    )
    for file, text in ((f"{options.name}.yml", options.to_yaml()), ("metrics.csv", table.getvalue())):
        with atomic_path(root / file) as temporary:
            temporary.write_text(text, "utf-8")
    return results
