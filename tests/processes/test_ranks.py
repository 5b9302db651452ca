"""Several processes train as one would, and name the rank that is lost."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from srcx.distributed import name_lost_ranks
from srcx.errors import TrainingError
from srcx.training.checkpoints import check_same_start

GAN_WITHOUT_BATCH_STATISTICS = [
    "model_type=SRGANModel",
    "network_d={type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 4}",
    "train:optim_d={type: Adam, lr: 1e-4}",
    "train:gan_opt={type: GANLoss, gan_type: vanilla, loss_weight: 1e-2}",
]
STABILISED = [
    *GAN_WITHOUT_BATCH_STATISTICS,
    "train:adaptive_d=0.02",
    "train:r1_reg_weight=1e-2",
    "train:net_d_reg_every=3",
    "train:ema_decay_d=0.9",
]
SAME = ["train:total_iter=50", "train:optim_g={type: Adam, lr: 1e-4}", "val:val_freq=50"]


ONE_CROP = "datasets:train:batch_size_per_gpu=1"
RANKS = {"two ranks": (2, []), "four ranks": (4, [ONE_CROP])}
OF_SUMS = ["train:pixel_opt={type: L1Loss, reduction: sum, loss_weight: 3e-4}"]
PARTS = {"two parts": (1, ["train:accumulate=2"]), "ranks of parts": (2, [ONE_CROP, "train:accumulate=2"])}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "others"),
    [
        ([], RANKS | PARTS),
        (GAN_WITHOUT_BATCH_STATISTICS, RANKS),
        (STABILISED, RANKS),
        (OF_SUMS, {"ranks of parts": PARTS["ranks of parts"]}),
    ],
    ids=["SRModel", "SRGANModel", "SRGANModel stabilised", "sums"],
)
def test_ranks_or_parts_end_where_one_whole_batch_ends(finish, tmp_path, more, others):
    """Weights and logged losses after 50 iterations, in fp32 within 1e-5."""
    finish("whole", [*SAME, *more, "datasets:train:batch_size_per_gpu=4"])
    for other, (ranks, options) in others.items():
        finish(other, [*SAME, *more, *options], ranks=ranks)
        assert farthest(weights(tmp_path / "whole"), weights(tmp_path / other)) < 1e-5, other
        assert farthest(losses(tmp_path / "whole"), losses(tmp_path / other)) < 1e-5, other


def weights(work: Path) -> dict[str, torch.Tensor]:
    state = torch.load(work / "experiments/run/models/net_g_latest.pth", weights_only=True)
    return {f"{key} {name}": value for key, one in state.items() for name, value in one.items()}


def losses(work: Path) -> dict[str, torch.Tensor]:
    """What was logged in training, by iteration and name."""
    rows = list(csv.reader((work / "experiments/run/metrics.csv").read_text().splitlines()))[1:]
    return {f"{row[0]} {row[2]}": torch.tensor(float(row[3])) for row in rows if row[1] == "train"}


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.mark.slow
def test_a_rank_that_dies_is_named_and_torchrun_starts_again_from_the_checkpoint(finish, workplace):
    """Under torchrun itself: rank 1 is killed, rank 0 says so, and the restarted run has the same end."""
    options = ["train:total_iter=60", "val:val_freq=60"]
    work = workplace("work")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [
        "--max_restarts",
        "1",
        "-m",
        "srcx",
        "train",
        "-opt",
        "run.yml",
        "--auto_resume",
        "--force_yml",
        *options,
    ]
    # torch 2.14 restarts into the addresses of the dead unless each start has a store of its own.
    environment = os.environ | {
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with subprocess.Popen(command, cwd=work, env=environment, stderr=subprocess.PIPE, text=True) as torchrun:
        while not list(work.glob("experiments/run/training_states/[0-9]*.state")) and torchrun.poll() is None:
            time.sleep(0.01)
        kill_rank(torchrun.pid, 1)
        said = torchrun.stderr.read()
    assert torchrun.returncode == 0, said
    (sentence,) = [line for line in said.splitlines() if "was lost" in line]
    assert sentence.startswith("rank 1 on ")
    assert "with --auto_resume continues from " in sentence
    assert f"training_states/{sentence.split()[-1]}: going on after iteration" in said
    finish("whole", options, ranks=2)
    assert farthest(weights(work), weights(workplace("whole"))) == 0


def kill_rank(torchrun: int, rank: int) -> None:
    for process in psutil.Process(torchrun).children(recursive=True):
        with suppress(psutil.Error):
            if process.environ().get("RANK") == str(rank):
                os.kill(process.pid, signal.SIGKILL)


def test_ranks_that_found_different_states_are_named(monkeypatch):
    monkeypatch.setattr("srcx.training.checkpoints.gather", lambda iteration: [iteration, 0])
    with pytest.raises(TrainingError, match=r"\(rank 0: 30, rank 1: 0\); put experiments/ on a disk"):
        check_same_start(30)


def test_errors_of_a_run_in_one_process_pass_unchanged():
    check_same_start(3)
    with pytest.raises(RuntimeError, match="out of memory"), name_lost_ranks(lambda: ""):
        raise RuntimeError("out of memory")
