import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from srcx.archs import SRResNet
from srcx.errors import CheckpointError, ImageError
from srcx.losses.aesop import AESOPLoss
from srcx.weights.checkpoint import save_state


@pytest.fixture(scope="module")
def loss() -> AESOPLoss:
    return AESOPLoss()


def make_model(path: Path, network: str = "SRResNet", **metadata: str) -> SRResNet:
    args = {"num_feat": 4, "num_block": 1, "upscale": 2}
    net = SRResNet(num_feat=4, num_block=1, upscale=2)
    about = {"network": json.dumps({"type": network, "args": args}), "scale": "2", **metadata}
    save_state(path, net.state_dict(), metadata=about)
    return net


def test_grey_images_are_reconstructed_as_they_are_so_that_their_distance_is_that_of_the_greys(loss):
    sr, gt = torch.full((1, 3, 48, 48), 0.6), torch.full((1, 3, 48, 48), 0.5)
    assert_close(loss(sr, gt), torch.tensor(0.1), atol=5e-3, rtol=0)
    assert loss(gt, gt) == 0


def test_texture_that_the_low_resolution_does_not_hold_costs_far_less_than_by_l1(loss):
    gt = torch.full((1, 3, 48, 48), 0.5)
    board = (torch.arange(48)[:, None] + torch.arange(48)) % 2 * 0.2 - 0.1
    assert (gt + board - gt).abs().mean() == pytest.approx(0.1)
    assert loss(gt + board, gt) < 0.004


def test_equals_the_l1_of_the_upscaled_small_images_by_the_named_checkpoint(tmp_path):
    net = make_model(tmp_path / "own.safetensors").eval()
    sr, gt = torch.rand(2, 3, 12, 16), torch.rand(2, 3, 12, 16)
    small = [
        torch.nn.functional.interpolate(image, (6, 8), mode="bicubic", antialias=True) for image in (sr, gt)
    ]
    expected = (net(small[0]) - net(small[1])).abs().mean()
    loss = AESOPLoss(tmp_path / "own.safetensors").train()
    assert_close(loss(sr, gt), expected)
    assert not loss.decoder.training  # its batch normalisation stays as it was trained


def test_the_gradient_goes_to_sr_alone_and_making_the_loss_draws_no_random_number(tmp_path):
    make_model(tmp_path / "own.safetensors")
    before = torch.get_rng_state()
    loss = AESOPLoss(tmp_path / "own.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    sr, gt = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16)
    loss(sr, gt).backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in loss.parameters())


@pytest.mark.parametrize(
    "name", ["srresnet-x9", "discriminator.safetensors", "plain.pth", "broken.safetensors"]
)
def test_what_is_no_model_is_refused_with_the_command_that_makes_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "discriminator.safetensors", network="FeatureDiscriminator")
    make_model(tmp_path / "broken.safetensors", scale="two")
    save_state(tmp_path / "plain.pth", SRResNet(num_feat=4, num_block=1).state_dict())
    with pytest.raises(CheckpointError, match=rf"{name}: (there is no such file|.*srcx export --model FILE)"):
        AESOPLoss(name)


def test_a_path_is_not_that_of_another_file_beside_it(tmp_path):
    make_model(tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match="own: there is no such file"):
        AESOPLoss(tmp_path / "own")


def test_sizes_that_do_not_divide_are_refused(loss):
    image = torch.rand(1, 3, 18, 16)
    with pytest.raises(ImageError, match=r"H and W multiples of 4; got \(1, 3, 18, 16\)"):
        loss(image, image)
    with pytest.raises(ImageError, match="RGB"):
        loss(image[:, :1], image[:, :1])
