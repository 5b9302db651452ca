import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from srcx.errors import CheckpointError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.perceptual import GramLoss, PerceptualLoss
from srcx.training import build, build_data
from srcx.training.adversarial import SRGANModel
from srcx.training.options import load_options, load_training
from srcx.weights.checkpoint import save_state
from srcx.winograd import BY_TORCH, Convolution

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "options/smoke/smoke_x4.yml"
THEIRS = sorted(
    path for name in ("basicsr", "real_esrgan") for path in (REPOSITORY / "tests/config" / name).glob("*.yml")
)


@pytest.mark.skipif(find_spec("basicsr") is None, reason="needs BasicSR, which does not build on this Python")
@pytest.mark.parametrize("path", THEIRS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_basicsrs_files_name_only_parts_that_exist_and_arguments_they_take(path):
    load_options(path, ["network_g:upscale=2"] if path.stem == "train_RCAN_x2" else [])


def test_mistakes_in_schema_and_parts_are_listed_together_with_their_lines(tmp_path):
    path = tmp_path / "wrong.yml"
    text = SMOKE.read_text().replace("num_block:", "num_blok:").replace("ema_decay:", "ema_decy:")
    path.write_text(text.replace("type: L1Loss", "type: L1Los"))
    with pytest.raises(OptionsError) as error:
        load_options(path)
    lines = {line.split(": ", 2)[1]: line for line in error.value.problems}
    assert "did you mean 'num_block'?" in lines["network_g.num_blok"]
    assert "did you mean 'ema_decay'?" in lines["train.ema_decy"]
    assert "did you mean 'L1Loss'?" in lines["train.pixel_opt.type"]


@pytest.mark.parametrize(
    "scheduler",
    [
        "{type: MultiStepLR, milestones: [10, 15.0, 2e1]}",
        "{type: MultiStepRestartLR, milestones: [1e1], restarts: [0, 1.2e1], restart_weights: [1, 1]}",
        "{type: CosineAnnealingRestartLR, periods: [1e1, !!float 1e1], restart_weights: [1, 1]}",
    ],
)
def test_whole_numbers_with_exponents_are_whole_in_lists_too(scheduler):
    options = load_training(SMOKE, [f"train:scheduler={scheduler}"])
    build.schedule(options)(1.0, 3)
    given = options.train.scheduler.args
    counts = [one for name in ("milestones", "restarts", "periods") for one in given.get(name, ())]
    assert {type(one) for one in counts} == {int}


def test_milestones_that_are_not_whole_are_refused():
    with pytest.raises(OptionsError, match=r"milestones\[1\]: expected a whole number, got 1.5"):
        load_training(SMOKE, ["train:scheduler={type: MultiStepLR, milestones: [1, 1.5]}"])


def test_perceptual_opt_becomes_two_terms_with_basicsrs_weights(monkeypatch):
    network = FeatureExtractor.random("vgg16")
    monkeypatch.setattr(
        importlib.import_module("srcx.features.extractor"), "extractor", lambda *args, **kwargs: network
    )
    perceptual = (
        "{type: PerceptualLoss, layer_weights: {conv1_1: 1}, vgg_type: vgg16, perceptual_weight: 0.5, "
    )
    options = load_training(SMOKE, [f"train:pixel_opt={perceptual}style_weight: 2.0}}"])
    objective = build.losses(options)
    assert objective.weights["pixel"] == 0.5
    assert objective.weights["pixel_style"] == 2.0
    assert isinstance(objective.losses["pixel"], PerceptualLoss)
    assert isinstance(objective.losses["pixel_style"], GramLoss)


def test_a_gan_files_model_has_both_networks_and_its_weights(monkeypatch):
    options = load_training(SMOKE, ["train:gan_opt:loss_weight=0.25"])
    model = build.model(options, build.accelerator(options))
    assert isinstance(model, SRGANModel)
    assert model.gan_weight == 0.25
    assert set(model.networks) == {"net_g", "net_d"}
    assert "gan" not in model.losses.losses


def test_a_cycle_files_model_has_two_of_each_network_with_weights_of_their_own():
    options = load_training(REPOSITORY / "options/unpaired/domain_cycle.yml")
    model = build.model(options, build.accelerator(options))
    assert list(model.networks) == ["net_g", "net_g_back", "net_d", "net_d_back"]
    for name in ("net_g", "net_d"):
        one, other = (model.networks[f"{name}{ending}"].net.parameters() for ending in ("", "_back"))
        assert any(not torch.equal(*pair) for pair in zip(one, other, strict=True))
    assert list(model.losses.losses) == ["cycle"]
    assert model.gan_weight == 1


def test_terms_say_what_they_compare_with():
    pixel = "train:pixel_opt={type: L1Loss, against: lq}"
    options = load_training(REPOSITORY / "options/unpaired/domain_cx.yml", [pixel])
    options = options.model_copy(
        update={
            "train": options.train.model_copy(update={"losses": {"pixel": options.train.losses["pixel"]}})
        }
    )
    assert build.losses(options).against == {"pixel": "lq"}
    assert build.losses(load_training(SMOKE)).against == {}


def test_ema_weights_start_from_their_own_entry_of_a_checkpoint(tmp_path):
    options = load_training(SMOKE)
    params, averaged = (build.network(options.network_g).state_dict() for _ in range(2))
    path = tmp_path / "net_g.pth"
    save_state(path, {"params": params, "params_ema": averaged})
    options = load_training(SMOKE, [f"path:pretrain_network_g={path}"])
    model = build.model(options, build.accelerator(options))
    assert_close(dict(model.networks["net_g"].net.state_dict()), dict(params))
    assert_close(dict(model.eval_net.state_dict()), dict(averaged))


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    path = tmp_path / "other.pth"
    save_state(path, {"params": {"weight": torch.zeros(3)}})
    options = load_training(SMOKE, [f"path:pretrain_network_g={path}"])
    with pytest.raises(CheckpointError, match=r"other.pth: these weights do not fit MSRResNet.*for$"):
        build.model(options, build.accelerator(options))


def test_weights_of_which_some_fit_are_refused_with_the_option_that_loads_these(tmp_path):
    path = tmp_path / "other.pth"
    params = build.model(load_training(SMOKE), build.accelerator(load_training(SMOKE))).networks["net_g"].net
    save_state(path, {"params": {**params.state_dict(), "further": torch.zeros(3)}})
    options = load_training(SMOKE, [f"path:pretrain_network_g={path}"])
    with pytest.raises(CheckpointError, match=r"or set path\.strict_load_g to false to load what fits"):
        build.model(options, build.accelerator(options))


def test_the_schedule_warms_up_where_asked():
    options = load_training(SMOKE, ["train:warmup_iter=10"])
    schedule = build.schedule(options)
    assert schedule(1.0, 4) == pytest.approx(0.5)
    assert schedule(1.0, 12) == 1.0


def test_higher_is_better_as_the_metric_says_unless_the_file_says_otherwise():
    options = load_training(SMOKE)
    part = options.val.metrics["psnr"]
    assert build_data.metric("psnr", part).higher_is_better
    assert not build_data.metric("psnr", part.model_copy(update={"better": "lower"})).higher_is_better


@pytest.mark.parametrize(("fast", "precision"), [(torch.bfloat16, "bf16"), (torch.float32, "no")])
def test_auto_precision_is_bf16_only_where_the_processor_multiplies_it_fast(monkeypatch, fast, precision):
    monkeypatch.setattr("srcx.training.build.fast_dtype", lambda device: fast)
    options = load_training(SMOKE, ["num_gpu=0", "train:precision=auto"])
    assert build.accelerator(options).mixed_precision == precision


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        ("{type: Adam, lr: 1e-4}", True),
        ("{type: AdamW, lr: 1e-4}", True),
        ("{type: SGD, lr: 1e-4}", True),
        ("{type: Adam, lr: 1e-4, foreach: true}", False),
        ("{type: Muon, lr: 1e-4}", False),
        ("{type: RAdam, lr: 1e-4}", False),
    ],
)
def test_an_optimizer_is_one_kernel_on_a_gpu_where_torch_has_one(optimizer, fused):
    options = load_training(SMOKE, [f"train:optim_g={optimizer}"])
    on_gpu, on_cpu = (
        build.trained_network(options, "network_g", "optim_g", torch.device(device)).optimizer
        for device in ("cuda", "cpu")
    )
    assert bool(on_gpu.param_groups[0].get("fused")) is fused
    assert not on_cpu.param_groups[0].get("fused")


def test_bf16_that_the_processor_emulates_is_a_warning_with_the_factor(monkeypatch, caplog):
    monkeypatch.setattr("srcx.training.build.bf16_gain", lambda: 0.08)
    build.accelerator(load_training(SMOKE, ["num_gpu=0", "train:precision=bf16"]))
    assert "train.precision is bf16, in which this processor takes 12.5 times as long" in caplog.text
    caplog.clear()
    monkeypatch.setattr("srcx.training.build.bf16_gain", lambda: 3.0)
    build.accelerator(load_training(SMOKE, ["num_gpu=0", "train:precision=bf16"]))
    assert not caplog.records


def test_the_kernel_is_refused_where_it_cannot_be_used_with_the_line_of_the_option():
    compiled = ["num_gpu=0", "train:compile=true"]
    options = load_training(SMOKE, ["train:convolution=winograd", *compiled])
    with pytest.raises(OptionsError, match=r"train.convolution: the Winograd kernel is for the CPU"):
        build.convolution(options, build.accelerator(options), [])
    options = load_training(SMOKE, compiled)
    assert build.convolution(options, build.accelerator(options), []).way == "torch"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_kernel_is_compared_with_torch_in_the_precision_of_the_run(monkeypatch, precision, dtype):
    asked = []
    monkeypatch.setattr(
        "srcx.training.build.choose", lambda way, nets, dtype: asked.append(dtype) or BY_TORCH
    )
    options = load_training(SMOKE, ["num_gpu=0", f"train:precision={precision}"])
    build.convolution(options, build.accelerator(options), [])
    assert asked == [dtype]


def test_all_ranks_convolve_in_the_way_that_each_of_them_can(monkeypatch):
    options = load_training(SMOKE, ["num_gpu=0"])
    chosen, slow = Convolution("winograd", "twice as fast"), Convolution("torch", "rank 1 has no compiler")
    monkeypatch.setattr("srcx.training.build.choose", lambda asked, nets, dtype: chosen)
    accelerator = build.accelerator(options)
    assert build.convolution(options, accelerator, []) is chosen
    monkeypatch.setattr("srcx.training.build.gather", lambda one: [one, slow])
    assert build.convolution(options, accelerator, []) is slow


def test_the_objective_is_jittered_as_the_file_says():
    assert build.losses(load_training(SMOKE, ["train:jitter=4"])).jitter_px == 4


def test_frozen_parts_are_not_trained_and_the_others_are():
    options = load_training(SMOKE, ["num_gpu=0", "train:freeze_g=[conv_last]"])
    model = build.model(options, build.accelerator(options))
    before = {name: weight.clone() for name, weight in model.networks["net_g"].net.state_dict().items()}
    model.step({"lq": torch.rand(2, 3, 12, 12), "gt": torch.rand(2, 3, 48, 48)})
    moved = {
        name.split(".")[0]
        for name, weight in model.networks["net_g"].net.state_dict().items()
        if not torch.equal(weight, before[name])
    }
    assert "conv_last" not in moved
    assert "conv_first" in moved


def test_a_part_to_freeze_that_is_not_there_is_named():
    with pytest.raises(
        OptionsError, match=r"freeze_g: \w+ has no part 'conv_lst'; it has conv_first, .*conv_last"
    ):
        build.freeze(build.network(load_training(SMOKE, []).network_g), ["conv_lst"])


def test_a_network_without_a_part_to_train_is_refused():
    net = build.network(load_training(SMOKE, []).network_g)
    with pytest.raises(OptionsError, match=r"freeze_g: no weight of MSRResNet is left to train"):
        build.freeze(net, [name for name, _ in net.named_children()])
