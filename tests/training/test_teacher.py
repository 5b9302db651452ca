import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.testing import assert_close

from srcx.archs import MSRResNet
from srcx.errors import OptionsError, UsageError
from srcx.inference.models import Model, find_model
from srcx.inference.upscaler import Upscaler
from srcx.losses.pixel import L1Loss
from srcx.losses.weighted_sum import WeightedSum
from srcx.optim.schedules import multi_step
from srcx.training.model import SRModel, TrainedNetwork
from srcx.training.options import load_training
from srcx.training.run import run_file
from srcx.training.teacher import Teacher
from srcx.weights.checkpoint import save_state

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "options/smoke/smoke_x4.yml"


class Repeat(nn.Module):
    """Repeats pixels, twice as bright."""

    def forward(self, lq):
        return 2 * lq.repeat_interleave(2, 2).repeat_interleave(2, 3)


def teacher(net=None, *, iters=4, **options):
    return Teacher(Model("t", 2, "Net", "0", net=net or Repeat()), iters=iters, **options)


def test_the_target_goes_in_a_line_from_the_teacher_to_gt():
    lq, gt = torch.full((1, 3, 4, 4), 0.1), torch.full((1, 3, 8, 8), 0.6)
    part = {"lq": lq, "gt": gt}
    values = [teacher().target_of(part, iteration).unique().item() for iteration in (1, 2, 3, 4, 5)]
    assert values == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.6])


def test_after_its_last_iteration_the_teacher_does_not_run():
    net = Repeat()
    net.register_forward_hook(lambda *_: pytest.fail("it ran"))
    part = {"lq": torch.rand(1, 3, 4, 4), "gt": torch.rand(1, 3, 8, 8)}
    assert teacher(net).target_of(part, 4) is part["gt"]


def test_its_output_is_an_image_without_a_gradient():
    sr = teacher()(torch.full((1, 3, 4, 4), 0.7, requires_grad=True))
    assert not sr.requires_grad
    assert sr.max() == 1


def test_the_ensemble_is_that_of_inference(tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    model = find_model(tmp_path / "net.pth")
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    lq = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    ours = Teacher(model, iters=2, ensemble=True)(lq)
    theirs = Upscaler(model, tta=True, backend="torch", precision="fp32")(image)
    assert_close(ours[0].permute(1, 2, 0) * 255, torch.from_numpy(theirs).float(), atol=0.51, rtol=0)
    assert not torch.equal(ours, Teacher(model, iters=2)(lq))


def sr_model(**options):
    AcceleratorState._reset_state()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    generator = TrainedNetwork(net, torch.optim.Adam(net.parameters(), lr=1e-2), multi_step([]))
    losses = WeightedSum({"pixel": (L1Loss(), 1.0)})
    return SRModel(generator, losses, accelerator=Accelerator(cpu=True), **options)


def test_a_step_compares_with_the_target():
    batch = {"lq": torch.rand(2, 3, 4, 4), "gt": torch.rand(2, 3, 8, 8)}
    model, plain = sr_model(teacher=teacher(), accumulate=2), sr_model()
    target = teacher().target_of(batch, 1)
    assert model.step(batch)["pixel"] == pytest.approx(plain.step({**batch, "gt": target})["pixel"])


def test_a_resumed_run_goes_on_to_the_same_bits():
    batches = [{"lq": torch.rand(2, 3, 4, 4), "gt": torch.rand(2, 3, 8, 8)} for _ in range(6)]
    whole = sr_model(teacher=teacher(), ema_decay=0.9)
    losses = []
    for number, batch in enumerate(batches):
        if number == 2:
            state = copy.deepcopy(whole.state())
        losses.append(whole.step(batch))
    resumed = sr_model(teacher=teacher(), ema_decay=0.9)
    resumed.load_state(state)
    assert [resumed.step(batch) for batch in batches[2:]] == losses[2:]


# From option files.


@pytest.fixture
def workplace(tmp_path, monkeypatch, rng):
    """The current folder, with images to train on and the checkpoints x2.pth and x4.pth."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets/smoke").mkdir(parents=True)
    for number in range(2):
        image = rng.integers(0, 255, (80, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"datasets/smoke/{number}.png"), image)
    for scale in (2, 4):
        save_state(f"x{scale}.pth", MSRResNet(num_feat=4, num_block=1, upscale=scale).state_dict())
    return tmp_path


PLAIN = [
    "model_type=SRModel", "network_d=null", "train:gan_opt=null", "train:optim_d=null",
    "train:net_d_iters=1", "train:net_d_init_iters=0", "train:total_iter=4",
    "network_g={type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4}",
]  # fmt: skip


@pytest.mark.parametrize("name", ["x4.pth", "srresnet-x4"])
def test_a_run_takes_a_checkpoint_or_a_model_by_its_name(workplace, name):
    own = ["path:teacher=" + name, "train:teacher_iter=3", "train:teacher_ensemble=true"]
    run_file(SMOKE, overrides=[*PLAIN, *own])
    assert Path("experiments/smoke_x4/models/net_g_latest.pth").exists()


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("x2.pth", OptionsError, r"path\.teacher: MSRResNet makes \d+ x \d+ pixels of .* with scale 4"),
        ("bicubic", OptionsError, r"path\.teacher: bicubic: has no network; name another model"),
        ("srresnet-x5", UsageError, "srresnet-x5: neither a model .* did you mean 'srresnet-x4'"),
    ],
)
def test_a_teacher_that_does_not_fit_is_named_before_the_run(workplace, name, error, said):
    with pytest.raises(error, match=said):
        run_file(SMOKE, overrides=[*PLAIN, f"path:teacher={name}", "train:teacher_iter=3"])
    assert not Path("experiments").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["path:teacher=x4.pth"], r"path\.teacher: it needs train\.teacher_iter"),
        (["train:teacher_iter=3"], r"train\.teacher_iter: there is no teacher; set path\.teacher"),
        (["train:teacher_ensemble=true"], r"train\.teacher_ensemble: there is no teacher"),
        (["train:teacher_itr=3"], r"train\.teacher_itr: unknown .*did you mean 'teacher_iter'"),
        (["train:teacher_iter=2.5"], r"train\.teacher_iter: expected a whole number, got 2\.5"),
        (
            ["path:teacher=x4.pth", "train:teacher_iter=3", "datasets:train:mean=[0.1, 0.1, 0.1]"],
            r"datasets\.train\.mean: the teacher takes images in \[0, 1\]",
        ),
        (
            ["path:teacher=x4.pth", "train:teacher_iter=3", "train:pixel_opt:against=gt_sharp"],
            r"path\.teacher: it stands for gt, and a term is against gt_sharp",
        ),
        (
            ["path:teacher=x4.pth", "train:teacher_iter=3", "datasets:train:type=NonAlignedPairDataset"],
            r"path\.teacher: the target is between its output and gt, .* gt is not aligned",
        ),
        (
            ["datasets:train:uniform_share=0.2"],
            r"datasets\.train\.uniform_share: all crops are drawn uniformly; set crop_candidates above 1",
        ),
        (["datasets:train:crop_candidates=0"], r"crop_candidates: expected a .*, got 0"),
        (["datasets:train:crop_candidats=2"], r"did you mean 'crop_candidates'"),
        (["datasets:train:uniform_share=1.5"], r"uniform_share: expected a .*, got 1.5"),
        (["train:ema_warm=true"], r"train\.ema_warm: unknown .*did you mean 'ema_warmup'"),
        (["train:ema_warmup=1"], r"train\.ema_warmup: expected true or false, got 1"),
        (["train:ema_decay=0", "train:ema_warmup=true"], r"train\.ema_warmup: there is no EMA"),
    ],
)
def test_options_that_make_no_sense_together_are_named(overrides, said):
    with pytest.raises(OptionsError, match=said):
        load_training(SMOKE, [*PLAIN, *overrides])


@pytest.mark.parametrize("override", ["path:teacher=x4.pth", "train:teacher_iter=3"])
def test_a_model_with_a_discriminator_has_no_teacher(override):
    key = override.replace(":", ".", 1).partition("=")[0]
    with pytest.raises(OptionsError, match=rf"{key}: .*SRGANModel"):
        load_training(SMOKE, [override])
