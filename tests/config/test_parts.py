from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from srcx.config import load_options
from srcx.errors import OptionsError

Write = Callable[[str], Path]


class Recorder:
    """Records the parts it is given, and returns the problems set for them."""

    def __init__(self, faults: dict[str, list[tuple[str | None, str]]] | None = None) -> None:
        self.asked: list[tuple[str, str, dict[str, object]]] = []
        self.faults = faults or {}

    def problems(self, kind: str, type_name: str, args: Mapping[str, object]) -> list[tuple[str | None, str]]:
        self.asked.append((kind, type_name, dict(args)))
        return self.faults.get(type_name, [])


def test_every_part_is_checked_with_its_own_arguments(write: Write, small_text: str) -> None:
    parts = Recorder()
    text = small_text.replace("{type: L1Loss}", "{type: L1Loss, loss_weight: 2, reduction: mean}")
    load_options(write(text.replace("crop_border", "better: higher, crop_border")), parts=parts)
    assert parts.asked == [
        ("network", "Net", {"width": 8}),
        ("optimizer", "Adam", {"lr": 1e-4}),
        ("loss", "L1Loss", {"reduction": "mean"}),
        ("metric", "calculate_psnr", {"crop_border": 4}),
    ]


def test_their_faults_have_the_place_of_the_type_or_the_argument(write: Write, small_text: str) -> None:
    faults: dict[str, list[tuple[str | None, str]]] = {
        "Net": [("width", "unknown argument; did you mean 'num_feat'?")],
        "L1Loss": [(None, "no such loss")],
    }
    with pytest.raises(OptionsError) as caught:
        load_options(write(small_text.replace("0.9", "9")), parts=Recorder(faults))
    assert caught.value.problems == [
        "x.yml:11: network_g.width: unknown argument; did you mean 'num_feat'?",
        "x.yml:14: train.ema_decay: expected a number below 1, got 9",
        "x.yml:17: train.pixel_opt.type: no such loss",
    ]


def test_what_the_schema_said_of_an_argument_is_not_said_again(write: Write, small_text: str) -> None:
    faults: dict[str, list[tuple[str | None, str]]] = {"Adam": [("lr", "not a number")]}
    parts = Recorder(faults)
    with pytest.raises(OptionsError) as caught:
        load_options(write(small_text.replace("1e-4", "x")), parts=parts)
    assert ("optimizer", "Adam", {"lr": "x"}) in parts.asked
    assert caught.value.problems == ["x.yml:15: train.optim_g.lr: expected a number, got 'x'"]


def test_sections_of_the_wrong_shape_are_left_to_the_schema(write: Write, small_text: str) -> None:
    parts = Recorder()
    text = small_text.replace("{type: Net, width: 8}", "3").replace("{type: L1Loss}", "{type: [x]}")
    with pytest.raises(OptionsError):
        load_options(write(text), parts=parts)
    assert {kind for kind, _, _ in parts.asked} == {"optimizer", "metric"}


def test_a_place_is_the_overrides_where_one_named_the_part(write: Write, small_text: str) -> None:
    with pytest.raises(OptionsError) as caught:
        load_options(
            write(small_text),
            overrides=["network_g:type=Nett"],
            parts=Recorder({"Nett": [(None, "no such network")]}),
        )
    assert caught.value.problems == ["--force_yml: network_g.type: no such network"]
