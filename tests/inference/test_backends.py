import numpy as np
import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet
from srcx.errors import UsageError
from srcx.inference import Model
from srcx.inference.backends import ncnn as ncnn_module
from srcx.inference.backends.ncnn import Ncnn
from srcx.inference.backends.nnpack import Nnpack


def model_of(net: nn.Module, **about: int) -> Model:
    return Model("test", 2, "test", "0", net=net.eval(), **about)


@pytest.fixture
def net() -> nn.Module:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    return MSRResNet(num_feat=8, num_block=2, upscale=2)


@torch.inference_mode()
def test_ncnn_takes_any_size_and_several_images(net):
    run = Ncnn().open(model_of(net))
    for lq in (torch.rand(1, 3, 31, 18), torch.rand(3, 3, 9, 40).to(memory_format=torch.channels_last)):
        np.testing.assert_allclose(run(lq.numpy()), net(lq), atol=1e-4, rtol=1e-4)


class Windows(nn.Module):
    """Takes multiples of 8 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 8, stride=8)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        assert lq.shape[-1] % 8 == lq.shape[-2] % 8 == 0
        return nn.functional.interpolate(self.conv(lq), scale_factor=16)


@torch.inference_mode()
def test_pnnx_gets_sizes_that_the_network_takes(net):
    windows = Windows()
    lq = torch.rand(1, 3, 40, 24)
    sr = Ncnn().open(model_of(windows, multiple_of=8))(lq.numpy())
    np.testing.assert_allclose(sr, windows(lq), atol=1e-5)


def test_a_converted_network_unlike_torch_s_is_refused(net, monkeypatch):
    monkeypatch.setattr(ncnn_module, "psnr_db", lambda one, other: 79.0)
    with pytest.raises(UsageError, match="ncnn: gives other images than torch by test; take another backend"):
        Ncnn().open(model_of(net))


def test_a_network_that_cannot_be_converted_is_one_sentence(net):
    class Odd(nn.Module):
        def forward(self, lq: torch.Tensor) -> torch.Tensor:
            return lq.sort(-1)[0]

    with pytest.raises(UsageError, match=r"^ncnn: .*take another backend$") as error:
        Ncnn().open(model_of(Odd()))
    assert "\n" not in str(error.value)


def test_ncnn_s_error_codes_become_errors(net, monkeypatch):
    import ncnn

    run = Ncnn().open(model_of(net))
    monkeypatch.setattr(ncnn.Extractor, "extract", lambda self, name: (-100, None))
    with pytest.raises(MemoryError):
        run(np.ones((1, 3, 9, 9), np.float32))
    monkeypatch.setattr(ncnn.Extractor, "extract", lambda self, name: (-1, None))
    with pytest.raises(RuntimeError, match="ncnn: stopped with -1"):
        run(np.ones((1, 3, 9, 9), np.float32))


class Mixed(nn.Module):
    """Convolutions that NNPACK is for, and such that it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = nn.ModuleList(
            [
                nn.Conv2d(16, 24, 3, padding=1),
                nn.Conv2d(24, 16, 3),
                nn.Conv2d(16, 16, 3, padding=1, bias=False),
            ]
        )
        self.others = nn.ModuleList(
            [
                nn.Conv2d(16, 16, 5, padding=2),
                nn.Conv2d(16, 16, 3, padding=2, dilation=2),
                nn.Conv2d(16, 16, 3, padding=1, groups=2),
                nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
                nn.Conv2d(16, 8, 3, stride=2),
                nn.Conv2d(8, 16, 3, padding="same"),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (*self.wanted, *self.others):
            x = layer(x)
        return x


@pytest.mark.skipif(not Nnpack().available(), reason="this torch has no NNPACK for this processor")
@torch.inference_mode()
def test_nnpack_runs_the_convolutions_it_is_for_and_no_others(monkeypatch):
    calls = []
    real = torch._nnpack_spatial_convolution
    monkeypatch.setattr(
        torch, "_nnpack_spatial_convolution", lambda *args: calls.append(args[1].shape) or real(*args)
    )
    net = Mixed().eval()
    lq = torch.rand(2, 16, 21, 34).to(memory_format=torch.channels_last)
    sr = Nnpack().open(model_of(net))(lq.numpy())
    assert calls == [layer.weight.shape for layer in net.wanted]
    np.testing.assert_allclose(sr, net(lq), atol=1e-4, rtol=1e-4)
    assert len(calls) == 3, "the model's own network stays as it was"


def test_a_torch_without_nnpack_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.backends.nnpack, "is_available", lambda: False)
    with pytest.raises(
        UsageError, match="nnpack: this torch has no NNPACK for this processor; take another backend"
    ):
        Nnpack().open(model_of(Mixed()))
