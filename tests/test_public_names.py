"""What users may rely on: the names of srcx and of its packages."""

import importlib
import subprocess
import sys

import pytest

import srcx

PUBLIC = {
    "srcx": ["load_model", "losses", "metrics", "upscale"],
    "srcx.evaluation": ["benchmark", "find_metrics", "score_all"],
    "srcx.cli": ["app", "main"],
    "srcx.inference": [
        "Model",
        "Upscaler",
        "bundled_models",
        "default_model",
        "find_model",
        "load_model",
        "upscale",
    ],
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_these(name):
    assert importlib.import_module(name).__all__ == PUBLIC[name]


PACKAGES = [
    "archs", "cli", "config", "data", "evaluation", "evaluation.report", "features", "imaging", "inference",
    "losses", "metrics", "web", "weights",
]  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_there(package):
    module = importlib.import_module(f"srcx.{package}")
    names = module.__all__
    assert list(names) == sorted(names, key=sort_key)
    assert [name for name in names if not hasattr(module, name)] == []


def sort_key(name: str) -> tuple[int, str]:
    """ruff's order of __all__: constants, classes, then the rest."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_names_of_srcx_come_when_they_are_asked_for():
    from srcx.inference import upscale

    assert srcx.upscale is upscale
    assert srcx.metrics.psnr.higher_is_better
    assert [name for name in dir(srcx) if not name.startswith("_")] == srcx.__all__
    with pytest.raises(AttributeError, match="module 'srcx' has no attribute 'upscael'"):
        srcx.upscael  # noqa: B018 - asking for it is the test


def test_tensorboard_starts():
    """It shows the figures of `use_tb_logger`; tb-nightly does not start beside setuptools 82 and later."""
    command = [sys.executable, "-m", "tensorboard.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
