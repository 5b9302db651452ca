"""Write docs/reference/options.md from the typed options, and docs/reference/commands.md from every `--help`.

python scripts/pages/look_up.py
"""

import contextlib
import inspect
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from unittest import mock

import typer

from srcx.cli import app, main
from srcx.config import datasets, degradation, options, part_options, values
from srcx.config.values import Kinds, Section

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"

SECTIONS: dict[type[Section], tuple[str, str]] = {
    options.Options: ("The file", "The keys at the top level of the file."),
    datasets.Datasets: (
        "datasets",
        "`train`, and any number of sets for validation (`val`, `val_1` ...) and `srcx test` (`test` ...).",
    ),
    datasets.DatasetOptions: (
        "datasets: one set",
        "The keys that every set has. What is needed depends on the type: "
        "`dataroot_gt` for all but SingleImageDataset, `dataroot_lq` for PairedImageDataset and "
        "SingleImageDataset.",
    ),
    datasets.TrainDataset: ("datasets.train", "The keys that only the training set has."),
    datasets.IoBackend: ("io_backend", "Storage of the images of one set."),
    part_options.Part: (
        "network_g and network_d",
        "A network by its name, with its own arguments: `{type: MSRResNet, num_block: 16}`. "
        "[Parts](../parts.md) lists the names.",
    ),
    options.PathOptions: ("path", "Checkpoints to start from, and the folder of runs."),
    options.TrainOptions: ("train", "Training. Each `NAME_opt` in it is one term of the objective."),
    part_options.LossTerm: (
        "train: a term of the objective, NAME_opt",
        "A loss by its name, with its own arguments and these keys.",
    ),
    part_options.Optimizer: (
        "train.optim_g and train.optim_d",
        "An optimizer by its name; it also takes its own arguments.",
    ),
    part_options.MultiStep: ("train.scheduler: MultiStepLR", "The rate falls by a factor at each milestone."),
    part_options.CosineAnnealing: (
        "train.scheduler: CosineAnnealingRestartLR",
        "The rate falls along half a cosine, again in each period.",
    ),
    options.ValOptions: ("val", "Validation during training and by `srcx test`."),
    part_options.Metric: (
        "val.metrics: one metric",
        "A metric by its name, with its own arguments and this key.",
    ),
    options.LoggerOptions: ("logger", "Logs and checkpoints of a training."),
    options.WandbOptions: ("logger.wandb", "Weights & Biases, an extra."),
    options.DistOptions: ("dist_params", "Several processes; `torchrun` starts them."),
    degradation.DegradationOptions: (
        "degradation",
        "How lq is made from gt: a key of a HighResolutionDataset, and what a file for `--preset` holds. "
        " [Training on damaged images](../degradation.md) explains it.",
    ),
    degradation.Pass: ("degradation: one of passes", "Blur, resize, noise and compression, in this order."),
    degradation.Blur: ("degradation: blur", "A blur by one kernel."),
    degradation.Kernels: ("degradation: kernels", "Shares of the blur kernels."),
    degradation.Resize: ("degradation: resize", "A change of size."),
    degradation.Filters: ("degradation: filters", "Shares of the resize filters."),
    degradation.Noise: ("degradation: noise", "Gaussian or Poisson noise."),
    degradation.Compression: ("degradation: compression", "JPEG or WebP, really encoded and decoded."),
    degradation.Final: ("degradation.final", "The last stages of every degradation."),
}
"""Every section of an option file, with its title and its sentence, in the order of the page."""

WORDS: tuple[tuple[Any, str], ...] = (
    (values.Count, "whole number from 1"),
    (values.Natural, "whole number from 0"),
    (values.Whole, "whole number"),
    (values.Positive, "number above 0"),
    (values.NonNegative, "number from 0"),
    (values.Fraction, "number from 0 to below 1"),
    (values.Number, "number"),
    (degradation.Share, "number from 0 to 1"),
    (degradation.KernelSizes, f"[low, high], odd whole numbers from 3 to {degradation.LARGEST_KERNEL_PX}"),
    (degradation.QualityRange, "[low, high] from 1 to 100"),
    (degradation.FactorRange, "[low, high] from 0.05 to 8"),
    (degradation.SigmaRange, "[low, high] from 0 to 255"),
    (degradation.PositiveRange, "[low, high] from 0.01"),
    (degradation.ScaleRange, "[low, high] from 0"),
    (values.FilePath, "path"),
    (values.Folders, "folder, or list of folders"),
    (values.NumGpu, "whole number from 0, or `auto`"),
    (values.RunName, "name of a folder"),
    (values.SetName, "name"),
    (values.NameEnd, "text"),
    (values.Template, "text with one `{}`"),
    (bool, "`true` or `false`"),
    (str, "text"),
    (float, "number"),
    (NoneType, "`null`"),
)


def type_in_words(hint: Any) -> str:
    """Return the values that an option of this type takes."""
    for known, words in WORDS:
        if hint is known:
            return words
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (Union, UnionType):
        return " or ".join(type_in_words(arg) for arg in args)
    if origin is Annotated:
        if any(isinstance(mark, Kinds) for mark in args[1:]):
            return "section by its `type`"
        return type_in_words(args[0])
    if origin in (tuple, list):
        return f"[{type_in_words(args[0])}, ...]"
    if origin is dict:
        return f"{{name: {type_in_words(args[1])}, ...}}"
    if isinstance(hint, type) and issubclass(hint, Section):
        titled = [one for one in hint.__mro__ if one in SECTIONS]
        if titled:
            return f"[section](#{anchor(SECTIONS[titled[0]][0])})"
    raise TypeError(f"scripts/pages/look_up.py: {hint} has no words; add it to WORDS or SECTIONS")


def anchor(title: str) -> str:
    """Return the anchor that the site gives a heading.

    Example:
        >>> anchor("train.scheduler: MultiStepLR")
        'trainscheduler-multisteplr'
    """
    name = "".join(sign for sign in title.lower() if sign.isalnum() or sign in " _-")
    return name.strip().replace(" ", "-")


def in_yaml(value: Any) -> str:
    """Return a value as one line of an option file.

    Example:
        >>> in_yaml({"iso": 1.0, "on": True, "betas": (0.9, 0.999), "none": None})
        '{iso: 1.0, on: true, betas: [0.9, 0.999], none: null}'
    """
    if isinstance(value, Section):
        value = value.model_dump(exclude_defaults=True)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {in_yaml(one)}' for key, one in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(in_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def all_hints(section: type[Section]) -> dict[str, Any]:
    """Return the annotations of a section and of those that it extends, with all that `Annotated` holds."""
    hints: dict[str, Any] = {}
    for one in reversed(section.__mro__):
        hints |= inspect.get_annotations(one) if issubclass(one, Section) else {}
    return hints


def options_page() -> Iterator[str]:
    """Yield the lines of docs/reference/options.md."""
    yield from (
        "# Every option of an option file",
        "",
        "Written by `python scripts/pages/look_up.py` from `srcx/config`. The keys are BasicSR's.",
        '"srcx:" marks a key that srcx adds. "No effect" marks a key that srcx accepts and does not need.',
        "A key that is not on this page is an error, except the arguments of a part, and the keys and",
        "names of Real-ESRGAN, HAT, DAT, RGT and NAFNet, which srcx translates",
        "([Coming from](../coming_from.md)).",
    )
    for section, (title, about) in SECTIONS.items():
        hints = all_hints(section)
        yield from (
            "",
            f"## {title}",
            "",
            about,
            "",
            "| key | values | default | meaning |",
            "|---|---|---|---|",
        )
        own = section.model_fields
        if section is datasets.TrainDataset:
            own = {name: own[name] for name in own if name not in datasets.DatasetOptions.model_fields}
        for name, field in own.items():
            key = {"losses": "NAME_opt"}.get(name, name)
            default = (
                "*needed*"
                if field.is_required()
                else f"`{in_yaml(field.get_default(call_default_factory=True))}`"
            )
            cells = (f"`{key}`", type_in_words(hints[name]), default, field.description or "")
            yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, a group before its own commands."""
    for name, command in group.commands.items():
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))


def commands_page() -> Iterator[str]:
    """Yield the lines of docs/reference/commands.md."""
    yield from (
        "# Every command",
        "",
        "Written by `python scripts/pages/look_up.py`: what `--help` prints.",
        "Exit codes: 0 done, 1 something asked for was not done, 2 wrong usage or options, "
        "130 after Ctrl-C or SIGTERM.",
    )
    for words in ((), *commands(typer.main.get_command(app))):
        said = io.StringIO()
        with (
            mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}),
            contextlib.redirect_stdout(said),
        ):
            main([*words, "--help"])
        yield from ("", f"## {' '.join(('srcx', *words))}", "", "```text", said.getvalue().rstrip(), "```")


PAGES = {"options.md": options_page, "commands.md": commands_page}

if __name__ == "__main__":
    for name, lines in PAGES.items():
        (FOLDER / name).write_text("\n".join(lines()) + "\n", "utf-8")
        print(f"written: {FOLDER / name}")
