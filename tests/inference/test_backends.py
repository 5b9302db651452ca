import pytest
import torch
from torch import nn

from srcx.archs import MSRResNet
from srcx.errors import UsageError
from srcx.inference import Model, backends
from srcx.inference.backends import Way, opened

NCNN = Way("ncnn")


def model_of(net: nn.Module, **about: int) -> Model:
    return Model("test", 2, "test", "0", net=net.eval(), **about)


@pytest.fixture
def net() -> nn.Module:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    return MSRResNet(num_feat=8, num_block=2, upscale=2)


@torch.inference_mode()
def test_ncnn_takes_any_size_and_several_pictures(net):
    run = opened(NCNN, model_of(net))
    for lq in (torch.rand(1, 3, 31, 18), torch.rand(3, 3, 9, 40).to(memory_format=torch.channels_last)):
        torch.testing.assert_close(run(lq), net(lq), atol=1e-4, rtol=1e-4)


class Windows(nn.Module):
    """Takes multiples of 8 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 8, stride=8)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        assert lq.shape[-1] % 8 == lq.shape[-2] % 8 == 0
        return nn.functional.interpolate(self.conv(lq), scale_factor=16)


@torch.inference_mode()
def test_ncnn_is_shown_sizes_that_the_network_takes(net):
    windows = Windows()
    lq = torch.rand(1, 3, 40, 24)
    torch.testing.assert_close(opened(NCNN, model_of(windows, multiple_of=8))(lq), windows(lq))


def test_what_ncnn_does_otherwise_than_torch_is_refused(net, monkeypatch):
    monkeypatch.setattr(backends, "likeness_db", lambda one, other: 79.0)
    with pytest.raises(UsageError, match="ncnn: does not make of test what torch does; take another backend"):
        opened(NCNN, model_of(net))


def test_what_cannot_be_converted_is_one_sentence(net):
    class Odd(nn.Module):
        def forward(self, lq: torch.Tensor) -> torch.Tensor:
            return lq.sort(-1)[0]

    with pytest.raises(UsageError, match=r"^ncnn: .*take another backend$") as error:
        opened(NCNN, model_of(Odd()))
    assert "\n" not in str(error.value)


def test_lack_of_memory_is_told_as_such(net, monkeypatch):
    import ncnn

    run = opened(NCNN, model_of(net))
    monkeypatch.setattr(ncnn.Extractor, "extract", lambda self, name: (-100, None))
    with pytest.raises(MemoryError):
        run(torch.rand(1, 3, 9, 9))
    monkeypatch.setattr(ncnn.Extractor, "extract", lambda self, name: (-1, None))
    with pytest.raises(RuntimeError, match="ncnn: stopped with -1"):
        run(torch.rand(1, 3, 9, 9))
