"""Whole runs of the option files under options/, on images made here."""

import copy
import csv
import itertools
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import PartialState
from numpy.testing import assert_array_equal
from torch import nn
from torch.testing import assert_close

from srcx.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    OptionsError,
    TrainingError,
    UsageError,
    WeightsError,
)
from srcx.evaluation.report.contact_sheet import contact_sheet
from srcx.evaluation.validation import start_validation
from srcx.imaging import imresize, read_image, to_image, to_rgb
from srcx.metrics import psnr
from srcx.training import build, build_data
from srcx.training.checkpoints import RunFolder
from srcx.training.dry_run import PeakMemory, describe, try_once, write_contact_sheet
from srcx.training.model import SRModel
from srcx.training.options import load_training
from srcx.training.run import run_file
from srcx.weights.checkpoint import load_state
from srcx.weights.training_state import load_training_state
from srcx.winograd import Convolution

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "options/smoke/smoke_x4.yml"


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


def test_a_new_run_of_the_same_name_archives_the_old_one(workplace):
    for _ in range(2):
        run_file(SMOKE, overrides=["train:total_iter=2"])
    (archive,) = Path("experiments").glob("smoke_x4_archived_*")
    assert (archive / "models/net_g_latest.pth").exists()


def check(*overrides):
    options = load_training(SMOKE, overrides)
    return describe(options, build_data.check_data(options))


def test_check_describes_the_run_and_writes_nothing(workplace):
    before = sorted(workplace.rglob("*"))
    text = check()
    assert "\n  convolutions by torch: no layer of these networks is for the Winograd kernel\n" in text
    assert re.search(r"net_g: MSRResNet, [\d,]+ parameters", text)
    assert "train: 3 images" in text
    assert "s an iteration" in text
    assert re.search(r"memory: \d+ MiB for the step, up to 0 MiB for decoded images", text)
    assert sorted(workplace.rglob("*")) == before


def test_check_describes_a_training_set_of_the_name_of_a_validation_set(workplace):
    shutil.copytree("datasets/smoke", "datasets/more")
    shutil.copy("datasets/smoke/0.png", "datasets/more/3.png")
    text = check("datasets:train:name=val", "datasets:train:dataroot_gt=datasets/more")
    assert "val: 4 images" in text
    assert "val: 3 images" in text


def test_check_times_the_generators_step_too_where_it_is_rare(workplace, monkeypatch):
    """The weighted mean: of 20 iterations the generator is trained in the 4th, 8th ... after the 9th."""
    clock, trained = [0.0], []
    step = SRModel.step

    def timed(model, batch):
        terms = step(model, batch)
        trained.append("gan" in terms)
        clock[0] += 7.0 if "gan" in terms else 2.0
        return terms

    monkeypatch.setattr(SRModel, "step", timed)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    text = check("train:net_d_iters=4", "train:net_d_init_iters=9")
    assert sorted(trained) == [False] * 3 + [True] * 3
    mean_s = (3 * 7 + 17 * 2) / 20  # in iterations 12, 16 and 20
    assert f"{mean_s:.2f} s an iteration (7.00 s with the generator's step, 2.00 s with the" in text


PIXEL_LOSS = ["model_type=SRModel", "train:gan_opt=~", "train:optim_d=~", "network_d=~"]
STAGES = ["datasets:train:gt_sizes=[24, 48]", "datasets:train:iters=[14, 6]"]


def test_check_times_a_step_with_each_size_of_the_crops(workplace, monkeypatch):
    clock, step = [0.0], SRModel.step

    def timed(model, batch):
        clock[0] += batch["gt"].shape[-1] / 24
        return step(model, batch)

    monkeypatch.setattr(SRModel, "step", timed)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    text = check(*PIXEL_LOSS, *STAGES)
    assert "1.30 s an iteration (1.00 s with crops of 24, 2.00 s with crops of 48), 0:00:26 for 20" in text
    text = check(*PIXEL_LOSS, *STAGES, "train:total_iter=7")
    assert "1.00 s an iteration (1.00 s with crops of 24, 2.00 s with crops of 48), 0:00:07 for 7" in text


def test_sizes_of_crops_that_no_iteration_is_left_for_are_named(workplace, caplog):
    sizes = ["datasets:train:gt_sizes=[24, 36, 48]", "datasets:train:iters=[14, 20, 26]"]
    load_training(SMOKE, [*PIXEL_LOSS, *sizes, "train:total_iter=20"])
    said = (
        "datasets.train.iters: no crop of 48 is made: the sizes before take all 20 iterations of total_iter"
    )
    assert said in caplog.text
    caplog.clear()
    load_training(SMOKE, [*PIXEL_LOSS, *sizes, "train:total_iter=35"])
    load_training(SMOKE, PIXEL_LOSS)
    assert not caplog.text


def test_a_run_with_growing_crops_is_that_of_its_parts_one_after_another(workplace):
    """gt_size edited by hand between two starts gives the same weights to the bit."""
    whole = [*PIXEL_LOSS, "train:precision=fp32"]
    run_file(SMOKE, overrides=[*whole, *STAGES, "name=whole"])
    run_file(SMOKE, overrides=[*whole, "name=parts", "datasets:train:gt_size=24", "train:total_iter=14"])
    run_file(SMOKE, overrides=[*whole, "name=parts"], auto_resume=True)
    weights = [
        torch.load(f"experiments/{name}/models/net_g_latest.pth", weights_only=True)
        for name in ("whole", "parts")
    ]
    assert_close(*weights, rtol=0, atol=0)


def test_an_earlier_peak_of_memory_does_not_hide_that_of_a_step():
    def take(mib):
        with mmap.mmap(-1, mib * 2**20) as memory:
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1
            time.sleep(0.2)

    take(300)
    with PeakMemory() as memory:
        take(60)
    assert memory.mib == pytest.approx(60, abs=10)


def test_check_makes_images_of_the_channels_of_the_data(workplace):
    luma = ["datasets:train:color=y", "network_g:num_in_ch=1", "network_g:num_out_ch=1", "model_type=SRModel"]
    gone = ["train:gan_opt=~", "train:optim_d=~", "network_d=~"]
    assert "s an iteration" in check(*luma, *gone)


MISFITS = {
    "upscale left at its default": (
        ["network_g={type: MSRResNet, num_feat: 4}", "scale=2"],
        "network_g: MSRResNet makes 96 x 96",
    ),
    "channels in": (["network_g:num_in_ch=1"], r"network_g: cannot work on images of shape \(2, 3, 12, 12\)"),
    "channels out": (
        ["datasets:train:color=y", "network_g:num_in_ch=1"],
        "network_g: MSRResNet makes images of 3 channels, and training images have 1",
    ),
    "luma": (["datasets:train:color=y"], r"network_g: cannot work on images of shape \(2, 1, 12, 12\)"),
    "input size of net_d": (["network_d:input_size=96"], "network_d: cannot work on images of shape"),
    "a smaller crop at first": (
        ["datasets:train:gt_sizes=[24, 48]", "datasets:train:iters=[9, 9]"],
        r"network_d: cannot work on images of shape \(2, 3, 24, 24\)",
    ),
    "jitter of net_d": (["train:jitter=8"], "network_d: cannot work on images of shape"),
    "a loss": (
        ["train:pixel_opt={type: GridLoss, period: 7}"],
        "train.pixel_opt: .*GridLoss: height and width must be multiples",
    ),
    "an argument": (["train:pixel_opt:reduction=median"], "train.pixel_opt: L1Loss: reduction must be"),
}


@pytest.mark.parametrize(("overrides", "said"), MISFITS.values(), ids=MISFITS)
def test_options_that_do_not_fit_are_named_before_an_earlier_run_is_archived(workplace, overrides, said):
    earlier = Path("experiments/smoke_x4/models")
    earlier.mkdir(parents=True)
    (earlier / "net_g_latest.pth").write_bytes(b"earlier")
    before = sorted(workplace.rglob("*"))
    for refused in (lambda: run_file(SMOKE, overrides=overrides), lambda: check(*overrides)):
        with pytest.raises(OptionsError, match=rf"(smoke_x4.yml:\d+|--force_yml): {said}"):
            refused()
    assert sorted(workplace.rglob("*")) == before


WRONG_FOR_BASICSR = {
    "scale": ("network_g={type: EDSR, num_in_ch: 3, num_out_ch: 3, upscale: 5}", "scale=5", "EDSR cannot be"),
    "choice": (
        "network_g={type: basicsr.SRVGGNetCompact, upscale: 4, num_feat: 8, act_type: foo}", "scale=4",
        "SRVGGNetCompact cannot be made with .*act_type: foo",
    ),
    "text": (
        "network_g={type: EDSR, num_in_ch: 3, num_out_ch: 3, upscale: 4, num_feat: '8'}", "scale=4",
        "EDSR cannot be made with .*num_feat: 8",
    ),
    "loss": ("train:pixel_opt={type: WeightedTVLoss, reduction: none}", "scale=4", "WeightedTVLoss cannot"),
    "not scalar": (
        "train:pixel_opt={type: basicsr.L1Loss, reduction: none}", "scale=4", r"gives \(2, 3, 48, 48\) v",
    ),
    "video": ("network_g={type: EDVR, num_feat: 8}", "scale=4", "cannot work on images of shape"),
}  # fmt: skip


@pytest.mark.skipif(find_spec("basicsr") is None, reason="needs BasicSR, which does not build on this Python")
@pytest.mark.parametrize(("part", "scale", "said"), WRONG_FOR_BASICSR.values(), ids=WRONG_FOR_BASICSR)
def test_wrong_values_for_basicsrs_parts_are_named_with_the_option(workplace, part, scale, said):
    option = part.split("=")[0].replace(":", ".")
    size = ["datasets:train:gt_size=80", "network_d:input_size=80"] if scale == "scale=5" else []
    with pytest.raises(OptionsError, match=rf"--force_yml: {option}: .*{said}"):
        run_file(SMOKE, overrides=[part, scale, *size])
    assert not Path("experiments").exists()


class Viewing(nn.Module):
    """Works on images with the channels first alone, as IPT does."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, lq):
        sr = self.net(lq)
        return sr.view(-1).view(sr.shape)


def test_a_network_that_needs_the_channels_first_is_refused_with_the_option_to_set_and_trains_with_it(
    workplace, monkeypatch
):
    made = build.network
    monkeypatch.setattr(build, "network", lambda *part: Viewing(made(*part)))
    with pytest.raises(OptionsError, match=r"network_g: .* set train.channels_last to false"):
        run_file(SMOKE)
    run_file(SMOKE, overrides=["train:channels_last=false", "train:total_iter=2", "val:val_freq=2"])
    assert value_of(rows(), 2, "psnr") > 0


def test_the_trial_changes_nothing_that_the_run_depends_on(workplace):
    options = load_training(
        SMOKE, ["train:jitter=16", "network_d:input_size=32", "train:pixel_opt:type=MSELoss"]
    )
    model = build.model(options, build.accelerator(options))
    before, random = copy.deepcopy(model.state()), torch.get_rng_state()
    try_once(model, options)
    after = model.state()
    assert after.pop("precision") == before.pop("precision")
    assert_close(after, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(weight.grad is None for net in model.networks.values() for weight in net.net.parameters())


def test_weights_that_a_metric_lacks_are_missed_at_the_start(workplace):
    overrides = ["val:metrics={index: {type: ma, weights_path: nowhere.mat}}"]
    for refused in (lambda: run_file(SMOKE, overrides=overrides), lambda: check(*overrides)):
        with pytest.raises(WeightsError, match=r"--force_yml: val.metrics.index: weights of ma: nowhere.mat"):
            refused()
    assert not Path("experiments").exists()


@pytest.mark.parametrize(
    ("overrides", "mean", "std"),
    [([], 0, 1), (["datasets:train:color=y", "datasets:train:mean=[0.5]", "datasets:train:std=[2]"], 0.5, 2)],
)
def test_the_sheet_of_a_check_shows_the_crops_the_run_begins_with(workplace, overrides, mean, std):
    options = load_training(SMOKE, [*overrides, "datasets:train:dataset_enlarge_ratio=3"])
    training_set = build_data.training_set(options)
    path = write_contact_sheet(options, training_set)
    assert path == Path("experiments/smoke_x4_check.png")
    assert [one.name for one in Path("experiments").iterdir()] == ["smoke_x4_check.png"]
    batches = build_data.train_batches(options, training_set, build.accelerator(options))
    crops = [
        tuple(to_rgb(to_image(batch[side][place] * std + mean)) for side in ("lq", "gt"))
        for batch in itertools.islice(batches, 3)
        for place in range(4)
    ]
    assert_array_equal(read_image(path), contact_sheet(crops))


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


def test_more_gpus_than_processes_is_refused_with_the_command_to_start(workplace, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(UsageError, match="torchrun --nproc_per_node 4"):
        run_file(SMOKE, overrides=["num_gpu=4"])


def test_more_gpus_than_the_machine_has_takes_those_there_are(workplace, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"num_gpu is 4 and this machine has 2.*torchrun --nproc_per_node 2"):
        run_file(SMOKE, overrides=["num_gpu=4"])


def test_one_gpu_of_many_asked_for_is_a_warning(monkeypatch, caplog):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    build.accelerator(load_training(SMOKE, ["num_gpu=4"]))
    assert "num_gpu is 4 and this machine has 1: the run uses 1" in caplog.text
    assert "CPU" not in caplog.text


@pytest.mark.parametrize("stray", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": ""}, {"RANK": "1", "LOCAL_RANK": "1"}])
def test_a_stray_variable_of_a_launcher_is_no_launcher(workplace, monkeypatch, stray):
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    PartialState._reset_state()
    run_file(SMOKE, overrides=["train:total_iter=1"])
    assert {name: os.environ[name] for name in stray} == stray
    assert Path("experiments/smoke_x4/training_states/1.state").exists()


SHORT = ["train:total_iter=4", "val:val_freq=2", "logger:save_checkpoint_freq=2", "logger:print_freq=1"]


def results_of(run="experiments/smoke_x4"):
    """The figures and weights of a run, without the weights' names."""
    weights = {path.name: load_state(path) for path in (Path(run) / "models").glob("*.pth")}
    return rows(run), weights


def test_a_validation_that_fails_loses_nothing_and_is_repeated(workplace, monkeypatch):
    """The checkpoint is there, and the run that continues from it ends as one that was not disturbed."""
    run_file(SMOKE, overrides=[*SHORT, "name=whole"])
    validated = []

    def failing(*args, **kwargs):
        validated.append(start_validation(*args, **kwargs))
        if len(validated) == 2:  # the first one is that of iteration 0
            raise RuntimeError("no luck")
        return validated[-1]

    monkeypatch.setattr("srcx.training.validations.start_validation", failing)
    with pytest.raises(RuntimeError, match="no luck"):
        run_file(SMOKE, overrides=SHORT)
    assert [path.name for path in Path("experiments/smoke_x4/training_states").iterdir()] == ["2.state"]
    run_file(SMOKE, overrides=SHORT, auto_resume=True)
    (figures, weights), (expected, of_whole) = results_of(), results_of("experiments/whole")
    assert figures == expected
    assert_close(weights, of_whole)
    states = [
        load_training_state(Path(f"experiments/{run}/training_states/4.state"))
        for run in ("smoke_x4", "whole")
    ]
    assert states[0]["progress"]["best"] == states[1]["progress"]["best"]


def test_a_finished_validation_is_not_repeated_when_the_run_goes_on(workplace, monkeypatch):
    run_file(SMOKE, overrides=[*SHORT, "train:total_iter=2"])
    seen = []
    result = SimpleNamespace(results=lambda: {"psnr": 1.0})
    monkeypatch.setattr(
        "srcx.training.validations.start_validation", lambda *args, **kwargs: seen.append(args) or result
    )
    run_file(SMOKE, overrides=SHORT, auto_resume=True)
    assert len(seen) == 1
    assert [row[0] for row in rows() if row[1:3] == ["val", "psnr"]] == ["0", "2", "4"]


def test_a_run_begins_with_the_figures_of_its_start_and_of_bicubic(workplace):
    """The start is for comparison: it is never the best, and the images that are saved begin later."""
    run_file(SMOKE, overrides=[*SHORT, "train:optim_g:lr=1e-30", "val:save_img=true"])
    gts = [read_image(path) for path in sorted(Path("datasets/smoke").iterdir())]
    lqs = [imresize(gt, scale=1 / 4) for gt in gts]
    expected = np.mean([psnr(imresize(lq, scale=4), gt) for lq, gt in zip(lqs, gts, strict=True)])
    assert value_of(rows(), 0, "psnr_bicubic") == pytest.approx(
        expected, abs=0.02
    )  # BasicSR's psnr: no rounding
    assert value_of(rows(), 0, "psnr") == pytest.approx(value_of(rows(), 4, "psnr"), abs=0.01)
    (log,) = Path("experiments/smoke_x4/log").glob("train_*.log")
    assert re.search(
        rf"iteration 0, val: psnr [\d.]+ \(bicubic {value_of(rows(), 0, 'psnr_bicubic'):.4g}\)",
        log.read_text("utf-8"),
    )
    progress = load_training_state(Path("experiments/smoke_x4/training_states/4.state"))["progress"]
    assert progress["best"]["val"]["psnr"]["iter"] > 0
    assert not list(Path("experiments/smoke_x4/visualization").rglob("*_0.png"))


def test_where_nothing_is_enlarged_the_start_is_compared_with_the_input(workplace):
    smaller = ["scale=1", "network_g:upscale=1", "train:total_iter=1"]
    noisy = "datasets:val:degradation={passes: [{noise: {prob: 1, sigma: [20, 20]}}]}"
    run_file(SMOKE, overrides=[*smaller, noisy])
    assert value_of(rows(), 0, "psnr_input") == pytest.approx(26.4, abs=1)  # on Y, whose noise is weaker


def test_the_validation_of_the_start_leaves_the_random_numbers_of_the_run_as_they_are(workplace, monkeypatch):
    late = [*SHORT, "val:val_freq=4"]
    run_file(SMOKE, overrides=[*late, "name=quiet"])

    def drawing(*args, **kwargs):
        torch.rand(1), np.random.rand(1), random.random()
        return start_validation(*args, **kwargs)

    monkeypatch.setattr("srcx.training.validations.start_validation", drawing)
    run_file(SMOKE, overrides=late)
    states = [
        load_training_state(Path(f"experiments/{run}/training_states/2.state"))["random"]
        for run in ("quiet", "smoke_x4")
    ]
    assert str(states[0]) == str(states[1])


def test_a_resumed_run_keeps_the_precision_that_auto_chose(workplace, caplog, monkeypatch):
    fast = iter([torch.bfloat16, torch.float32])
    monkeypatch.setattr("srcx.training.build.fast_dtype", lambda device: next(fast))
    monkeypatch.setattr("srcx.training.build.bf16_gain", lambda: 0.5)
    auto = ["train:precision=auto", "logger:save_checkpoint_freq=1", "datasets:train:num_worker_per_gpu=0"]
    run_file(SMOKE, overrides=["train:total_iter=1", *auto])
    run_file(SMOKE, overrides=["train:total_iter=2", *auto], auto_resume=True)
    states = [load_training_state(path) for path in RunFolder.saved_states(Path("experiments/smoke_x4"))]
    assert [state["model"]["precision"] for state in states] == ["bf16", "bf16"]
    assert "this run was started in bf16, in which this processor takes 2.0 times as long" in caplog.text
    changed = ["train:total_iter=3", *auto, "train:precision=fp32"]
    run_file(SMOKE, overrides=changed, auto_resume=True)
    newest = load_training_state(RunFolder.saved_states(Path("experiments/smoke_x4"))[-1])
    assert newest["model"]["precision"] == "fp32"


def test_a_resumed_run_convolves_as_before_and_says_where_it_cannot(workplace, caplog, monkeypatch):
    ways = iter(["winograd", "torch", "torch"])
    monkeypatch.setattr(
        "srcx.training.build.choose",
        lambda asked, nets, dtype: Convolution(next(ways), "measured so", asked=False),
    )
    caplog.set_level("INFO")
    short = ["logger:save_checkpoint_freq=1", "datasets:train:num_worker_per_gpu=0"]
    run_file(SMOKE, overrides=["train:total_iter=1", *short])
    assert "convolutions by winograd: measured so" in caplog.text
    state = load_training_state(Path("experiments/smoke_x4/training_states/1.state"))
    assert state["model"]["by_winograd"] is True
    caplog.clear()
    monkeypatch.setattr("srcx.winograd.convolution.kernel", lambda: None)
    run_file(SMOKE, overrides=["train:total_iter=2", *short], auto_resume=True)
    assert "convolutions by winograd: as this run had them before" in caplog.text
    caplog.clear()

    def no_kernel():
        raise UsageError("there is no compiler")

    monkeypatch.setattr("srcx.winograd.convolution.kernel", no_kernel)
    run_file(SMOKE, overrides=["train:total_iter=3", *short], auto_resume=True)
    assert "convolutions of this run were winograd's and are now torch's" in caplog.text


def test_a_metric_without_a_value_lets_the_run_go_on(workplace, caplog):
    metrics = "val:metrics={niqe: {type: niqe}, psnr: {type: psnr}}"
    run_file(SMOKE, overrides=[*SHORT, metrics])
    assert {row[2] for row in rows() if row[1] == "val"} == {"psnr", "psnr_bicubic"}
    assert not list(Path("experiments/smoke_x4/models").glob("net_g_best_*"))  # the first metric picks it
    assert "val: no niqe: 0: niqe: needs at least" in caplog.text


def test_a_run_goes_on_with_the_rate_its_option_file_now_has(workplace):
    run_file(SMOKE, overrides=[*SHORT, "train:total_iter=2"])
    run_file(SMOKE, overrides=[*SHORT, "train:optim_g:lr=5e-5"], auto_resume=True)
    assert [value_of(rows(), iteration, "lr") for iteration in (1, 2, 3, 4)] == [1e-3, 1e-3, 5e-5, 5e-5]


STABILISED = [
    *SHORT, "train:adaptive_d=0.001", "train:r1_reg_weight=1e-3", "train:net_d_reg_every=3",
    "train:ema_decay_d=0.5",
]  # fmt: skip


def test_a_stabilised_run_goes_on_to_the_same_bits(workplace):
    run_file(SMOKE, overrides=[*STABILISED, "name=whole"])
    run_file(SMOKE, overrides=[*STABILISED, "train:total_iter=2"])
    run_file(SMOKE, overrides=STABILISED, auto_resume=True)
    (figures, weights), (expected, of_whole) = results_of(), results_of("experiments/whole")
    assert figures == expected
    assert_close(weights, of_whole, rtol=0, atol=0)
    paused = {row[0]: float(row[3]) for row in figures if row[2] == "d_paused"}
    assert {iteration for iteration, share in paused.items() if share} < paused.keys()
    assert [row[0] for row in figures if row[2] == "d_r1"] == ["3"] or paused["3"]


def test_the_ema_of_a_discriminator_starts_from_its_pretrained_weights(workplace):
    run_file(SMOKE, overrides=[*STABILISED, "name=first"])
    path = Path("experiments/first/models/net_d_4.pth")
    options = load_training(SMOKE, [*STABILISED, f"path:pretrain_network_d={path}"])
    model = build.model(options, build.accelerator(options))
    assert_close(dict(model.ema_d.module.state_dict()), load_state(path, key="params_ema"))
    assert_close(dict(model.networks["net_d"].net.state_dict()), load_state(path, key="params"))
    assert (model.adaptive_d, model.r1_reg_weight, model.net_d_reg_every) == (0.001, 1e-3, 3)
    assert (model.warn_iter, model.compares_colors) == (1000, True)


UNPAIRED = (
    "datasets:train={name: t, type: NonAlignedPairDataset, dataroot_gt: datasets/smoke, targets: unpaired, "
    "gt_size: 48}"
)


def test_colours_are_compared_where_gt_shows_what_lq_shows(workplace):
    options = load_training(SMOKE, [UNPAIRED])
    assert not build.model(options, build.accelerator(options)).compares_colors


def test_a_run_goes_on_without_the_weights_it_once_started_from(workplace):
    run_file(SMOKE, overrides=[*SHORT, "name=first"])
    Path("experiments/first/models/net_g_latest.pth").rename("start.pth")
    pretrained = [*SHORT, "path:pretrain_network_g=start.pth", "path:pretrain_network_d=start_d.pth"]
    Path("experiments/first/models/net_d_4.pth").rename("start_d.pth")
    run_file(SMOKE, overrides=[*pretrained, "train:total_iter=2"])
    Path("start.pth").unlink()
    Path("start_d.pth").unlink()
    run_file(SMOKE, overrides=pretrained, auto_resume=True)
    assert value_of(rows(), 4, "pixel")


@pytest.mark.parametrize("name", ["g", "d"])
def test_a_network_that_resuming_ignores_starts_from_its_pretrained_weights(workplace, name):
    run_file(SMOKE, overrides=[*SHORT, "name=other", "manual_seed=5"])
    run_file(SMOKE, overrides=[*SHORT, "train:total_iter=2"])
    other = f"experiments/other/models/net_{name}_4.pth"
    still = [f"train:optim_{one}:lr=1e-30" for one in "gd"]
    run_file(
        SMOKE,
        overrides=[
            *SHORT, *still, f"path:pretrain_network_{name}={other}",
            f"path:ignore_resume_networks=[network_{name}]",
        ],
        auto_resume=True,
    )  # fmt: skip
    for one in "gd":
        before = load_state(
            other if one == name else Path(f"experiments/smoke_x4/models/net_{one}_2.pth"), key="params"
        )
        now = load_state(Path(f"experiments/smoke_x4/models/net_{one}_4.pth"), key="params")
        weights = [key for key in before if key.endswith("weight")]
        assert weights
        assert all(torch.allclose(before[key], now[key], atol=1e-6) for key in weights), one


def test_weights_named_as_a_state_are_refused_with_the_right_option(workplace):
    run_file(SMOKE, overrides=[*SHORT, "name=first"])
    weights = "path:resume_state=experiments/first/models/net_g_latest.pth"
    with pytest.raises(CheckpointError, match=r"path\.pretrain_network_g takes weights"):
        run_file(SMOKE, overrides=[*SHORT, weights])


def test_after_a_loss_that_is_not_finite_the_last_checkpoint_remains(workplace):
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
    assert "--auto_resume continues from there" in rest
    assert "Traceback" not in rest
    assert len(list(Path("experiments/smoke_x4/training_states").glob("*.state"))) == 1
