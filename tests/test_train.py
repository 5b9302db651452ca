"""Whole runs of the option files under options/, on pictures made here."""

import csv
import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from srcx import build
from srcx.build import load_training
from srcx.check import describe, write_contact_sheet
from srcx.errors import CheckpointError, DataError, Interrupted, OptionsError, TrainingError, UsageError
from srcx.imaging import read_picture, to_image, to_rgb
from srcx.report.contact_sheet import contact_sheet
from srcx.train import run_file
from srcx.weights.checkpoint import load_state

REPOSITORY = Path(__file__).resolve().parents[1]
SMOKE = REPOSITORY / "options/smoke/smoke_x4.yml"


@pytest.fixture
def workplace(tmp_path, monkeypatch, rng):
    """A current folder with a few pictures in datasets/smoke, as the smoke file wants them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets/smoke"
    folder.mkdir(parents=True)
    for number in range(3):
        noise = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        smooth = cv2.resize(noise, (96, 80), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), smooth)
    return tmp_path


def rows(run="experiments/smoke_x4"):
    return list(csv.reader((Path(run) / "metrics.csv").read_text().splitlines()))[1:]


def value_of(rows, iteration, metric):
    return next(float(row[3]) for row in rows if row[0] == str(iteration) and row[2] == metric)


def test_twenty_iterations_lower_the_loss_and_leave_what_basicsr_would(workplace):
    run_file(SMOKE, overrides=["logger:print_freq=5"])
    run = Path("experiments/smoke_x4")
    assert value_of(rows(), 20, "pixel") < value_of(rows(), 5, "pixel")
    weights = torch.load(run / "models/net_g_latest.pth", weights_only=True)
    assert set(weights) == {"params", "params_ema"}
    assert (run / "models/net_d_20.pth").exists()
    assert load_training(run / "smoke_x4.yml") == load_training(SMOKE, ["logger:print_freq=5"])
    assert "iteration 20 of 20" in next((run / "log").glob("*.log")).read_text()


def test_a_new_run_of_the_same_name_sets_the_old_one_aside(workplace):
    for _ in range(2):
        run_file(SMOKE, overrides=["train:total_iter=2"])
    (aside,) = Path("experiments").glob("smoke_x4_archived_*")
    assert (aside / "models/net_g_latest.pth").exists()


def test_check_tells_what_the_run_would_be_and_writes_nothing(workplace):
    before = sorted(workplace.rglob("*"))
    text = describe(load_training(SMOKE))
    assert re.search(r"net_g: MSRResNet, [\d,]+ parameters", text)
    assert "train: 3 pictures" in text
    assert "s an iteration" in text
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize(
    ("overrides", "mean", "std"),
    [([], 0, 1), (["datasets:train:color=y", "datasets:train:mean=[0.5]", "datasets:train:std=[2]"], 0.5, 2)],
)
def test_the_sheet_of_a_check_shows_the_crops_the_run_begins_with(workplace, overrides, mean, std):
    options = load_training(SMOKE, [*overrides, "datasets:train:dataset_enlarge_ratio=3"])
    path = write_contact_sheet(options)
    assert path == Path("experiments/smoke_x4_check.png")
    assert [one.name for one in Path("experiments").iterdir()] == ["smoke_x4_check.png"]
    batches = build.train_batches(options, build.training_set(options), build.accelerator(options))
    crops = [
        tuple(to_rgb(to_image(batch[side][place] * std + mean)) for side in ("lq", "gt"))
        for batch in itertools.islice(batches, 3)
        for place in range(4)
    ]
    assert_array_equal(read_picture(path), contact_sheet(crops))


@pytest.mark.parametrize(
    ("overrides", "error", "named"),
    [
        (["datasets:train:dataroot_gt=nowhere"], DataError, "nowhere"),
        (["datasets:train:gt_size=400", "network_d:input_size=400"], DataError, "gt_size 400"),
        (["path:pretrain_network_g=none.pth"], CheckpointError, "none.pth"),
        (["path:resume_state=none.state"], CheckpointError, "none.state"),
        (["network_g:num_blok=3"], OptionsError, "num_block"),
        (["train:precision=fp16"], UsageError, "on the CPU take bf16"),
    ],
)
def test_a_run_that_cannot_start_says_why_and_leaves_no_run_folder(workplace, overrides, error, named):
    with pytest.raises(error, match=named):
        run_file(SMOKE, overrides=overrides)
    assert not Path("experiments/smoke_x4").exists()


def test_a_test_file_is_not_for_training(workplace):
    with pytest.raises(OptionsError, match="nothing to train"):
        load_training(REPOSITORY / "options/test/srresnet_x4.yml")


def test_more_gpus_than_processes_is_told_how_to_start(workplace, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(UsageError, match="torchrun --nproc_per_node 4"):
        run_file(SMOKE, overrides=["num_gpu=4"])


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(workplace):
    with pytest.raises(TrainingError, match=r"iteration \d+: the loss is not finite"):
        run_file(SMOKE, overrides=["train:optim_g:lr=1e30", "logger:save_checkpoint_freq=1"])
    assert list(Path("experiments/smoke_x4/training_states").glob("*.state"))


def test_training_starts_from_given_weights(workplace):
    run_file(SMOKE, overrides=["name=first", "train:total_iter=2"])
    first = Path("experiments/first/models/net_g_latest.pth")
    run_file(
        SMOKE,
        overrides=[
            "name=second",
            "train:total_iter=1",
            "train:optim_g:lr=1e-30",
            f"path:pretrain_network_g={first}",
        ],
    )
    start, end = (
        load_state(first, key="params"),
        load_state(Path("experiments/second/models/net_g_1.pth"), key="params"),
    )
    assert all(torch.equal(value, end[name]) for name, value in start.items())


def test_ctrl_c_saves_and_says_how_to_go_on(workplace):
    command = [sys.executable, "-m", "srcx", "train", "-opt", str(SMOKE)]
    command += ["--force_yml", "train:total_iter=100000"]
    with subprocess.Popen([*command, "logger:print_freq=1"], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("iteration 3 of"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == Interrupted.exit_code
    assert "--auto_resume goes on from there" in rest
    assert "Traceback" not in rest
    assert len(list(Path("experiments/smoke_x4/training_states").glob("*.state"))) == 1
