"""Networks of spandrel in whole runs: trained, resumed, upscaled, exported, trained on from a checkpoint."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from srcx.archs.community import community_network
from srcx.cli import main
from srcx.errors import OptionsError
from srcx.imaging import read_image, write_image
from srcx.inference import Upscaler, find_model
from srcx.training.options import load_training
from srcx.training.run import run_file
from srcx.weights.checkpoint import load_state

OPTIONS = """
name: mine
model_type: SRModel
scale: 2
num_gpu: 0
datasets:
  train: {{name: train, type: HighResolutionDataset, dataroot_gt: photos, gt_size: {gt_size},
    batch_size_per_gpu: 2, use_hflip: true, use_rot: true}}
  val: {{name: held_out, type: HighResolutionDataset, dataroot_gt: photos}}
network_g: {network}
train:
  total_iter: 4
  ema_decay: 0.9
  optim_g: {{type: Adam, lr: 1e-3}}
  scheduler: {{type: MultiStepLR, milestones: [100]}}
  pixel_opt: {{type: L1Loss}}
val: {{val_freq: 2, metrics: {{psnr: {{type: psnr}}}}}}
logger: {{print_freq: 1, save_checkpoint_freq: 2}}
"""
NETWORKS = {
    "SPAN": "{type: spandrel.SPAN, num_in_ch: 3, num_out_ch: 3, feature_channels: 8, upscale: 2}",
    "ESRGAN": "{type: spandrel.ESRGAN, num_filters: 8, num_blocks: 1, scale: 2}",
    "SwinIR": "{type: spandrel.SwinIR, embed_dim: 12, depths: [1], num_heads: [2], window_size: 8,"
    " upscale: 2, upsampler: pixelshuffledirect}",
    "SAFMN": "{type: spandrel.SAFMN, dim: 8, n_blocks: 1, upscaling_factor: 2}",
}


@pytest.fixture(autouse=True)
def _photos(tmp_path, monkeypatch, rng):
    """A current folder with images in photos/, whose sides are no multiple of a window."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(2):
        noise = rng.integers(0, 255, (12, 15, 3), dtype=np.uint8)
        write_image(f"photos/{number}.png", cv2.resize(noise, (102, 82), interpolation=cv2.INTER_CUBIC))


def written(network: str, gt_size: int = 32) -> Path:
    path = Path("mine.yml")
    path.write_text(OPTIONS.format(network=NETWORKS.get(network, network), gt_size=gt_size))
    return path


def upscaled(file: str | Path) -> np.ndarray:
    return Upscaler(find_model(file), backend="torch", precision="fp32", tile=0)(read_image("photos/0.png"))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_is_resumed_to_the_bit_upscaled_and_exported(network):
    file = written(network)
    run_file(file)
    whole = load_state("experiments/mine/models/net_g_4.pth", key="params")
    assert not torch.equal(
        *(load_state(f"experiments/mine/models/net_g_{n}.pth")[next(iter(whole))] for n in (2, 4))
    )
    Path("experiments/mine").rename("experiments/whole")

    run_file(file, overrides=["train:total_iter=2"])
    run_file(file, auto_resume=True)
    resumed = load_state("experiments/mine/models/net_g_4.pth", key="params")
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())

    sr = upscaled("experiments/mine")
    assert sr.shape == (164, 204, 3)
    # Where the file is moved to, spandrel finds the network by the weights.
    Path("experiments/mine/models/net_g_4.pth").rename("moved.pth")
    assert_array_equal(upscaled("moved.pth"), sr)
    if network != "SAFMN":  # its adaptive pooling cannot be written
        assert main(["export", "--model", "moved.pth", "--format", "onnx", "-o", "mine.onnx"]) == 0
    assert (
        main(["export", "--model", "experiments/whole", "--format", "safetensors", "-o", "m.safetensors"])
        == 0
    )
    assert find_model("m.safetensors").part == find_model("experiments/whole").part


def test_a_checkpoint_by_others_names_is_trained_on_by_one_recipe(capsys, real_esrgan_names):
    """The weights are those of Real-ESRGAN's names; network and arguments are found by them."""
    net = community_network("spandrel.ESRGAN")(num_filters=8, num_blocks=2, scale=4)
    torch.save({"params_ema": real_esrgan_names(net.state_dict())}, "community.pth")
    for number in range(6):
        write_image(f"photos/{number}.png", cv2.resize(read_image("photos/0.png"), (130, 120)))
    words = ["--recipe", "finetune", "--from", "community.pth", "--data", "photos", "--minutes", "0.1"]
    assert main(["new", "tuned", *words]) == 0
    assert "its network (ESRGAN) is trained further" in capsys.readouterr().out
    options = load_training(Path("tuned.yml"))
    assert options.network_g.type == "spandrel.ESRGAN"
    assert options.network_g.args == {"num_filters": 8, "num_blocks": 2}  # x4 is its default

    run_file(Path("tuned.yml"), overrides=["train:total_iter=1", "train:optim_g:lr=1e-9"])
    trained = load_state("experiments/tuned/models/net_g_1.pth")
    for name, weight in net.state_dict().items():
        torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-6)


def test_a_crop_that_a_network_cannot_take_is_refused_with_the_multiple():
    network = "{type: spandrel.HVICIDNet, channels: [8, 8, 8, 8], heads: [1, 2, 2, 2]}"
    with pytest.raises(
        OptionsError, match=r"network_g: .*; it takes multiples of 8: make gt_size a multiple of 8"
    ):
        run_file(written(network, gt_size=36), overrides=["scale=1"])


def test_a_network_that_shrinks_lq_first_has_another_scale_inside():
    """As RealESRGAN_x2plus: x4 of lq at half the size."""
    network = "{type: spandrel.ESRGAN, in_nc: 12, num_filters: 8, num_blocks: 1, scale: 4, shuffle_factor: 2}"
    run_file(written(network), overrides=["train:total_iter=1"])
    assert find_model("experiments/mine").scale == 2


def test_an_argument_is_refused_with_its_line():
    with pytest.raises(OptionsError, match=r"mine\.yml:\d+: network_g\.upscael: unknown argument.*'upscale'"):
        load_training(written("{type: spandrel.SwinIR, upscael: 2}"))
