"""Importing does nothing but define: no BasicSR, and no torch for what the command line needs to start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "srcx"


def modules() -> list[str]:
    """The name of every module of srcx."""
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(name for name in names if not name.endswith("__main__"))


def loaded_after_importing(names: list[str]) -> set[str]:
    """The modules a fresh Python has loaded after importing `names`."""
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    command = [sys.executable, "-c", code, json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stderr == "", done.stderr
    (line,) = done.stdout.splitlines()  # and importing prints nothing
    return set(json.loads(line))


def test_importing_every_module_leaves_basicsr_out():
    loaded = loaded_after_importing(modules())
    assert set(modules()) <= loaded
    assert {name for name in loaded if name.split(".")[0] == "basicsr"} == set()


UPSCALING = ["srcx.inference.load", "srcx.inference.folder", "srcx.inference.exported", "srcx.distributed"]


@pytest.mark.parametrize(
    "names", [["srcx"], ["srcx.cli"], ["srcx.errors", "srcx.atomic"], UPSCALING], ids=str
)
def test_what_the_command_line_starts_with_and_what_upscales_leave_torch_out(names):
    loaded = loaded_after_importing(names)
    assert not {"torch", "scipy", "ssl"} & loaded


LISTS = ["models", "data list", "weights list"]


@pytest.mark.parametrize("words", LISTS)
def test_what_only_lists_names_leaves_torch_out(words, tmp_path):
    code = (
        "import sys; from srcx.cli import main; code = main(sys.argv[1:])\n"
        "print('torch' in sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    *lines, torch_is_loaded = done.stdout.splitlines()
    assert lines
    assert torch_is_loaded == "False"


def test_inference_leaves_out_scipy_and_the_packages_of_backends():
    """scipy takes longer to import than a small image to upscale."""
    from srcx.inference.backends import BACKENDS

    heavy = {package for backend in BACKENDS if backend.extra for package in backend.packages}
    assert not (heavy | {"scipy", "gradio", "nncf"}) & loaded_after_importing(
        ["srcx.inference", "srcx.inference.automatic", "srcx.web"]
    )
