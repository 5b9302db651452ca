"""Training processes are killed again and again; what they leave continues to an undisturbed run's bits."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

OF_A_GAN = [
    "model_type=SRGANModel",
    "network_d={type: SRGANDiscriminator, num_feat: 4, input_size: 16}",
    "train:optim_d={type: Adam, lr: 1e-3}",
    "train:gan_opt={type: GANLoss, gan_type: vanilla, loss_weight: 1e-2}",
    "train:adaptive_d=0.02",
    "train:r1_reg_weight=1",
    "train:net_d_reg_every=3",
    "train:ema_decay_d=0.9",
]
OF_SHARDS = [
    "datasets:train:dataroot_gt=shard-{0..1}.tar",
    "datasets:train:io_backend={type: webdataset}",
    "datasets:train:cache_mib=0",  # so that every crop is read from its shard
]
OPTIONS = {"SRModel": ["train:total_iter=40"], "SRGANModel": OF_A_GAN, "SRModel of shards": OF_SHARDS}


def kill(processes, when: Callable[[], bool]) -> bool:
    """SIGKILL all processes at that moment; return whether one died of it, or before."""
    while not when() and any(process.is_alive() for process in processes):
        time.sleep(0.001)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    return any(process.exitcode < 0 for process in processes)


def newest_in(metrics: Path) -> int:
    """The iteration of the newest whole line of figures."""
    try:
        lines = metrics.read_text().split("\n")[:-1]
    except FileNotFoundError:  # not yet there, or a run without a state to continue from was just archived
        return 0
    return int(lines[-1].split(",")[0]) if len(lines) > 1 else 0


def random_moment(rng: np.random.Generator, metrics: Path) -> Callable[[], bool]:
    """A random time after some more figures were written, or after the process has begun."""
    iteration = newest_in(metrics) + 2 * int(rng.integers(0, 3))
    wait_s, since = rng.uniform(0, 0.2), []

    def come() -> bool:
        if not since and newest_in(metrics) >= iteration:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] > wait_s

    return come


def files_of(work: Path) -> dict[str, bytes]:
    """Every file of a run but its logs, whose lines have times."""
    run = work / "experiments/run"
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.suffix != ".log"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "workers", "ranks", "kills"),
    [
        ("SRGANModel", 2, 1, 20),
        ("SRModel", 0, 1, 20),
        ("SRGANModel", 0, 2, 3),
        ("SRModel", 2, 2, 3),
        ("SRModel of shards", 0, 1, 3),
        ("SRModel of shards", 2, 1, 3),
    ],
)
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    start, finish, tmp_path, model, workers, ranks, kills
):
    """States, weights, metrics.csv and images; every third death is in the middle of writing a file."""
    options = [*OPTIONS[model], f"datasets:train:num_worker_per_gpu={workers}"]
    finish("whole", options, ranks=ranks)
    expected = files_of(tmp_path / "whole")
    assert {"metrics.csv", "training_states/40.state", "models/net_g_latest.pth"} < expected.keys()

    rng = np.random.default_rng()
    killed = number = 0
    while killed < kills:
        work = tmp_path / f"broken{number}"
        if killed % 3 == 2:
            processes = start(work.name, options, ranks=ranks, die_at_write=int(rng.integers(2, 9)))
            died = kill(processes, lambda ranks=processes: not all(rank.is_alive() for rank in ranks))
        else:
            processes = start(work.name, options, ranks=ranks)
            died = kill(processes, random_moment(rng, work / "experiments/run/metrics.csv"))
        killed += died
        if not died:  # it was quicker: its end is compared, and another run suffers
            assert files_of(work) == expected
            number += 1
    finish(work.name, options, ranks=ranks)
    assert files_of(work) == expected


@pytest.mark.slow
def test_shards_train_as_the_folder_of_their_images_does(finish, tmp_path):
    for name, options in (("folder", []), ("shards", OF_SHARDS)):
        finish(name, options)
    folder, shards = (files_of(tmp_path / name) for name in ("folder", "shards"))
    assert folder.pop("run.yml") != shards.pop("run.yml")
    assert folder == shards


@pytest.fixture
def object_store(workplace, tmp_path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Options and environment of a run whose shards are in a local store of S3's protocol."""
    s3fs = pytest.importorskip("s3fs", reason="needs srcx[remote]")
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    credentials = {
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    environment = {
        **credentials,
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fs = s3fs.S3FileSystem(skip_instance_cache=True)  # another test had another store
        fs.makedirs("corpus", exist_ok=True)  # moto keeps its buckets for all servers of a process
        for number in range(2):
            fs.put(str(workplace("whole") / f"shard-{number}.tar"), f"corpus/shard-{number}.tar")
    options = [
        "datasets:train:dataroot_gt=s3://corpus/shard-{0..1}.tar",
        "datasets:train:io_backend={type: webdataset, remote: true}",
        "datasets:train:cache_mib=0",
    ]
    yield options, environment
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("copies", [True, False])
def test_a_run_of_remote_shards_is_killed_and_ends_with_the_same_bits(
    start, finish, object_store, tmp_path, copies
):
    """Weights, states and figures are also those of the same shards on a disk."""
    options, environment = object_store
    finish("whole", options, environment=environment)
    expected = files_of(tmp_path / "whole")
    finish("disk", OF_SHARDS)
    on_disk = files_of(tmp_path / "disk")
    assert {name for name in expected if expected[name] != on_disk[name]} == {"run.yml"}
    rng = np.random.default_rng()
    for _ in range(3):
        if not copies:  # as where the disk is full: images are then fetched one by one
            for copy in tmp_path.glob("srcx/shards/*/shard.tar"):
                copy.unlink()
        processes = start("broken", options, environment=environment)
        kill(processes, random_moment(rng, tmp_path / "broken/experiments/run/metrics.csv"))
    finish("broken", options, environment=environment)
    assert files_of(tmp_path / "broken") == expected
    assert len(list(tmp_path.glob("srcx/shards/*/index.json"))) == 2
    assert bool(list(tmp_path.glob("srcx/shards/*/shard.tar"))) == copies
