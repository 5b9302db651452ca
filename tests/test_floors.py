"""The house has floors: imports point down, siblings do not know each other, one folder knows BasicSR."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1] / "srcx"

FLOORS = [  # ground first; a file may import from lower floors and from its own folder
    {"errors", "__version__"},
    {
        "atomic",
        "host_memory",
        "machine",
        "pace",
        "padding",
        "processor",
        "random_state",
        "ranks",
        "stopping",
        "team",
    },
    {"net", "run_lock"},
    {"imaging", "config", "run_log", "weights"},
    {"features"},
    {"archs"},
    {"losses", "metrics", "data"},
    {"datasets", "models", "transfer", "validation"},
    {"catalog", "run_folder"},
    {"bridge"},
    {"build"},
    {"inference", "report"},
    {"benchmark"},
    {"trial"},
    {"check"},
    {"train"},
    {"web"},
    {"cli"},
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
FACE = ("__init__.py", "__main__.py")  # srcx's own: they open whatever the user asks for
FILES = sorted(path for path in HOUSE.rglob("*.py") if path.parent != HOUSE or path.name not in FACE)


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from srcx import build` names a module too
            below = [f"srcx.{alias.name}" for alias in node.names] if node.module == "srcx" else [node.module]
            yield from (name for name in below if name)


def room(path: Path) -> str:
    """The folder or file right under srcx/ that holds `path`."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(HOUSE)) for path in paths]


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} - FLOOR.keys() == set()


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_imports_point_down(path):
    here = room(path)
    for name in imports(path):
        house, there, *_ = *name.split("."), "__version__"  # `import srcx` is for its version
        if house == "srcx" and there != here:
            assert FLOOR[there] < FLOOR[here], (
                f"{path} (floor {FLOOR[here]}) imports {name} (floor {FLOOR[there]})"
            )


def test_only_the_bridge_imports_basicsr():
    strangers = [
        path
        for path in FILES
        if room(path) != "bridge" and any(name.split(".")[0] == "basicsr" for name in imports(path))
    ]
    assert names(strangers) == []


def test_only_the_bridge_names_a_module_of_basicsr():
    """No string outside the bridge can be handed to import_module to get BasicSR."""
    strangers = []
    for path in FILES:
        strings = [
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        if room(path) != "bridge" and any(
            text == "basicsr" or text.startswith("basicsr.") for text in strings
        ):
            strangers.append(path)
    assert names(strangers) == []
