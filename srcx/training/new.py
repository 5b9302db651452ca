"""`srcx new`: an option file for one's own images, fitted to them, to the machine and to the time."""

import io
import math
import os.path
import re
import shlex
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from srcx.atomic import writing
from srcx.config import TrainDataset
from srcx.config.values import is_run_name
from srcx.config.yaml_io import text_node
from srcx.errors import UsageError
from srcx.hardware import cores, free_bytes
from srcx.inference.bundled import file_of
from srcx.inference.models import Model, find_model
from srcx.training.dry_run import Step, measure_step
from srcx.training.options import load_training
from srcx.training.own_images import OwnImages
from srcx.training.recipes import OPTIONS_SCHEMA, Recipe, find_recipe

__all__ = ["Choice", "write_new"]

TRIED_BATCH = 2
MEMORY_SHARE, CACHE_SHARE = 0.5, 0.25
"""Largest shares of the free memory for a training step and for decoded images."""
TRAINING_SHARE = 0.85
"""Share of the time for iterations; the rest goes to the start, validations and checkpoints."""
ENOUGH_ITERATIONS, LEAST_BATCH = 300, 4
"""Where the time holds fewer iterations, batches are made smaller, down to this."""
FEW_ITERATIONS, LEAST_ITERATIONS = 100, 20
VALIDATIONS, LOG_LINES = 5, 20
MIB = 2**20
SECTIONS = re.compile(r"\n+(?=(?:datasets|network_g|path|train|val|logger):)")
COMMENT = re.compile(r"^([^'\"\n#]*\S) +#", re.MULTILINE)


class Choice(NamedTuple):
    """One decision: about what, what was chosen, and why."""

    about: str
    chosen: str
    why: str


def write_new(
    name: str,
    data: Path,
    *,
    recipe: str,
    lq: Path | None = None,
    start: str | None = None,
    scale: int | None = None,
    minutes: float = 10.0,
    command: str = "srcx new",
    on_choice: Callable[[Choice], None] = lambda choice: None,
) -> list[Path]:
    """Write NAME.yml, NAME_train.txt (the images to train on) and NAME_val/ (pieces of those held out).

    Args:
        name: Name of the run and of its files.
        data: Folder of ground truth. Images that earlier commands held out or made below it are left out.
        recipe: One of `RECIPES`.
        lq: Folder of lq, for recipes of pairs.
        start: Model or checkpoint to start from, in place of the recipe's.
        scale: None takes that of the pairs or of the model, else 4.
        minutes: Time for the training on this machine.
        command: The command line, for the head of the file.
        on_choice: Called with each choice as soon as it is made.

    Returns:
        The three paths.

    Raises:
        UsageError: a file is there already, or the arguments contradict each other.
        DataError: the images cannot be used; says why.
        SrcxError: weights that the recipe needs are missing, or the like.
    """
    made = _free_paths(name)
    found = find_recipe(recipe)
    if found.takes_pairs != (lq is not None):
        said = (
            "needs pairs: name the folder of lq, --lq"
            if found.takes_pairs
            else "makes lq itself: leave out --lq"
        )
        raise UsageError(f"the recipe {recipe} {said}")
    model = None if start is None else _trainable(start)
    scale = scale or (model.scale if model else None)
    if lq is None:
        images, scale = OwnImages.alone(data), scale or 4
    else:
        images, scale = OwnImages.pairs(data, lq, scale)
    if scale not in found.scales:
        raise UsageError(
            f"the recipe {recipe} is for scale {' or '.join(map(str, found.scales))}; got {scale}"
        )
    if model is None and scale in found.start:
        model = _trainable(found.start[scale])
    if model is not None and model.scale != scale:
        raise UsageError(f"{model.name} is of scale {model.scale}, and the run of scale {scale}")

    draft = _Draft(found, scale, on_choice)
    draft.fit_network(name, model)
    crop_px, why = images.crop_px(draft.train_set["gt_size"])
    training, held_out = images.split(crop_px)
    listed = images.names(training)
    if images.left_out:
        why = "earlier commands of srcx held them out or made them"
        on_choice(Choice("left out", images.describe_left_out(), why))
    on_choice(Choice("images", images.describe(), f"{len(held_out)} held out to validate on, in {made[2]}"))
    draft.choose(draft.train_set, "gt_size", crop_px, Choice("crop", f"{crop_px} pixels", why))
    draft.fit_data(data, lq, made)
    draft.fit_machine(images.decoded_mib(scale), minutes)

    # All of it, or nothing: half of the files would block the next try.
    with writing(made[0]), tempfile.TemporaryDirectory(prefix=f".{name}-", suffix=".part", dir=".") as folder:
        parts = [Path(folder, path) for path in made]
        images.write_validation(held_out, parts[2], scale)
        parts[1].write_text(listed, encoding="utf-8")
        parts[0].write_text(draft.text(name, command), encoding="utf-8")
        for part, path in zip(reversed(parts), reversed(made), strict=True):
            part.rename(path)
    return made


def _free_paths(name: str) -> list[Path]:
    if not is_run_name(name):
        raise UsageError(
            f"{name!r}: expected a name for the run and its files, printable and without folders"
        )
    paths = [Path(f"{name}{end}") for end in (".yml", "_train.txt", "_val")]
    for path in paths:
        if os.path.lexists(path):
            raise UsageError(f"{path}: is there already and is not overwritten; choose another name")
    return paths


def _trainable(name: str) -> Model:
    model = find_model(name)
    if model.path is None or model.part is None or model.channels != 3:
        raise UsageError(
            f"{name}: srcx cannot train this on ({model.architecture}, {model.channels} channels); name a "
            "model of `srcx models`, or a checkpoint of a network for RGB that an option file can name"
        )
    return model


class _Draft:
    """A recipe's option file while it is fitted; its comments stay where nothing is changed."""

    def __init__(self, recipe: Recipe, scale: int, on_choice: Callable[[Choice], None]) -> None:
        self.recipe, self.scale, self.on_choice = recipe, scale, on_choice
        self.file = recipe.file(scale)
        head = re.compile(r"\A(#.*\n)+")  # is about the recipe's own data
        self.content: Any = _yaml().load(head.sub("", self.file.read_text("utf-8")))
        self.train_set, self.train = self.content["datasets"]["train"], self.content["train"]

    def choose(self, section: Any, key: str, value: Any, choice: Choice) -> None:
        """Write an option with the reason, and report it."""
        self.on_choice(choice)
        _put(section, key, value, choice.why)

    def fit_network(self, name: str, start: Model | None) -> None:
        """Write the name, the scale and the generator with the weights it starts from."""
        content = self.content
        content["name"], content["scale"] = name, self.scale
        _put(content, "manual_seed", 0)
        path = content["path"]
        for key in ("resume_state", "pretrain_network_g", "param_key_g", "strict_load_g"):
            path.pop(key, None)
        if start is None:
            content["network_g"]["upscale"] = self.scale
        else:
            assert start.part is not None
            _put(content, "network_g", CommentedMap({"type": start.part.type, **start.part.args}))
            content["network_g"].fa.set_flow_style()
            bundled = file_of(start.name) is not None
            source = start.name if bundled else str(start.path)
            _put(path, "pretrain_network_g", source, "of `srcx models`" if bundled else "")
            if not bundled:
                _put(path, "param_key_g", None, "the EMA weights, if there are any")
            self.on_choice(Choice("start", source, f"its network ({start.architecture}) is trained further"))
        if not path:
            content.pop("path")
        for metric in content["val"]["metrics"].values():
            if "crop_border" in metric:
                metric["crop_border"] = self.scale
        if "grid_opt" in self.train:
            self.train["grid_opt"]["period"] = self.scale

    def fit_data(self, data: Path, lq: Path | None, made: list[Path]) -> None:
        """Write the data sets: the listed images to train on, and the pieces that are held out."""
        train_set, sets = self.train_set, self.content["datasets"]
        _put(train_set, "dataroot_gt", str(data))
        if lq is not None:
            _put(train_set, "dataroot_lq", str(lq))
        train_set.insert([*train_set].index("dataroot_gt") + 1, "meta_info_file", str(made[1]))
        _put(train_set, "meta_info_file", str(made[1]), "the images to train on, by name")
        for key in [key for key in sets if key.startswith("val")]:
            del sets[key]
        kind = "HighResolutionDataset" if lq is None else "PairedImageDataset"
        held_out = CommentedMap({"name": "held_out", "type": kind})
        if lq is None:
            held_out["dataroot_gt"] = str(made[2])
        else:
            held_out["dataroot_gt"], held_out["dataroot_lq"] = str(made[2] / "gt"), str(made[2] / "lq")
        if "degradation" in train_set:
            train_set["degradation"].yaml_set_anchor("damage", always_dump=True)
            held_out["degradation"] = train_set["degradation"]
        sets["val"] = held_out

    def fit_machine(self, decoded_mib: int, minutes: float) -> None:
        """Choose batch, precision, cache and iterations by a few measured steps."""
        recipe_batch, recipe_total = self.train_set["batch_size_per_gpu"], int(self.train["total_iter"])
        step = self._measured(TRIED_BATCH)
        device = step.model.accelerator.device
        free_mib = free_bytes(device) / MIB
        fits = int(MEMORY_SHARE * free_mib / (step.peak_mib / TRIED_BATCH))
        batch, why = recipe_batch, "the recipe's"
        if batch > fits:
            batch = max(fits, 1)
            why = f"the recipe's {recipe_batch} would take more than half of the free memory"
        on_gpu = device.type == "cuda"
        # On a GPU the time hardly grows with the batch, so it is measured; on a CPU it grows in proportion.
        each_s = self._measured(batch).time_s if on_gpu else step.time_s * batch / TRIED_BATCH
        time_s = 60 * minutes * TRAINING_SHARE
        while time_s / each_s < ENOUGH_ITERATIONS and batch >= 2 * LEAST_BATCH:
            batch, each_s = batch // 2, each_s / 2
            why = f"with the recipe's {recipe_batch} there would be too few iterations"
        step_mib = step.peak_mib * batch / TRIED_BATCH
        why += f"; a step takes about {step_mib:.0f} MiB, and {free_mib / 1024:.1f} GiB are free"
        self.choose(self.train_set, "batch_size_per_gpu", batch, Choice("batch", f"{batch} crops", why))

        precision = step.model.precision
        what = "the GPU" if on_gpu else "this processor"
        why = f"{what} has no fast bf16" if precision == "fp32" else f"{what} multiplies bf16 faster"
        self.choose(self.train, "precision", "auto", Choice("precision", f"auto, here {precision}", why))
        self._fit_cache(decoded_mib)

        total = min(max(_two_digits(time_s / each_s), LEAST_ITERATIONS), recipe_total)
        took = timedelta(seconds=round(total * each_s / TRAINING_SHARE / 10) * 10)
        where = torch.cuda.get_device_name(device) if on_gpu else _cores()
        why = f"{each_s:.2g} s each on {where}, {took} with validation"
        enough = math.ceil(ENOUGH_ITERATIONS * each_s / TRAINING_SHARE / 60)
        why += f"; few: {ENOUGH_ITERATIONS} take --minutes {enough}" if total < FEW_ITERATIONS else ""
        why += "; the recipe has no more" if total == recipe_total else ""
        self.choose(self.train, "total_iter", total, Choice("iterations", str(total), why))
        self._fit_run(total, recipe_total)

    def _measured(self, batch: int) -> Step:
        recipe_batch, self.train_set["batch_size_per_gpu"] = self.train_set["batch_size_per_gpu"], batch
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "new.yml"
            file.write_text(self._body(), encoding="utf-8")
            step = measure_step(load_training(file))
        self.train_set["batch_size_per_gpu"] = recipe_batch
        return step

    def _fit_cache(self, decoded_mib: int) -> None:
        default_mib = TrainDataset.model_fields["cache_mib"].default
        if decoded_mib <= default_mib:
            return
        free_mib = int(CACHE_SHARE * free_bytes() / MIB)
        cache_mib = max(min(decoded_mib + 1, free_mib), default_mib)
        if cache_mib > decoded_mib:
            why = f"all images take {decoded_mib} MiB when decoded"
        else:
            why = f"all images would take {decoded_mib}; `srcx data prepare sub-images` cuts them for speed"
        self.choose(self.train_set, "cache_mib", cache_mib, Choice("cache", f"{cache_mib} MiB", why))

    def _fit_run(self, total: int, recipe_total: int) -> None:
        """Write what goes with the number of iterations: schedule, EMA, and how often something is done."""
        train, scheduler = self.train, self.train["scheduler"]
        if "periods" in scheduler:
            scheduler["periods"] = _flow([total])
        else:
            places = {max(round(place * total / recipe_total), 1) for place in scheduler["milestones"]}
            scheduler["milestones"] = _flow(sorted(places))
        shortest = math.floor((1 - 10 / total) * 1000) / 1000  # the mean of a tenth of the run
        train["ema_decay"] = min(train["ema_decay"], shortest)
        for key in ("warmup_iter", "net_d_init_iters"):
            if key in train:
                train[key] = min(train[key], total // 5)
        every = max(total // VALIDATIONS, 1)
        _put(self.content["val"], "val_freq", every)
        logger = self.content["logger"]
        _put(logger, "print_freq", max(min(total // LOG_LINES, logger["print_freq"]), 1))
        _put(logger, "save_checkpoint_freq", every)

    def text(self, name: str, command: str) -> str:
        """Return the file's text with its head."""
        head = [
            f"yaml-language-server: $schema={OPTIONS_SCHEMA.as_uri()}",
            self.recipe.about,
            f"Made by `{command}`, after options/{self.file.parent.name}/{self.file.name} of srcx.",
            f"Train:    srcx train -opt {shlex.quote(f'{name}.yml')}",
            f"Upscale:  srcx upscale IMAGE -o OUT --model {shlex.quote(f'experiments/{name}')}",
        ]
        return "".join(f"# {line}\n" for line in head) + self._body()

    def _body(self) -> str:
        stream = io.StringIO()
        _yaml().dump(self.content, stream)
        text = SECTIONS.sub("\n\n", stream.getvalue())
        return COMMENT.sub(r"\1  #", text)  # two spaces before each, as in the recipes


class _Representer(RoundTripRepresenter):
    """Writes a recipe with its comments."""


_Representer.add_representer(str, text_node)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 10_000
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _put(section: Any, key: str, value: Any, comment: str = "") -> None:
    """Write an option, with this comment in place of the recipe's."""
    section[key] = value
    section.ca.items.pop(key, None)
    if comment:
        section.yaml_add_eol_comment(comment, key)


def _flow(values: list[int]) -> Any:
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence


def _cores() -> str:
    count = cores()
    return f"{count} core" if count == 1 else f"{count} cores"


def _two_digits(value: float) -> int:
    """Round down to two digits.

    Example:
        >>> _two_digits(1234.5), _two_digits(7.9)
        (1200, 7)
    """
    unit = 10 ** max(math.floor(math.log10(max(value, 1))) - 1, 0)
    return int(value // unit * unit)
