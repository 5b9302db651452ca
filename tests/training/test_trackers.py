"""TensorBoard and Weights & Biases get figures and images; nothing leaves the machine here."""

import re
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from srcx.config.options import WandbOptions
from srcx.data import WholePair
from srcx.errors import OutputError, UsageError
from srcx.evaluation.report.contact_sheet import SEAM_PX, strip
from srcx.imaging import read_image, to_image
from srcx.training.run import run_file
from srcx.training.trackers import WeightsAndBiases

SMOKE = Path(__file__).resolve().parents[2] / "options/smoke/smoke_x4.yml"
SHORT = ["train:total_iter=4", "val:val_freq=2", "logger:save_checkpoint_freq=2", "logger:print_freq=1"]


def test_a_strip_has_lq_sr_and_gt_from_left_to_right():
    pair = WholePair("a", torch.rand(1, 3, 2, 3), torch.rand(1, 3, 4, 6))
    sr = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    image = strip(pair, sr)
    step = 6 + SEAM_PX
    assert image.shape == (4, 18 + 2 * SEAM_PX, 3)
    assert_array_equal(image[:, :6], to_image(pair.lq).repeat(2, 0).repeat(2, 1))
    assert_array_equal(image[:, step : step + 6], sr)
    assert_array_equal(image[:, 2 * step :], to_image(pair.gt))
    assert strip(WholePair("a", pair.lq, None), sr).shape == (4, 12 + SEAM_PX, 3)


def test_a_strip_of_large_images_is_their_middle_and_of_grey_ones_rgb():
    pair = WholePair("a", torch.rand(1, 1, 10, 300), torch.rand(1, 1, 20, 600))
    sr = to_image(pair.gt)
    image = strip(pair, sr)
    assert image.shape == (20, 3 * 512 + 2 * SEAM_PX, 3)
    assert_array_equal(image[:, 512 + SEAM_PX : 2 * 512 + SEAM_PX, 1], sr[:, 44:556])


def test_tensorboard_gets_the_first_images_of_each_validation_and_gradient_norms(workplace):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = ["logger:use_tb_logger=true", "logger:val_images=2", "logger:grad_norms=true"]
    run_file(SMOKE, overrides=[*SHORT, *more, "train:total_iter=2"])
    run_file(SMOKE, overrides=[*SHORT, *more], auto_resume=True)
    events = EventAccumulator("experiments/smoke_x4/log", size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert events.Tags()["images"] == ["val/0", "val/1"]
    assert [(one.step, one.width, one.height) for one in events.Images("val/1")] == [
        (step, 3 * 96 + 2 * SEAM_PX, 80) for step in (2, 4)
    ]
    assert [one.step for one in events.Scalars("val/psnr")] == [0, 2, 4]
    norms = {name: [one.value for one in events.Scalars(f"train/grad_norm_{name}")] for name in "gd"}
    assert all(len(values) == 4 and min(values) > 0 for values in norms.values())


class FakeRun(SimpleNamespace):
    def __init__(self):
        super().__init__(url="https://example/run", dir="x", logged=[], finished=False)

    def define_metric(self, name, **options):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def fake(monkeypatch):
    """A package wandb that records how it is called."""
    calls, runs = [], []

    def init(**options):
        calls.append(options)
        runs.append(FakeRun())
        return runs[-1]

    module = SimpleNamespace(
        init=init, Error=RuntimeError, Image=lambda image: image.shape, Settings=SimpleNamespace,
        __spec__=object(), calls=calls, runs=runs,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


WANDB = ["logger:wandb:project=sr", "logger:val_images=1"]


def test_a_resumed_training_continues_its_run_of_wandb(workplace, fake):
    run_file(SMOKE, overrides=[*SHORT, *WANDB, "train:total_iter=2"])
    run_file(SMOKE, overrides=[*SHORT, *WANDB], auto_resume=True)
    first, second = fake.calls
    assert (first["project"], first["name"], first["resume"]) == ("sr", "smoke_x4", "allow")
    assert first["config"]["train"]["optim_g"]["lr"] == 1e-3
    assert re.fullmatch("[0-9a-f]{8}", first["id"])
    assert second["id"] == first["id"]
    logged = [values for run in fake.runs for values in run.logged]
    assert [values["iteration"] for values in logged if "train/pixel" in values] == [1, 2, 3, 4]
    assert [values["iteration"] for values in logged if "val/0" in values] == [2, 4]
    assert all(run.finished for run in fake.runs)
    run_file(SMOKE, overrides=[*SHORT, *WANDB, "logger:wandb:resume_id=abc", "train:total_iter=1"])
    assert fake.calls[-1]["id"] == "abc"


def test_a_new_training_of_the_name_begins_a_new_run_of_wandb(workplace, fake):
    for _ in range(2):
        run_file(SMOKE, overrides=[*SHORT, *WANDB, "train:total_iter=1"])
    assert fake.calls[0]["id"] != fake.calls[1]["id"]


def test_wandb_that_cannot_begin_is_one_sentence_with_the_fix(tmp_path, fake, monkeypatch):
    def refuse(**_):
        raise fake.Error("api_key not configured\n")

    monkeypatch.setattr(fake, "init", refuse)
    with pytest.raises(
        OutputError, match=r"^logger.wandb: api_key not configured; run `wandb login`, or set W"
    ):
        WeightsAndBiases(tmp_path, options=WandbOptions(project="p"), name="n", settings={})


def test_a_missing_wandb_is_named_with_its_extra_before_an_earlier_run_is_archived(workplace, monkeypatch):
    monkeypatch.setattr("srcx.training.trackers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'srcx\[wandb\]'"):
        run_file(SMOKE, overrides=WANDB)
    assert not Path("experiments").exists()


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs wandb, an extra")
def test_offline_wandb_keeps_figures_and_images_in_the_run_folder_and_sends_nothing(workplace, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    run_file(SMOKE, overrides=[*SHORT, *WANDB, "train:total_iter=2"])
    (folder,) = Path("experiments/smoke_x4/log/wandb").glob("offline-run-*")
    (image,) = folder.glob("files/media/images/val/*.png")
    assert read_image(image).shape == (80, 3 * 96 + 2 * SEAM_PX, 3)
    (records,) = folder.glob("*.wandb")
    names = (b"train/pixel", b"val/psnr", b"smoke_x4")
    for _ in range(100):  # wandb's own process may write the file a little after the end of the run
        if not (missing := [name for name in names if name not in records.read_bytes()]):
            break
        time.sleep(0.1)
    assert missing == []
    assert not list(workplace.glob("wandb"))
