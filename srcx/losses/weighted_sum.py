"""The objective: a weighted sum of losses, each picture seen once by each fixed network."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from srcx.losses.feature_loss import FeatureLoss
from srcx.losses.jitter import jittered

__all__ = ["WeightedSum"]


class WeightedSum(nn.Module):
    """Weighs losses and adds them up; it alone knows the weights.

    Terms that look through the same fixed network share one pass of it per picture,
    down to the deepest layer any of them wants; the pass of gt keeps no gradient.

    Args:
        terms: Name -> (loss, weight); a loss is called as `loss(sr, gt) -> scalar`.
        jitter_px: What `jittered` takes, for the pictures that fixed networks see; 0 moves nothing.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), it returns the total and the weighted terms by name.

    Example:
        >>> from srcx.losses.pixel import L1Loss
        >>> total, terms = WeightedSum({"pixel": (L1Loss(), 2.0)})(torch.ones(1), torch.zeros(1))
        >>> total, terms
        (tensor(2.), {'pixel': tensor(2.)})
    """

    def __init__(self, terms: Mapping[str, tuple[nn.Module, float]], *, jitter_px: int = 0) -> None:
        super().__init__()
        self.jitter_px = jitter_px
        self.losses = nn.ModuleDict({name: loss for name, (loss, _) in terms.items()})
        self.weights = {name: weight for name, (_, weight) in terms.items()}

    def forward(self, sr: Tensor, gt: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features = self._features(sr, gt)
        terms = {}
        # The fixed networks run in the caller's precision, the formulas in full.
        with torch.autocast(sr.device.type, enabled=False):
            for name, loss in self.losses.items():
                if isinstance(loss, FeatureLoss) and loss.extractor is not None:
                    value = loss.compare(*features[id(loss.extractor)])
                else:
                    value = loss(sr, gt)
                terms[name] = self.weights[name] * value
        return sum(terms.values(), start=sr.new_zeros(())), terms

    def _features(self, sr: Tensor, gt: Tensor) -> dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """The features of both pictures for each distinct extractor among the terms."""
        wanted: dict[int, tuple[nn.Module, set[str]]] = {}
        for loss in self.losses.values():
            if isinstance(loss, FeatureLoss) and loss.extractor is not None:
                wanted.setdefault(id(loss.extractor), (loss.extractor, set()))[1].update(loss.layers)
        if wanted:
            sr, gt = jittered(sr, gt, self.jitter_px)
        features = {}
        for key, (extractor, layers) in wanted.items():
            with torch.no_grad():
                of_gt = _in_full(extractor(gt, sorted(layers)))
            features[key] = _in_full(extractor(sr, sorted(layers))), of_gt
        return features


def _in_full(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """At least float32: half precision is for the network, not for the sums of a formula."""
    return {
        name: value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        for name, value in features.items()
    }
