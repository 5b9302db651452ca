"""Every loss of the registry trains as a term of an option file, accumulates gradients, and continues."""

import csv
import inspect
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from srcx import registry
from srcx.config.checks import GAN_LOSSES
from srcx.features.extractor import FeatureExtractor
from srcx.training import build
from srcx.training.options import load_training
from srcx.training.run import run_file
from srcx.weights.checkpoint import load_state, save_state

OF_IMAGES = [name for name in registry.LOSSES if name not in GAN_LOSSES]
NEEDED = {"GridLoss": "kernel_size: 9", "MSSSIMLoss": "scale_weights: [0.4, 0.6]"}
"""What a loss needs beside its defaults for crops of 64 pixels."""
OPTION_FILE = """
name: run
model_type: SRModel
scale: 4
num_gpu: 0
manual_seed: 0
datasets:
  train:
    name: train
    type: HighResolutionDataset
    dataroot_gt: images
    gt_size: 64
    batch_size_per_gpu: 1
    num_worker_per_gpu: 0
network_g: {type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4}
train:
  total_iter: 3
  accumulate: 2
  ema_decay: 0.9
  optim_g: {type: Adam, lr: 1e-3}
  scheduler: {type: MultiStepLR, milestones: [10]}
  loss_opt: {type: NAME, ARGUMENTS}
logger: {print_freq: 1, save_checkpoint_freq: 2, use_tb_logger: false}
"""


@pytest.fixture(scope="module")
def made_up_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for network in ("alexnet", "vgg16"):
        save_state(folder / f"{network}.safetensors", FeatureExtractor.random(network).state_dict())
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch, made_up_folder, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up_folder))
    (tmp_path / "images").mkdir()
    for number in range(2):
        cv2.imwrite(f"images/{number}.png", rng.integers(0, 255, (72, 80, 3), dtype=np.uint8))
    return tmp_path


def option_file(name):
    arguments = NEEDED.get(name, "")
    if "vgg_type" in inspect.signature(registry.LOSSES[name]).parameters:
        arguments = "vgg_type: alexnet, layer_weights: {conv1: 1.0}"
    path = Path("run.yml")
    path.write_text(OPTION_FILE.replace("NAME", name).replace("ARGUMENTS", arguments))
    return path


def trained():
    return load_state("experiments/run/models/net_g_latest.pth", key="params")


@pytest.mark.parametrize("name", OF_IMAGES)
def test_an_option_file_trains_with_it_for_three_iterations(workplace, name):
    run_file(option_file(name))
    with Path("experiments/run/metrics.csv").open() as file:
        values = [float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "loss"]
    assert len(values) == 3
    assert all(math.isfinite(value) for value in values)
    assert all(weight.isfinite().all() for weight in trained().values())


@pytest.mark.parametrize("name", OF_IMAGES)
def test_its_value_and_gradient_are_computed_without_waiting_for_the_device(workplace, name, host_reads):
    objective = build.losses(load_training(option_file(name)))
    sr, gt = torch.rand(2, 1, 3, 64, 64)
    sr.requires_grad_()
    objective(sr, gt, sr_ema=gt)  # a loss may prepare itself at its first call
    with host_reads as reads:
        objective(sr, gt, sr_ema=gt)[0].backward()
    assert reads.of_values == []


def test_random_directions_are_the_same_after_a_run_went_on(workplace):
    path = option_file("SlicedWassersteinLoss")
    run_file(path)
    whole = trained()
    run_file(path, overrides=["train:total_iter=2"])
    run_file(path, auto_resume=True)
    assert all(torch.equal(weight, whole[name]) for name, weight in trained().items())
