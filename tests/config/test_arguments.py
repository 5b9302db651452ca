"""Arguments of parts are checked by their signature, without making the part."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from srcx.config.arguments import argument_problems, for_option_files


def example(
    sr,
    *,
    count: int,
    weight: float = 1.0,
    pair: tuple[float, float] = (0.0, 1.0),
    kind: Literal["a", "b"] = "a",
    layers: Mapping[str, float] | None = None,
    path: Path | str | None = None,
    **swallowed: Any,
) -> None: ...


def problems(args, *, check_values=True):
    known = for_option_files(inspect.signature(example))
    return list(argument_problems("example", known, args, check_values=check_values))


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"weight": 2},
        {"pair": [0, 0.5]},
        {"kind": "b"},
        {"layers": {"conv3_4": 1}},
        {"layers": None},
        {"path": "a/b.pth"},
        {"weight": float("inf")},
    ],
)
def test_fitting_arguments_give_no_problem(args):
    assert problems({"count": 3, **args}) == []


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"count": "3"}, ("count", "expected a whole number, got '3'")),
        ({"count": True}, ("count", "expected a whole number, got true")),
        ({"weight": "1e-4"}, ("weight", "expected a number, got '1e-4'")),
        ({"kind": "c"}, ("kind", "expected one of 'a' or 'b', got 'c'")),
        ({"layers": [1]}, ("layers", "expected a section of 'key: value' lines, got [1]")),
    ],
)
def test_names_a_value_of_the_wrong_kind(args, problem):
    assert problems({"count": 3, **args}) == [problem]


def test_a_tuple_needs_its_length():
    assert [name for name, _ in problems({"count": 3, "pair": [1]})] == ["pair"]


def test_values_can_be_left_unchecked():
    assert problems({"count": "3"}, check_values=False) == []


def test_names_the_nearest_argument_though_kwargs_would_swallow_it():
    assert problems({"count": 3, "wieght": 1}) == [("wieght", "unknown argument; did you mean 'weight'?")]


def test_lists_the_arguments_when_none_is_near():
    assert problems({"count": 3, "zzz": 1}) == [
        ("zzz", "unknown argument; example takes count, weight, pair, kind, layers, path")
    ]


def test_names_a_missing_argument():
    assert problems({}) == [(None, "example needs the argument 'count'")]


def test_images_are_not_the_option_files_to_give():
    assert [name for name, _ in problems({"count": 3, "sr": 1})] == ["sr"]
