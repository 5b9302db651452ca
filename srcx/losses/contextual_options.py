"""Arguments that the contextual losses share: values, checks, and the names that other code has for them."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, get_args

from torch import Tensor

from srcx.errors import OptionsError

__all__ = [
    "OTHER_NAMES",
    "Centering",
    "Product",
    "Reduction",
    "check_one_of",
    "check_positive",
    "check_shared",
    "reduced",
    "refuse_other_names",
]

Product = Literal["fp32", "bf16"]
Reduction = Literal["none", "mean", "sum"]
Centering = Literal["batch", "sample"]

# The values stand here because torch.compile cannot look into a Literal.
PRODUCTS, REDUCTIONS, CENTERINGS = get_args(Product), get_args(Reduction), get_args(Centering)

OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "band_width": "bandwidth=H",
        "loss_type": "distance='cosine', 'l1' or 'l2'",
        "use_vgg": "features=MODULE; torch.nn.Identity() for maps that you have",
        "vgg_layer": "layer_weights={LAYER: 1.0}",
        "weight_sp": "weight_sp of ContextualBilateralLoss or contextual_bilateral_loss",
    }
)
"""Argument of the copies in circulation (contextual_loss_pytorch and its forks) -> how it is said here."""


def refuse_other_names(name: str, given: Mapping[str, object]) -> None:
    """Refuse arguments that `name` does not have, and say how those of other implementations are called here.

    Raises:
        OptionsError: there is such an argument.
    """
    for word in given:
        here = f"here it is {OTHER_NAMES[word]}" if word in OTHER_NAMES else "see its documentation"
        raise OptionsError(f"{name}: expected its own arguments, got {word}; {here}")


def check_shared(
    name: str, *, bandwidth: float, eps: float, product: str, reduction: str, centering: str
) -> None:
    """Check the arguments that all contextual losses have; `name` begins error messages.

    Raises:
        OptionsError: one is out of range.
    """
    check_positive(name, bandwidth=bandwidth, eps=eps)
    check_one_of(name, "product", product, PRODUCTS)
    check_one_of(name, "reduction", reduction, REDUCTIONS)
    check_one_of(name, "centering", centering, CENTERINGS)


def check_positive(name: str, **numbers: float) -> None:
    """Check that numbers are above 0.

    Raises:
        OptionsError: one is not.
    """
    for word, number in numbers.items():
        if isinstance(number, str) or not number > 0:
            raise OptionsError(f"{name}: expected {word} above 0, got {number!r}")


def check_one_of(name: str, word: str, value: object, known: Collection[str]) -> None:
    """Check that `value` is one of the `known`.

    Raises:
        OptionsError: it is not.
    """
    if value not in known:
        raise OptionsError(f"{name}: expected {', '.join(known)} as {word}, got {value!r}; name one of them")


def reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    """Return the losses of a batch's samples (N,) as they are, or their mean or sum."""
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()
