"""The objective: a weighted sum of losses, with one pass of each image through each fixed network."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from srcx.errors import OptionsError
from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.locally_discriminative import LDLLoss

if TYPE_CHECKING:  # it needs more packages than torch
    from srcx.features.extractor import FeatureExtractor

__all__ = ["WeightedSum", "jittered"]


def jittered(*images: Tensor, jitter_px: int) -> tuple[Tensor, ...]:
    """Return the same random crop of all images, smaller by `jitter_px`.

    The strides of a network make its gradient uneven on a lattice: that of SRGAN's discriminator differs by a
    factor of two between the pixels of a 4 x 4 cell. A generator with subpixel convolutions may then produce
    a grid. A lattice that moves at random makes the gradient even on average.

    Args:
        images: For example sr and gt, of one shape (N, C, H, W).
        jitter_px: Best a multiple of the network's stride; 0 returns the images unchanged.

    Returns:
        Views, (N, C, H - jitter_px, W - jitter_px).
    """
    if not jitter_px:
        return images
    top, left = torch.randint(jitter_px, (2,)).tolist()
    height, width = (side - jitter_px for side in images[0].shape[-2:])
    return tuple(one[..., top : top + height, left : left + width] for one in images)


class WeightedSum(nn.Module):
    """Weighted sum of losses; the losses themselves are unweighted.

    Terms with the same fixed network share one pass through it per image, up to the deepest layer that any
    of them needs; only the pass of sr has a gradient.

    Args:
        terms: Name -> (loss, weight); a loss is called as `loss(sr, gt) -> scalar`.
        against: Name -> "lq" or "gt_sharp", for the terms that compare sr with this in place of gt.
        jitter_px: Argument of `jittered` for the inputs of fixed networks; 0 crops nothing.

    Attributes:
        parts: Number of parts of one batch whose gradients are averaged, on all ranks together. A term with
            `reduction: sum` is multiplied by it, so that the average is the sum over the batch.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), and the other images of that shape that its terms
    need: lq, sharpened gt, and the output of the EMA network (`needs_ema`). It returns the total and the
    weighted terms by name.

    Raises:
        OptionsError: a term has `reduction: none`, so it is not a scalar.

    Example:
        >>> from srcx.losses.pixel import L1Loss
        >>> total, terms = WeightedSum({"pixel": (L1Loss(), 2.0)})(torch.ones(1), torch.zeros(1))
        >>> total, terms
        (tensor(2.), {'pixel': tensor(2.)})
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[nn.Module, float]],
        *,
        against: Mapping[str, str] | None = None,
        jitter_px: int = 0,
    ) -> None:
        super().__init__()
        for name, (loss, _) in terms.items():
            if getattr(loss, "reduction", "mean") == "none":
                raise OptionsError(f"{name}: expected reduction mean or sum in an objective, got 'none'")
        self.against, self.jitter_px = dict(against or {}), jitter_px
        self.losses = nn.ModuleDict({name: loss for name, (loss, _) in terms.items()})
        self.weights = {name: weight for name, (_, weight) in terms.items()}
        self.parts = 1

    @property
    def needs_ema(self) -> bool:
        """True if a term needs the output of the EMA network."""
        return any(isinstance(loss, LDLLoss) for loss in self.losses.values())

    def forward(
        self,
        sr: Tensor,
        gt: Tensor,
        lq: Tensor | None = None,
        gt_sharp: Tensor | None = None,
        sr_ema: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        given = {"lq": lq, "gt_sharp": gt_sharp}
        others = {"gt": gt}
        for name in self.against.values():
            other = given[name]
            assert other is not None, f"a term compares with {name}, which is missing"
            others[name] = other
        features = self._features(sr, others)
        terms = {}
        # Shared extractors ran in the caller's precision; formulas, and networks inside a loss, run in full.
        with torch.autocast(sr.device.type, enabled=False):
            for name, loss in self.losses.items():
                side = self._other(name)
                with record_function(f"srcx: loss {name}"):
                    if isinstance(loss, FeatureLoss) and loss.extractor is not None:
                        of_image = features[id(loss.extractor)]
                        value = loss.compare(of_image["sr"], of_image[side])
                    elif isinstance(loss, LDLLoss):
                        value = loss(sr, others[side], sr_ema)
                    else:
                        value = loss(sr, others[side])
                terms[name] = self.weights[name] * (self.parts if _is_sum(loss) else 1) * value
        return sum(terms.values(), start=sr.new_zeros(())), terms

    def _other(self, name: str) -> str:
        """Return the name of the image that this term compares sr with."""
        return self.against.get(name, "gt")

    def _features(self, sr: Tensor, others: Mapping[str, Tensor]) -> dict[int, dict[str, dict[str, Tensor]]]:
        """Return extractor -> image -> layer -> features, of sr and of the images it is compared with."""
        wanted: dict[int, tuple[FeatureExtractor, dict[str, set[str]]]] = {}
        for name, loss in self.losses.items():
            if isinstance(loss, FeatureLoss) and loss.extractor is not None:
                layers = wanted.setdefault(id(loss.extractor), (loss.extractor, defaultdict(set)))[1]
                for side in ("sr", self._other(name)):
                    layers[side].update(loss.layers)
        if not wanted:
            return {}
        images = (*others.values(), sr)
        inputs = dict(zip((*others, "sr"), jittered(*images, jitter_px=self.jitter_px), strict=True))
        features: dict[int, dict[str, dict[str, Tensor]]] = {key: {} for key in wanted}
        for key, (extractor, layers) in wanted.items():
            for side, image in inputs.items():
                if side in layers:
                    without_gradient = nullcontext() if side == "sr" else torch.no_grad()
                    with without_gradient, record_function(f"srcx: features of {side}"):
                        features[key][side] = _in_full(extractor(image, sorted(layers[side])))
        return features


def _is_sum(loss: nn.Module) -> bool:
    """Return whether a loss is summed over the batch; that of BasicSR is inside its adapter."""
    return getattr(getattr(loss, "loss", loss), "reduction", "mean") == "sum"


def _in_full(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the features in at least float32: half precision is for the network, not for the formulas."""
    return {
        name: value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        for name, value in features.items()
    }
