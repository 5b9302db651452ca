"""BasicSR's and Real-ESRGAN's eleven option files of the Real-ESRGAN family check and train as they are.

Crops, batches and networks alone are made small, to save time.
"""

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from srcx.features.extractor import FeatureExtractor
from srcx.imaging.io import write_image
from srcx.imaging.resize import imresize
from srcx.training import build
from srcx.training.check import describe
from srcx.training.run import run_file
from srcx.weights.checkpoint import load_state, save_state

CONFIG = Path(__file__).parent / "config"
FILES = sorted(
    [*CONFIG.glob("basicsr/train_real*.yml"), *CONFIG.glob("*/*LDL*.yml"), *CONFIG.glob("real_esrgan/*.yml")]
)
SMALL = [
    "datasets:train:batch_size_per_gpu=2",
    "network_g:num_feat=8",
    "network_g:num_block=1",
    "network_g:num_grow_ch=4",
]
THREE = ["train:total_iter=3", "logger:print_freq=1", "val:val_freq=3"]

pytestmark = pytest.mark.skipif(find_spec("basicsr") is None, reason="RRDBNet is BasicSR's")


@pytest.fixture(scope="module")
def vgg19():
    return FeatureExtractor.random("vgg19")


@pytest.fixture(params=FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def file(request):
    return request.param


@pytest.fixture
def small(file, tmp_path, monkeypatch, rng, vgg19):
    """A current folder with what the file names; gives the overrides that make it small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("srcx.losses.perceptual.extractor", lambda *args, **kwargs: vgg19)
    text = file.read_text()
    overrides = [*SMALL, "datasets:train:gt_size=16"]
    overrides += ["gt_size=16"] if "\ngt_size" in text else []
    overrides += ["network_d:num_feat=4"] if "network_d" in text else []

    root, listed, pairs = Path("datasets/DF2K"), [], []
    for number in range(3):
        gt = imresize(rng.integers(0, 256, (5, 6, 3), np.uint8), size=(80, 96))
        for name, image in (
            (f"HR_sub/{number}.png", gt),
            (f"LR_sub/{number}.png", imresize(gt, scale=1 / 4)),
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(root / name, image)
        listed.append(f"HR_sub/{number}.png\n")
        pairs.append(f"HR_sub/{number}.png, LR_sub/{number}.png\n")
    (root / "meta_info").mkdir()
    (root / "meta_info/meta_info_DF2Kmultiscale+OST_sub.txt").write_text("".join(listed))
    (root / "meta_info/meta_info_DIV2K_sub_pair.txt").write_text("".join(pairs))
    Path("datasets/RealWorld38/LR").mkdir(parents=True)
    write_image(Path("datasets/RealWorld38/LR/a.png"), rng.integers(0, 256, (12, 10, 3), np.uint8))

    options = build.load_options(file, overrides)
    for part, path, key in (
        (options.network_g, options.path.pretrain_network_g, options.path.param_key_g),
        (options.network_d, options.path.pretrain_network_d, options.path.param_key_d),
    ):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_state(Path(path), {key: build.network(part).state_dict()})
    return overrides


def test_there_are_eleven():
    assert len(FILES) == 11


def test_checks_and_trains(file, small):
    options = build.load_training(file, small)
    assert "MiB for the step" in describe(options)
    run_file(file, overrides=[*small, *THREE])
    run = Path("experiments") / options.name
    rows = list(csv.reader((run / "metrics.csv").read_text().splitlines()))[1:]
    terms = {row[2] for row in rows if row[0] == "3" and row[1] == "train"}
    assert terms >= {name for name in options.train.losses}
    weights = torch.load(run / "models/net_g_latest.pth", weights_only=True)
    begun = load_state(options.path.pretrain_network_g, key="params_ema")
    moved = [(weights["params"][name] - begun[name]).abs().max() for name in begun]
    assert 0 < max(moved) < 0.01
    assert (run / "models/net_d_3.pth").exists() == (options.network_d is not None)
