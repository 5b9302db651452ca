import numpy as np
import pytest
import torch
from torch import nn

from srcx.archs import SRVGGNetCompact
from srcx.archs.community import community_network
from srcx.inference import network_sizes
from srcx.inference.network_sizes import size_multiple
from srcx.inference.tiling import NoSizeError, pad_to_multiple, run_padded

NETWORKS = {
    "SRVGGNetCompact": lambda: SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2).eval(),
    "spandrel.SPAN": lambda: community_network("spandrel.SPAN")(
        num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2
    ).eval(),
}


@pytest.mark.parametrize("size", [(5, 7), (1, 9), (3, 2), (1, 1), (8, 4)])
@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_borders_are_mirrored_as_numpy_mirrors_them(size, multiple):
    lq = torch.rand(2, 3, *size)
    widths = [(0, 0), (0, 0), *((0, -side % multiple) for side in size)]
    expected = np.pad(lq.numpy(), widths, mode="reflect")
    np.testing.assert_array_equal(pad_to_multiple(lq, multiple), expected)


def test_an_image_without_padding_is_not_copied():
    lq = torch.rand(1, 3, 8, 16)
    assert pad_to_multiple(lq, 8) is lq


def test_the_result_is_cut_to_the_image():
    lq = torch.rand(1, 3, 5, 7)
    sr = run_padded(lambda padded: padded.repeat_interleave(2, -1).repeat_interleave(2, -2), lq, 4)
    assert torch.equal(sr, lq.repeat_interleave(2, -1).repeat_interleave(2, -2))


class Picky(nn.Module):
    """Enlarges by 2 images whose sides are multiples of a number."""

    def __init__(self, multiple: int, window: int | None = None, *, inside: bool = True) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.multiple = multiple
        if window:
            (self.layer if inside else self).window_size = window  # type: ignore[assignment]

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        assert not any(side % self.multiple for side in lq.shape[-2:]), "whole windows only"
        return lq.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize(
    ("net", "multiple"),
    [
        *((Picky(multiple), multiple) for multiple in (1, 2, 4, 8, 16, 32, 64)),
        *((Picky(window, window), window) for window in (6, 7, 12)),
        (Picky(1, 8), 1),  # pads by itself
        (Picky(1, 8, inside=False), 8),
    ],
)
def test_the_multiple_is_found(net, multiple):
    assert size_multiple(net.eval(), 3) == (multiple, 2)


@pytest.mark.parametrize("type_name", ["SRVGGNetCompact", "spandrel.SPAN"])
def test_a_network_is_asked_once_whatever_its_weights_become(type_name, monkeypatch):
    """Training asks at each validation; recognising a network of spandrel builds it anew."""
    net = NETWORKS[type_name]()
    asked = []
    for name in ("recognise", "find_multiple"):
        found = getattr(network_sizes, name)
        monkeypatch.setattr(network_sizes, name, lambda *args, found=found: asked.append(1) or found(*args))
    assert [size_multiple(net, 3) for _ in range(3)] == [(1, 2)] * 3
    with torch.no_grad():
        next(net.parameters()).add_(1)
    assert size_multiple(net, 3) == (1, 2)
    assert len(asked) == 1
    assert size_multiple(NETWORKS[type_name](), 3) == (1, 2)
    assert len(asked) == 2


class HalfAndBack(nn.Module):
    """Takes odd sides without a word and makes another size of them."""

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return lq[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_size_whose_output_is_not_a_whole_factor_larger_does_not_count():
    assert size_multiple(HalfAndBack(), 3) == (2, 1)


def test_no_size_at_all_is_an_error():
    with pytest.raises(NoSizeError, match="whole windows only"):
        size_multiple(Picky(127), 3)
