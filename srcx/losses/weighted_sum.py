"""The objective: a weighted sum of losses, each image seen once by each fixed network."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from srcx.features.extractor import FeatureExtractor
from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.jitter import jittered
from srcx.losses.locally_discriminative import LDLLoss

__all__ = ["WeightedSum"]


class WeightedSum(nn.Module):
    """Weighs losses and adds them up; it alone knows the weights.

    Terms that look through the same fixed network share one pass of it per image,
    down to the deepest layer any of them wants; only the pass of sr keeps a gradient.

    Args:
        terms: Name -> (loss, weight); a loss is called as `loss(sr, gt) -> scalar`.
        against: Name -> "lq" or "gt_sharp", for the terms that compare sr with this in place of gt.
        jitter_px: What `jittered` takes, for the images that fixed networks see; 0 moves nothing.

    Attributes:
        parts: Number of parts of one batch whose gradients are averaged, on all ranks together. A term with
            `reduction: sum` is multiplied by it, so that the average is the sum over the batch.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), and what else its terms need, of that shape: lq,
    sharpened gt, and the output of the EMA network (`needs_ema`). It returns the total and the weighted terms
    by name.

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
        self.against, self.jitter_px = dict(against or {}), jitter_px
        self.losses = nn.ModuleDict({name: loss for name, (loss, _) in terms.items()})
        self.weights = {name: weight for name, (_, weight) in terms.items()}
        self.parts = 1

    @property
    def needs_ema(self) -> bool:
        """Whether a term needs the output of the EMA network."""
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
            assert other is not None, f"a term compares with {name}, which is not given"
            others[name] = other
        features = self._features(sr, others)
        terms = {}
        # The fixed networks run in the caller's precision, the formulas in full.
        with torch.autocast(sr.device.type, enabled=False):
            for name, loss in self.losses.items():
                side = self._other(name)
                if isinstance(loss, FeatureLoss) and loss.extractor is not None:
                    seen = features[id(loss.extractor)]
                    value = loss.compare(seen["sr"], seen[side])
                elif isinstance(loss, LDLLoss):
                    value = loss(sr, others[side], sr_ema)
                else:
                    value = loss(sr, others[side])
                terms[name] = self.weights[name] * (self.parts if _is_sum(loss) else 1) * value
        return sum(terms.values(), start=sr.new_zeros(())), terms

    def _other(self, name: str) -> str:
        """What this term compares sr with."""
        return self.against.get(name, "gt")

    def _features(self, sr: Tensor, others: Mapping[str, Tensor]) -> dict[int, dict[str, dict[str, Tensor]]]:
        """For each distinct extractor among the terms the features of sr and of what it is compared with."""
        wanted: dict[int, tuple[FeatureExtractor, dict[str, set[str]]]] = {}
        for name, loss in self.losses.items():
            if isinstance(loss, FeatureLoss) and loss.extractor is not None:
                layers = wanted.setdefault(id(loss.extractor), (loss.extractor, defaultdict(set)))[1]
                for side in ("sr", self._other(name)):
                    layers[side].update(loss.layers)
        if not wanted:
            return {}
        images = (*others.values(), sr)
        seen = dict(zip((*others, "sr"), jittered(*images, jitter_px=self.jitter_px), strict=True))
        features: dict[int, dict[str, dict[str, Tensor]]] = {key: {} for key in wanted}
        for key, (extractor, layers) in wanted.items():
            for side, image in seen.items():
                if side in layers:
                    with nullcontext() if side == "sr" else torch.no_grad():
                        features[key][side] = _in_full(extractor(image, sorted(layers[side])))
        return features


def _is_sum(loss: nn.Module) -> bool:
    """Whether a loss is summed over the batch; one of BasicSR's says so inside its wrapper."""
    return getattr(getattr(loss, "loss", loss), "reduction", "mean") == "sum"


def _in_full(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """At least float32: half precision is for the network, not for the sums of a formula."""
    return {
        name: value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        for name, value in features.items()
    }
