"""Properties of the discriminators."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from srcx.archs import (
    FeatureDiscriminator,
    PatchDiscriminator,
    SRGANDiscriminator,
    UNetDiscriminatorSN,
    VGGStyleDiscriminator,
)
from srcx.errors import ImageError, OptionsError
from srcx.features.extractor import FeatureExtractor
from srcx.weights.checkpoint import save_state

DISCRIMINATORS = [
    (lambda _, num_feat: FeatureDiscriminator(num_feat), 16),
    (PatchDiscriminator, 48),
    (SRGANDiscriminator, 96),
    (UNetDiscriminatorSN, 16),
    (VGGStyleDiscriminator, 128),
]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_state(folder / "vgg16.safetensors", FeatureExtractor.random("vgg16").state_dict())
    return folder


@pytest.fixture(autouse=True)
def _made_up_weights(made_up, monkeypatch):
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up))


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        (["relu1_2", "relu2_2", "relu3_3"], (2, 3, 11, 6)),
        (["relu1_2", "relu2_2"], (2, 2, 22, 13)),
        (["conv4_1"], (2, 1, 5, 3)),
        (["mscn", "relu1_2"], (2, 2, 45, 27)),
        (["relu2_2", "mscn"], (2, 2, 22, 13)),
    ],
)
def test_feature_discriminator_gives_a_map_of_logits_for_each_layer(layers, shape):
    assert FeatureDiscriminator(2, layers)(torch.rand(2, 3, 45, 27)).shape == shape


@pytest.mark.parametrize(("place", "patch_px"), [(0, 38), (1, 44), (2, 64)])
def test_feature_discriminator_classifies_patches(place, patch_px):
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    FeatureDiscriminator(2)(image)[0, place, 12, 12].backward()
    assert image.grad is not None
    used = image.grad.abs().sum((0, 1))
    assert [int((used.sum(axis) > 0).sum()) for axis in (0, 1)] == [patch_px, patch_px]


def test_feature_discriminator_detects_faint_grain_by_mscn():
    net = FeatureDiscriminator(4, ["mscn", "relu1_2"])
    grain = torch.rand(1, 3, 64, 64) - 0.5
    strong, faint = (net(0.5 + contrast * grain).std((0, 2, 3)) for contrast in (0.8, 0.1))
    by_mscn, by_vgg = faint / strong
    assert by_mscn > 0.9
    assert by_vgg < 0.3


def test_feature_discriminator_keeps_the_fixed_network_out_of_weights_and_training():
    net = FeatureDiscriminator(2)
    assert {name.split(".")[0] for name in net.state_dict()} == {"heads"}
    net.requires_grad_(True)
    assert not any(weight.requires_grad for weight in net.extractor.parameters())
    assert copy.deepcopy(net)(torch.rand(1, 3, 16, 16)).shape == (1, 3, 4, 4)


def test_feature_discriminator_moves_the_fixed_network_too():
    net = FeatureDiscriminator(2).double()
    assert net(torch.rand(1, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64


def test_feature_discriminator_names_the_size_it_needs_and_the_layer_it_lacks():
    with pytest.raises(ImageError, match=r"made for at least 4 x 4 pixels, got shape \(1, 3, 3, 9\)"):
        FeatureDiscriminator(2)(torch.rand(1, 3, 3, 9))
    with pytest.raises(ImageError, match=r"made for at least 4 x 4 pixels"):
        FeatureDiscriminator(2, ["mscn", "relu1_2"])(torch.rand(1, 3, 9, 3))
    with pytest.raises(OptionsError, match="has no layer 'relu9_1'"):
        FeatureDiscriminator(2, ["relu9_1"])


@pytest.mark.parametrize("size", [16, 48, 96, 128])
def test_srgan_discriminator_gives_one_logit_for_an_image(size):
    assert SRGANDiscriminator(num_feat=2, input_size=size)(torch.rand(2, 3, size, size)).shape == (2, 1)


@pytest.mark.parametrize("size", [0, -16, 8, 100])
def test_srgan_discriminator_names_the_sizes_it_accepts(size):
    with pytest.raises(OptionsError, match=rf"input_size must be a positive multiple of 16; got {size}"):
        SRGANDiscriminator(input_size=size)


def test_srgan_discriminator_names_both_sizes_when_they_differ():
    with pytest.raises(ImageError, match=r"made for images of 32 x 32 pixels, got shape \(1, 3, 48, 48\)"):
        SRGANDiscriminator(num_feat=2, input_size=32)(torch.rand(1, 3, 48, 48))


def test_srgan_discriminator_has_the_layers_of_the_paper():
    net = SRGANDiscriminator()
    convs = [(m.out_channels, m.stride[0]) for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convs == [(64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)]
    dense = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert dense == [(512 * 6 * 6, 1024), (1024, 1)]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 7
    assert {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("num_layers", "patch_px"), [(1, 16), (2, 34), (3, 70)])
def test_patch_discriminator_classifies_patches_of_the_published_sizes(num_layers, patch_px):
    net = PatchDiscriminator(num_feat=2, num_layers=num_layers).eval()
    image = torch.rand(1, 3, 160, 160, requires_grad=True)
    logits = net(image)
    assert logits.shape == (1, 1, 160 // 2**num_layers - 2, 160 // 2**num_layers - 2)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert image.grad is not None
    used = image.grad.abs().sum((0, 1))
    assert [int((used.sum(axis) > 0).sum()) for axis in (0, 1)] == [patch_px, patch_px]


def test_patch_discriminator_has_the_layers_of_the_paper():
    convs = [m for m in PatchDiscriminator().modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.stride[0]) for m in convs] == [(64, 2), (128, 2), (256, 2), (512, 1), (1, 1)]
    assert {m.kernel_size for m in convs} == {(4, 4)}
    assert convs[3].weight.std().item() == pytest.approx(0.02, rel=0.01)


def test_patch_discriminator_names_the_sizes_it_accepts():
    assert PatchDiscriminator(num_feat=2)(torch.rand(1, 3, 24, 30)).shape == (1, 1, 1, 1)
    with pytest.raises(ImageError, match=r"made for at least 24 x 24 pixels, got shape \(1, 3, 23, 30\)"):
        PatchDiscriminator(num_feat=2)(torch.rand(1, 3, 23, 30))
    with pytest.raises(OptionsError, match="num_layers must be 1 or more; got 0"):
        PatchDiscriminator(num_layers=0)


def test_unet_discriminator_gives_one_logit_for_a_pixel():
    assert UNetDiscriminatorSN(3, num_feat=2)(torch.rand(2, 3, 24, 40)).shape == (2, 1, 24, 40)


def test_unet_discriminator_names_the_sizes_it_accepts():
    with pytest.raises(ImageError, match=r"must be multiples of 8; got shape \(1, 3, 16, 20\)"):
        UNetDiscriminatorSN(3, num_feat=2)(torch.rand(1, 3, 16, 20))


def test_unet_discriminator_bounds_the_norm_of_its_weights():
    net = UNetDiscriminatorSN(3, num_feat=4)
    with torch.no_grad():
        net.conv7.weight_orig.mul_(50)
        for _ in range(50):
            net(torch.rand(1, 3, 8, 8))
    assert torch.linalg.matrix_norm(net.conv7.weight.flatten(1), ord=2).item() == pytest.approx(1, rel=0.01)


def test_unet_discriminator_without_skips_differs():
    with_skips = UNetDiscriminatorSN(3, num_feat=4).eval()
    without = UNetDiscriminatorSN(3, num_feat=4, skip_connection=False).eval()
    without.load_state_dict(with_skips.state_dict())
    image = torch.rand(1, 3, 16, 16)
    assert not torch.allclose(with_skips(image), without(image))


@pytest.mark.parametrize("size", [128, 256])
def test_vgg_style_discriminator_gives_one_logit_for_an_image(size):
    assert VGGStyleDiscriminator(3, 2, input_size=size)(torch.rand(2, 3, size, size)).shape == (2, 1)


def test_vgg_style_discriminator_names_the_sizes_it_accepts():
    with pytest.raises(OptionsError, match="input_size must be 128 or 256; got 96"):
        VGGStyleDiscriminator(3, 2, input_size=96)


def test_vgg_style_discriminator_names_both_sizes_when_they_differ():
    with pytest.raises(ImageError, match=r"made for images of 128 x 128 pixels, got shape \(1, 3, 96, 96\)"):
        VGGStyleDiscriminator(3, 2)(torch.rand(1, 3, 96, 96))


@pytest.mark.parametrize(("network", "size"), DISCRIMINATORS)
def test_values_do_not_depend_on_the_memory_format(network, size):
    net, images = network(3, num_feat=2), torch.rand(2, 3, size, size)
    with torch.no_grad():
        # Spectral norms settle: divided by their first estimate, rounding errors may grow without bound.
        for _ in range(20):
            net(images)
    net.eval()
    before = net(images)
    net = net.to(memory_format=torch.channels_last)
    assert_close(net(images.to(memory_format=torch.channels_last)), before, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("network", "size"), DISCRIMINATORS)
def test_every_parameter_has_a_gradient(network, size):
    net = network(3, num_feat=2)
    net(torch.rand(2, 3, size, size)).square().mean().backward()
    still = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []
