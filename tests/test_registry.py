"""The catalog is complete, and its parts can be checked without being made."""

import importlib
import inspect
import pkgutil

import pytest
from pydantic import ConfigDict, TypeAdapter
from torch import nn

from srcx import archs, losses, registry
from srcx.losses.feature_loss import FeatureLoss

TABLES = {
    "dataset": registry.DATASETS,
    "loss": registry.LOSSES,
    "metric": registry.METRICS,
    "network": registry.NETWORKS,
    "optimizer": registry.OPTIMIZERS,
    "scheduler": registry.SCHEDULES,
}
PARTS = [(kind, name) for kind, table in TABLES.items() for name in table]
SECOND_NAMES = {"MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR", "SwinIRModel"}


def public_losses() -> set[str]:
    """The names of all losses in srcx/losses/."""
    found = set()
    for info in pkgutil.iter_modules(losses.__path__, "srcx.losses."):
        for name, part in vars(importlib.import_module(info.name)).items():
            is_loss = inspect.isclass(part) and issubclass(part, nn.Module) and name.endswith("Loss")
            if is_loss and part is not FeatureLoss and not name.startswith("_"):
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
def test_every_metric_says_which_way_is_better_and_whether_it_needs_gt(name):
    metric = registry.METRICS[name]
    assert isinstance(metric.higher_is_better, bool)
    assert metric.needs_gt == ("gt" in inspect.signature(metric).parameters)
    assert metric.mean_of_set([3.0, 3.0]) == 3.0
