"""What is read of signatures in source files is what an import finds."""

import inspect
import itertools
import sys

import pytest

from srcx.basicsr_compat.parts import OWN
from srcx.config.arguments import for_option_files
from srcx.registry import known_arguments
from srcx.signatures import Source, UnreadableError, entries, look_up, named, signature

PARTS = [(kind, name) for kind, table in OWN.items() for name in table]
NUMBERS = itertools.count()
NOT_FOR_FILES = {"features", "degradation"}
"""Arguments whose annotations are classes."""


def source_of(kind, name):
    return entries(entries(look_up("srcx.basicsr_compat.parts", "OWN"))[kind])[name]


def test_every_part_is_found():
    tables = entries(look_up("srcx.basicsr_compat.parts", "OWN"))
    assert {kind: list(entries(table)) for kind, table in tables.items()} == {
        kind: list(table) for kind, table in OWN.items()
    }


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_the_signature_of_every_part_is_the_imported_one(kind, name):
    imported = known_arguments(OWN[kind][name], eval_str=kind != "optimizer")
    read = for_option_files(signature(source_of(kind, name)))
    empty = inspect.Parameter.empty
    assert {one: parameter.default is empty for one, parameter in read.items()} == {
        one: parameter.default is empty for one, parameter in imported.items()
    }
    assert named(source_of(kind, name)).node.name == OWN[kind][name].__name__
    for one in () if kind == "optimizer" else imported.keys() - NOT_FOR_FILES:
        read = signature(source_of(kind, name), annotated=[one])
        assert read.parameters[one].annotation == imported[one].annotation


def written(folder, monkeypatch, text):
    """Return the module of a package whose file has this text."""
    package = folder / f"package_of_test_{next(NUMBERS)}"  # what was read of a module stays
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import *\n")
    (package / "inner.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return package.name


def test_nothing_is_imported(tmp_path, monkeypatch):
    package = written(tmp_path, monkeypatch, "raise SystemExit\n\ndef part(size: int = 3, *, name): ...\n")
    read = signature(look_up(package, "part"), annotated=["size", "name"])
    assert list(read.parameters) == ["size", "name"]
    assert read.parameters["size"].annotation is int
    assert read.parameters["name"].default is inspect.Parameter.empty
    assert not {name for name in sys.modules if name.startswith(package)}


@pytest.mark.parametrize(
    "text",
    ["part = make()", "class part: ...", "class part(made()): ...", "if True:\n    def part(): ..."],
)
def test_says_what_it_cannot_read(tmp_path, monkeypatch, text):
    package = written(tmp_path, monkeypatch, text)
    with pytest.raises(UnreadableError, match="package_of_test"):
        signature(look_up(package, "part"))


def test_an_annotation_that_only_an_import_knows_is_not_read(tmp_path, monkeypatch):
    package = written(tmp_path, monkeypatch, "class Own: ...\ndef part(one: Own, other: str): ...")
    part = look_up(package, "part")
    assert isinstance(part, Source)
    assert signature(part, annotated=["other"]).parameters["other"].annotation is str
    with pytest.raises(UnreadableError, match="Own"):
        signature(part, annotated=["one"])


def test_a_module_without_a_source_file_is_said():
    with pytest.raises(UnreadableError, match=r"no\.such has no source file"):
        look_up("no.such", "part")
