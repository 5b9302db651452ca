"""Training processes as the command line starts them, made by fork so that there can be many."""

import multiprocessing
import runpy
import socket
import tarfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from srcx.imaging import imresize, write_image

SCRIPT = Path(__file__).with_name("train_process.py")
OPTIONS = """
name: run
model_type: SRModel
scale: 4
num_gpu: auto
datasets:
  train: {name: t, type: HighResolutionDataset, dataroot_gt: images, gt_size: 16, batch_size_per_gpu: 2,
    num_worker_per_gpu: 0}
  val: {name: v, type: HighResolutionDataset, dataroot_gt: images}
network_g: {type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4}
train:
  total_iter: 40
  ema_decay: 0.9
  optim_g: {type: Adam, lr: 1e-3}
  scheduler: {type: MultiStepLR, milestones: [20]}
  pixel_opt: {type: L1Loss}
val:
  val_freq: 7
  save_img: true
  metrics: {psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: true}}
logger: {print_freq: 2, save_checkpoint_freq: 3, keep_last: 3}
"""


@pytest.fixture(scope="session")
def server():
    """Forks of it have everything imported, so that a training process starts in no time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "srcx.training.run", "srcx.cli", "torch._dynamo"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for all threads, as torchrun has it
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # ranks of a machine without GPUs, wherever this runs
        context.Process(target=len, args=("",)).start()  # the server begins here
    return context


@pytest.fixture
def workplace(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder, if it is not there, with an option file and two images, also as two shards."""

    def make(name: str) -> Path:
        work = tmp_path / name
        if not work.exists():
            (work / "images").mkdir(parents=True)
            for number in range(2):
                coarse = np.random.default_rng(number).integers(0, 256, (8, 9, 3), np.uint8)
                write_image(work / "images" / f"{number}.png", imresize(coarse, size=(32, 36)))
                with tarfile.open(work / f"shard-{number}.tar", "w") as shard:
                    shard.add(work / "images" / f"{number}.png", f"{number}.png")
            (work / "run.yml").write_text(OPTIONS)
        return work

    return make


@pytest.fixture
def start(server, workplace) -> Callable[..., list[BaseProcess]]:
    """Starts the processes of a run in a workplace; `options` are given with --force_yml."""

    def begin(
        name: str,
        options: list[str],
        *,
        ranks: int = 1,
        die_at_write: int = 0,
        environment: dict[str, str] | None = None,
    ) -> list[BaseProcess]:
        words = ["train", "-opt", "run.yml", "--auto_resume", "--force_yml", "name=run", *options]
        given = {"folder": str(workplace(name)), "words": words, "die_at_write": die_at_write}
        together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(ranks)}
        processes = []
        for rank in range(ranks):
            its_own = {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            its_own |= environment or {}
            arguments = {"init_globals": {**given, "environment": its_own}, "run_name": "__main__"}
            processes.append(server.Process(target=runpy.run_path, args=(str(SCRIPT),), kwargs=arguments))
            processes[-1].start()
        return processes

    return begin


@pytest.fixture
def finish(start) -> Callable[..., None]:
    """Starts a run and waits until it has done everything."""

    def to_the_end(
        name: str, options: list[str], *, ranks: int = 1, environment: dict[str, str] | None = None
    ) -> None:
        processes = start(name, options, ranks=ranks, environment=environment)
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * ranks

    return to_the_end


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
