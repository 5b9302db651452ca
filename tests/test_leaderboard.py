"""The leaderboard reads minutes and PSNRs from the files of runs."""

import runpy
from pathlib import Path

import pytest

from srcx.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
BOARD = runpy.run_path(str(ROOT / "scripts/pages/leaderboard.py"))


def run_folder(root, name, logs, psnrs, *, pretrained="~"):
    run = root / name
    (run / "log").mkdir(parents=True)
    for number, lines in enumerate(logs):
        text = "".join(f"2026-01-01 {time},000 INFO {words}\n" for time, words in lines)
        (run / f"log/train_{name}_{number}.log").write_text(text)
    rows = "".join(f"{iteration},{of},psnr,{value}\n" for iteration, of, value in psnrs)
    (run / "metrics.csv").write_text("iter,set,metric,value\n" + rows)
    (run / f"{name}.yml").write_text(
        f"name: {name}\nmodel_type: SRModel\nscale: 4\nnetwork_g: {{type: MSRResNet, upscale: 4}}\n"
        f"path: {{pretrain_network_g: {pretrained}}}\n"
        "datasets: {train: {name: train, type: HighResolutionDataset, dataroot_gt: images, gt_size: 96}}\n"
        "train:\n  total_iter: 400\n  optim_g: {type: Adam, lr: 1e-3}\n"
        "  scheduler: {type: MultiStepLR, milestones: [300]}\n  pixel_opt: {type: L1Loss}\n"
    )
    return run


FIRST = [
    ("10:00:00", "mine from iteration 1 on: 3 images"),
    ("10:01:00", "iteration 0, Set5: psnr 20 (bicubic 28)"),  # a minute of validation
    ("10:02:00", "iteration 100 of 400, 0.6 s each, 0:03:00 left, lr 1, main 1"),
    ("10:03:00", "iteration 200 of 400, 0.6 s each, 0:03:00 left, lr 1, main 1"),
    ("10:05:00", "iteration 200, Set5: psnr 30.5"),  # two minutes of validation
    ("10:06:00", "iteration 300 of 400, 0.6 s each, 0:03:00 left, lr 1, main 1"),
]
RESUMED = [
    ("12:00:00", "mine from iteration 201 on: 3 images"),
    ("12:02:00", "iteration 300 of 400, 0.6 s each, 0:03:00 left, lr 1, main 1"),
    ("12:03:00", "iteration 400 of 400, 0.6 s each, 0:03:00 left, lr 1, main 1"),
    ("12:09:00", "iteration 400, Set5: psnr 31.2"),
]
PSNRS = [(0, "Set5", 20.0), (200, "Set5", 30.5), (400, "Set5", 31.2), (200, "other", 40.0)]


def test_the_clock_counts_training_alone_and_no_iteration_twice(tmp_path):
    run = run_folder(tmp_path, "mine", [FIRST, RESUMED], PSNRS)
    assert BOARD["training_times"](run) == {100: 60, 200: 120, 300: 240, 400: 300}


def test_steps_before_a_validation_that_no_line_counted_are_counted(tmp_path):
    log = [
        ("10:00:00", "mine from iteration 1 on: 3 images"),
        ("10:01:00", "iteration 50, Set5: psnr 30"),
        ("10:02:00", "iteration 100 of 100, 0.6 s each, 0:00:00 left, lr 1, main 1"),
    ]
    assert BOARD["training_times"](run_folder(tmp_path, "mine", [log], [])) == {100: 120}


def test_the_leaderboard_puts_first_who_reached_the_most_and_then_the_faster(tmp_path):
    slow = run_folder(tmp_path, "slow", [FIRST, RESUMED], PSNRS)
    fast = run_folder(tmp_path, "fast", [FIRST], [(100, "Set5", 31.2)], pretrained="models/srresnet-x4.pth")
    none = run_folder(tmp_path, "none", [FIRST], [(100, "Set5", 29.0)])
    assert BOARD["table"]([none, slow, fast], {"Set5": (30.0, 31.0), "free": (25.0,)}) == [
        "| run | start | Set5 30 dB | Set5 31 dB | free 25 dB |",
        "|---|---|---|---|---|",
        "| fast | srresnet-x4 | 1.0 | 1.0 | - |",
        "| slow | random weights | 2.0 | 5.0 | - |",
        "| none | random weights | - | - | - |",
    ]


def test_a_psnr_that_the_start_has_takes_no_minute(tmp_path):
    run = run_folder(tmp_path, "mine", [FIRST], [(0, "Set5", 31.2)])
    assert BOARD["minutes_to"](run, "Set5", 31.0, BOARD["training_times"](run)) == 0


def test_archived_runs_count_and_folders_that_are_no_runs_are_left_out(tmp_path, capsys):
    """Both are in experiments/ beside the runs, which a user names by experiments/*."""
    run_folder(tmp_path, "mine", [FIRST], [(0, "Set5", 31.2)]).rename(
        tmp_path / "mine_archived_20260101_100000"
    )
    (tmp_path / "unpaired").mkdir()
    runs = BOARD["runs_among"](sorted(tmp_path.iterdir()))
    assert BOARD["table"](runs, {"Set5": (31.0,)})[2:] == [
        "| mine_archived_20260101_100000 | random weights | 0.0 |"
    ]
    assert capsys.readouterr().err == f"{tmp_path / 'unpaired'}: left out: has no log and metrics.csv\n"
    with pytest.raises(DataError, match="no log of a training"):
        BOARD["runs_among"]([tmp_path / "unpaired"])


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(DataError, match=r"log: no log of a training; name folders of runs"):
        BOARD["table"]([tmp_path], BOARD["TARGETS"])
    run = run_folder(tmp_path, "mine", [FIRST], [])
    (run / "metrics.csv").unlink()
    with pytest.raises(DataError, match=r"metrics\.csv: missing"):
        BOARD["table"]([run], BOARD["TARGETS"])
