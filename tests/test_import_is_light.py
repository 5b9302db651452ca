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


MISTAKES = {
    "train:ema_decay=1.5": "train.ema_decay: expected a number below 1, got 1.5",
    "network_g:type=SRResNett": "network_g.type: unknown network 'SRResNett'; did you mean 'SRResNet'?",
    "network_d:num_fet=64": "network_d.num_fet: unknown argument; did you mean 'num_feat'?",
    "network_d:num_feat=wide": "network_d.num_feat: expected a whole number, got 'wide'",
    "train:total_iter=many": "train.total_iter: expected a whole number, got 'many'",
    "train:totl_iter=5": "train.totl_iter: unknown option; did you mean 'total_iter'?",
    "train:edge_opt:type=L1Los": "train.edge_opt.type: unknown loss 'L1Los'; did you mean 'L1Loss'?",
    "train:pixel_opt:reductoin=sum": "train.pixel_opt.reductoin: unknown argument; did you mean 'reduction'?",
    "train:optim_d:type=Adamm": "train.optim_d.type: unknown optimizer 'Adamm'; did you mean 'Adam'?",
    "train:optim_g:epsilon=1": "train.optim_g.epsilon: unknown argument; Adam takes lr, betas, eps, ",
    "val:metrics:psnr:crop=4": "val.metrics.psnr.crop: unknown argument; calculate_psnr takes crop_border, ",
}


def refused(*words: str) -> str:
    """What `srcx` with wrong options prints to stderr; torch is not imported for that."""
    code = (
        "import sys; from srcx.cli import main; code = main(sys.argv[1:])\n"
        "print('torch' in sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.returncode != 0
    assert done.stdout == "False\n"
    return done.stderr


SMOKE = "options/smoke/smoke_x4.yml"


def test_all_that_is_wrong_with_options_is_said_before_torch_is_imported():
    said = refused("train", "-opt", SMOKE, "--force_yml", *MISTAKES)
    assert [text for text in MISTAKES.values() if text not in said] == []
    assert len(said.splitlines()) == len(MISTAKES)


@pytest.mark.parametrize("flags", [[], ["--check"], ["--profile"]], ids=str)
def test_a_missing_folder_is_said_before_torch_is_imported(flags):
    said = refused("train", "-opt", SMOKE, *flags, "--force_yml", "datasets:train:dataroot_gt=nowhere")
    assert "datasets.train.dataroot_gt: nowhere: this file or folder does not exist; check the path" in said


def test_what_is_wrong_with_a_test_file_is_said_before_torch_is_imported():
    assert "no `datasets.test`" in refused("test", "-opt", SMOKE)
