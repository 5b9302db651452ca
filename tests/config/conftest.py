"""A small training file whose lines the tests know, and fixtures that change it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from srcx.config import Options, load_options
from srcx.errors import OptionsError

TEXT = """\
name: tiny
model_type: SRModel
scale: 4
datasets:
  train:
    name: D
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
    gt_size: 32
network_g: {type: Net, width: 8}
train:
  total_iter: 100
  ema_decay: 0.9
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: MultiStepLR, milestones: [50]}
  pixel_opt: {type: L1Loss}
val:
  metrics:
    psnr: {type: calculate_psnr, crop_border: 4}
"""

Load = Callable[..., Options]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a text to x.yml in the current folder, so that places read x.yml:LINE."""
    monkeypatch.chdir(tmp_path)

    def write_text(text: str) -> Path:
        Path("x.yml").write_text(text, encoding="utf-8")
        return Path("x.yml")

    return write_text


@pytest.fixture
def small_text() -> str:
    return TEXT


@pytest.fixture
def load(write: Callable[[str], Path]) -> Load:
    """Load the small file with pieces of its text replaced: load({"old": "new"}, "key=override")."""

    def load_changed(changes: dict[str, str] | None = None, *overrides: str) -> Options:
        text = TEXT
        for old, new in (changes or {}).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return load_options(write(text), overrides=overrides)

    return load_changed


@pytest.fixture
def complaints(load: Load) -> Callable[..., list[str]]:
    """The lines of the error the changed file gives."""

    def complain(changes: dict[str, str] | None = None, *overrides: str) -> list[str]:
        with pytest.raises(OptionsError) as caught:
            load(changes, *overrides)
        return caught.value.problems

    return complain
