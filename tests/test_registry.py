"""The registry is complete, each part has one sentence, and arguments are checked without making parts."""

import importlib
import inspect
import json
import pkgutil
import runpy
from pathlib import Path

import pytest
from pydantic import ConfigDict, TypeAdapter
from torch import nn

from srcx import archs, losses, registry
from srcx.losses.feature_loss import FeatureLoss, LayerwiseLoss
from srcx.losses.pixel import ReducedLoss

TABLES = registry.PARTS
ROOT = Path(__file__).resolve().parents[1]
PAGE = runpy.run_path(str(ROOT / "scripts/pages/parts.py"))
WITHOUT_A_PAPER = {"GridLoss", "L1Loss", "MSELoss"}
PARTS = [(kind, name) for kind, table in TABLES.items() for name in table]
SECOND_NAMES = {"MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR", "SwinIRModel"}


def public_losses() -> set[str]:
    """The names of all losses in srcx/losses/."""
    found = set()
    for info in pkgutil.iter_modules(losses.__path__, "srcx.losses."):
        for name, part in vars(importlib.import_module(info.name)).items():
            is_loss = inspect.isclass(part) and issubclass(part, nn.Module) and name.endswith("Loss")
            if is_loss and part not in (FeatureLoss, LayerwiseLoss, ReducedLoss) and not name.startswith("_"):
                found.add(name)
    return found


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_sorted(kind):
    assert list(TABLES[kind]) == sorted(TABLES[kind])


@pytest.mark.parametrize(("kind", "name"), [part for part in PARTS if part[1] not in SECOND_NAMES])
def test_a_part_is_listed_under_its_own_name(kind, name):
    assert TABLES[kind][name].__name__ == name


def test_every_loss_is_listed():
    assert public_losses() == set(registry.LOSSES)


def test_every_network_is_listed():
    assert set(archs.__all__) == set(registry.NETWORKS)


@pytest.mark.parametrize(
    ("kind", "name"), [part for part in PARTS if part[0] in ("loss", "metric", "network")]
)
def test_every_argument_has_a_type_its_default_fits(kind, name):
    for argument in inspect.signature(TABLES[kind][name], eval_str=True).parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD) or argument.name in ("sr", "gt"):
            continue
        assert argument.annotation is not argument.empty, f"{name}: {argument.name} has no annotation"
        adapter = TypeAdapter(argument.annotation, config=ConfigDict(arbitrary_types_allowed=True))
        if argument.default is not argument.empty:
            adapter.validate_python(argument.default)


@pytest.mark.parametrize("name", registry.METRICS)
def test_every_metric_says_whether_higher_is_better_and_whether_it_needs_gt(name):
    metric = registry.METRICS[name]
    assert isinstance(metric.higher_is_better, bool)
    assert metric.needs_gt == ("gt" in inspect.signature(metric).parameters)
    assert metric.mean_of_set([3.0, 3.0]) == 3.0


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_part_has_one_sentence(kind, name):
    sentence = registry.sentence(TABLES[kind][name])
    assert 10 < len(sentence) <= 110
    assert sentence.endswith((".", ":"))


@pytest.mark.parametrize("name", [*registry.NETWORKS, *registry.LOSSES, *registry.METRICS])
def test_every_network_loss_and_metric_names_its_paper(name):
    (part,) = (table[name] for table in TABLES.values() if name in table)
    assert bool(PAGE["paper"](part)) == (name not in WITHOUT_A_PAPER)


def test_the_page_of_parts_is_that_of_the_registry():
    costs = json.loads(PAGE["COSTS"].read_text(encoding="utf-8"))
    assert PAGE["PAGE"].read_text(encoding="utf-8") == PAGE["markdown"](costs), (
        "run: python scripts/pages/parts.py"
    )
    unmeasured = {name for kind in ("network", "loss", "metric") for name in TABLES[kind]} - {
        name for kind in costs if kind in TABLES for name in costs[kind]
    }
    assert unmeasured == PAGE["NOT_MEASURED"], "run: python scripts/pages/parts.py --measure"
