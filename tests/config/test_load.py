import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srcx.config import load_options
from srcx.config.document import KeyPath
from srcx.config.yaml_io import read_value, to_text
from srcx.errors import OptionsError

Write = Callable[[str], Path]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(
        [-1, 0, 1, 2, 3.0, 1e300, "y", "lmdb", "MultiStepLR", "SRGANModel", "auto", "~", "{}", "a/b"]
    )
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "lr", "name", "val", "x_opt", "losses", "a"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)


def paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    if not isinstance(value, dict):
        return [path]
    return [path, *(found for key, inner in value.items() for found in paths(inner, (*path, key)))]


def problems_of(path: Path) -> list[str]:
    """What is said about a file; nothing if it loads and its resolved text loads to the same."""
    try:
        options = load_options(path)
    except OptionsError as error:
        return error.problems or ["an error without a problem"]
    again = path.with_name("again.yml")
    again.write_text(options.to_yaml(), encoding="utf-8")
    assert load_options(again) == options
    return []


def every_line_has_a_place(problems: list[str]) -> bool:
    return all(line.startswith("x.yml:") and "\n" not in line for line in problems)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_is_taken_or_refused_in_one_way(
    write: Write, small_text: str, data: st.DataObject
) -> None:
    content = read_value(small_text.replace("SRModel", data.draw(st.sampled_from(["SRModel", "SRGANModel"]))))
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(paths(content)[1:]))
        section = content
        for key in parents:
            section = section[key]
        section[data.draw(st.just(last) | st.sampled_from(["x_opt", "val_1", "zz", "grad_clip"]))] = (
            data.draw(VALUES)
        )
    assert every_line_has_a_place(problems_of(write(to_text(content))))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, 400),
    length=st.integers(0, 40),
    garbage=st.text("ab:{}[]&*!-'\"#,~ \n\t%", max_size=10),
)
def test_any_damage_to_the_text_is_taken_or_refused_in_one_way(
    write: Write, small_text: str, start: int, length: int, garbage: str
) -> None:
    assert every_line_has_a_place(
        problems_of(write(small_text[:start] + garbage + small_text[start + length :]))
    )


def test_takes_a_path_as_text(write: Write, small_text: str) -> None:
    assert load_options(str(write(small_text))).name == "tiny"


def test_the_mistakes_of_file_parts_and_command_line_come_together(write: Write, small_text: str) -> None:
    class NoNetworks:
        def problems(self, kind: str, type_name: str, args: object) -> list[tuple[str | None, str]]:
            return [(None, "no such network")] if kind == "network" else []

    with pytest.raises(OptionsError) as caught:
        load_options(
            write(small_text.replace("gt_size: 32", "gt_size: 34\n    flip: true")),
            overrides=["scale:a=1", "train:ema_decay=2"],
            parts=NoNetworks(),
        )
    assert [line.split(": ")[:2] for line in caught.value.problems] == [
        ["x.yml:10", "datasets.train.gt_size"],
        ["x.yml:11", "datasets.train.flip"],
        ["x.yml:12", "network_g.type"],
        ["--force_yml", "train.ema_decay"],
        ["--force_yml", "scale:a=1"],
    ]


def test_reading_options_needs_no_torch() -> None:
    script = "import sys, srcx.config; print([name for name in ('torch', 'basicsr') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
