"""The check from source files says what the imported parts say."""

import re

import pytest

from srcx.basicsr_compat.checks import PartChecks
from srcx.basicsr_compat.importing import REGISTRIES, basicsr_names, open_basicsr
from srcx.basicsr_compat.parts import OWN, AllParts
from srcx.registry import known_arguments

BY_IMPORT, BY_SOURCE = AllParts(), PartChecks()
PARTS = [(kind, name) for kind, table in OWN.items() for name in table]
VALUES = (None, True, 3, -1.5, "no", [1, 2], {"a": 1})
"""One of each kind that a file can give, so that every argument refuses some of them."""


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_problems_with_the_arguments_of_own_parts_are_the_same(kind, name):
    assert BY_SOURCE.problems(kind, name, {}) == BY_IMPORT.problems(kind, name, {})
    for argument in [*known_arguments(BY_IMPORT.part(kind, name)), "nothing_like_it"]:
        for value in VALUES:
            args = {argument: value}
            assert BY_SOURCE.problems(kind, name, args) == BY_IMPORT.problems(kind, name, args), args


OTHER_NAMES = [
    ("network", "SRResNett"),
    ("network", "Qqq"),
    ("network", "SPAN"),
    ("network", "spandrel.SPAN"),
    ("network", "spandrel.SPANN"),
    ("network", "EDSR"),
    ("network", "basicsr.EDSRR"),
    ("loss", "WeightedTVLoss"),
    ("loss", "r1_penalty"),
    ("loss", "EdgeLoss"),
    ("metric", "pnsr"),
    ("optimizer", "Adamm"),
    ("scheduler", "TrueCosineAnnealingLR"),
]


@pytest.mark.parametrize(("kind", "name"), OTHER_NAMES)
def test_problems_with_other_names_are_the_same(basicsr, kind, name):
    assert BY_SOURCE.problems(kind, name, {"num_fet": 1}) == BY_IMPORT.problems(kind, name, {"num_fet": 1})


@pytest.mark.parametrize("name", ["SRResNett", "EDSR", "basicsr.EDSR"])
def test_problems_are_the_same_without_basicsr(no_basicsr, name):
    (problem,) = BY_SOURCE.problems("network", name, {})
    assert "BasicSR is not installed" in problem[1]
    assert BY_IMPORT.problems("network", name, {}) == [problem]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_the_names_in_the_files_of_basicsr_are_those_it_registers(basicsr, kind):
    table = getattr(open_basicsr("basicsr.utils.registry"), REGISTRIES[kind])
    registered = {name.removesuffix("_basicsr") for name, _ in table if not name.endswith("_srcx")}
    assert set(basicsr_names(kind)) == registered


def test_an_argument_by_its_name_of_2021_is_answered_with_that_of_today():
    args = {"layer_weights": {"conv3_3": 1}, "norm_img": False}
    said = "unknown argument; did you mean 'range_norm'?"
    assert PartChecks().problems("loss", "PerceptualLoss", args) == [("norm_img", said)]


@pytest.mark.parametrize("value", ["abc", None, [1], float("nan")])
def test_the_two_weights_of_the_perceptual_loss_are_numbers(value):
    args = {"layer_weights": {"conv3_3": 1}, "style_weight": value}
    ((name, problem),) = PartChecks().problems("loss", "PerceptualLoss", args)
    assert name == "style_weight"
    assert re.match("expected a (finite )?number", problem)
