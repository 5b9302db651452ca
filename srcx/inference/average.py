"""The weighted mean of checkpoints of one network."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from srcx.errors import CheckpointError, UsageError
from srcx.inference.export import SUFFIXES, check_exportable, described_weights
from srcx.inference.models import Model, find_model
from srcx.weights.checkpoint import save_state
from srcx.weights.files import read_metadata
from srcx.weights.fit import average_states

__all__ = ["average"]


def average(
    checkpoints: Sequence[str | Path], out: Path, *, weights: Sequence[float] | None = None
) -> list[tuple[str, float]]:
    """Write the weighted mean of the weights of several checkpoints, in fp32.

    The file says its network and scale, what the metadata of all checkpoints agree on, such as the
    licence, and under "average" name, sha256 and share of each. A card is not copied: its figures are of
    other weights.

    Args:
        checkpoints: Two or more, as for `find_model`; EMA weights where a file has both.
        out: A .safetensors file.
        weights: One for each checkpoint; divided by their sum. None: all alike. With a negative one the
            result lies beyond the others, away from that checkpoint.

    Returns:
        The name of each checkpoint, and its share in the mean.

    Raises:
        UsageError: there are fewer than two checkpoints, not as many weights, their sum is not above 0, or
            `out` is no .safetensors or one of the checkpoints.
        CheckpointError: a file is damaged, or of another network than the first.
        OutputError: the file cannot be written.

    References:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018,
        arXiv:1803.05407. Of a sharp and a faithful network: Wang et al., "ESRGAN", ECCV workshops 2018,
        arXiv:1809.00219, section 3.4, without the negative weights.
    """
    if len(checkpoints) < 2:
        raise UsageError(f"average: expected two checkpoints or more, got {len(checkpoints)}; name another")
    given = [1.0] * len(checkpoints) if weights is None else list(weights)
    if len(given) != len(checkpoints):
        raise UsageError(
            f"weights: expected one for each of {len(checkpoints)} checkpoints, got {len(given)}"
        )
    if not 0 < sum(given) < math.inf:
        raise UsageError(f"weights: expected numbers whose sum is above 0 and finite; got {given}")
    shares = [weight / sum(given) for weight in given]
    models = [find_model(checkpoint) for checkpoint in checkpoints]
    if any(model.path and out.exists() and out.samefile(model.path) for model in models):
        raise UsageError(f"{out}: is one of the checkpoints; name another file for the mean")
    nets = [check_exportable(model, out, SUFFIXES["safetensors"]) for model in models]
    # A network's text shows its layers, also where options left out their defaults.
    kinds = [(model.architecture, model.scale, str(net)) for model, net in zip(models, nets, strict=True)]
    for model, kind in zip(models, kinds, strict=True):
        if kind != kinds[0]:
            raise CheckpointError(
                f"{model.path}: expected the network of {models[0].path}, {_in_words(models[0])}; got "
                f"{_in_words(model)}; average checkpoints of one network"
            )
    states, about = zip(*map(described_weights, models), strict=True)
    said = [read_metadata(model.path) for model in models if model.path]
    agreed = dict(set.intersection(*(set(words.items()) for words in said)))
    recipe = [
        {"name": model.name, "sha256": model.sha256, "share": share}
        for model, share in zip(models, shares, strict=True)
    ]
    averaged = average_states(list(zip(map(str, checkpoints), states, strict=True)), shares)
    save_state(out, averaged, metadata=agreed | about[0] | {"average": json.dumps(recipe)})
    return [(model.name, share) for model, share in zip(models, shares, strict=True)]


def _in_words(model: Model) -> str:
    return f"{model.architecture} x{model.scale} with {model.parameters:,} weights"
