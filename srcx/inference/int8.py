"""A network in 8 bits for OpenVINO: scales found on images, kept if other images lose next to nothing."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srcx.errors import CheckpointError, DataError, UsageError
from srcx.imaging import ImageArray, imresize, read_image, to_image, to_rgb, to_tensor
from srcx.inference.backends import MADE_OF, Run, import_quietly, module_of, openvino_run, to_onnx
from srcx.inference.export import check_exportable, moved_to
from srcx.inference.model import Model
from srcx.inference.precision import likeness_db
from srcx.metrics import rmse, rmse_of_set

__all__ = ["Kept", "export_int8"]

MOST_LOST_DB = 0.05
"""PSNR-Y that 8 bits may lose against fp32 on images the scales were not found on, all pixels taken
together: alone, a smooth image that fp32 makes to 45 dB would outweigh all that has detail."""
IMAGES = 120
ONE_IN = 6
"""Of so many images one is compared on; the scales are found on the others."""
PIECE_PX = 64
"""Side of the piece of an image that is taken, in input pixels."""


class Kept(NamedTuple):
    """How good a network in 8 bits is, over the images compared on."""

    likeness_db: float
    """Mean likeness to torch's output in fp32."""
    lost_db: float
    """PSNR-Y lost against it, of the mean squared error of all pieces."""


class Piece(NamedTuple):
    """A piece of an image, and what the network is given to make it of."""

    lq: Tensor
    """(1, channels, h, w) in [0, 1]."""
    gt: ImageArray


def export_int8(model: Model, out: Path, images: Sequence[Path]) -> Kept:
    """Write a model's network in 8 bits, if it makes as good images as in fp32.

    Args:
        model: It has to have a network.
        out: The .xml file; the weights lie in a .bin beside it. `int8_of` tells where a model looks for it.
        images: High-resolution ones, such as the model was trained on; some 120 of them, evenly drawn, are
            shrunk by MATLAB's bicubic for the network to enlarge.

    Returns:
        How good it is on a sixth of these, which nothing else was done with.

    Raises:
        UsageError: the suffix is another, there is no network, or a package is missing.
        DataError: there are too few images that are large enough.
        CheckpointError: 8 bits lose more than `MOST_LOST_DB`; then nothing is written.
        OutputError: the file cannot be written.
    """
    net = check_exportable(model, out, ".xml")
    openvino, nncf = module_of("openvino"), _nncf()
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    pieces = _pieces(model, images)
    judged, seen = pieces[::ONE_IN], [piece for place, piece in enumerate(pieces) if place % ONE_IN]
    exact = openvino.Core().read_model(to_onnx(net, channels=model.channels, multiple_of=model.multiple_of))
    small = nncf.quantize(
        exact,
        nncf.Dataset([piece.lq.numpy() for piece in seen]),
        subset_size=len(seen),
        # The activations of a network without batch normalisation lie on both sides of zero.
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_left_in_fp32(exact)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # The largest values there were, not the mean over pieces, which clips what is sharper than most.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )
    small.set_rt_info(model.sha256, MADE_OF)
    with moved_to(out) as file:
        openvino.save_model(small, str(file))
        kept = _compared(openvino_run(openvino, str(file), "int8"), net, judged)
        if not kept.lost_db <= MOST_LOST_DB:
            raise CheckpointError(
                f"{model.name}: in 8 bits it loses {kept.lost_db:.3f} dB, more than {MOST_LOST_DB:g}, and is "
                "not kept; try other images, such as it was trained on"
            )
    return kept


def _nncf() -> Any:
    try:
        nncf = import_quietly("nncf")
    except ImportError as error:
        raise UsageError("int8: needs nncf, which is not here; pip install 'srcx[int8]' brings it") from error
    nncf.set_log_level(logging.WARNING)  # it tells of every operation left in fp32
    return nncf


def _left_in_fp32(exact: Any) -> list[str]:
    """The convolutions that touch pixels, and the sums of two branches.

    A residual network carries its features from sum to sum: rounded at each, they would lose a third more.
    """
    operations = exact.get_ordered_ops()
    convolutions = [one.get_friendly_name() for one in operations if one.get_type_name() == "Convolution"]
    sums = [
        one.get_friendly_name()
        for one in operations
        if one.get_type_name() == "Add"
        # Then it would add a bias.
        and all(value.get_node().get_type_name() != "Convolution" for value in one.input_values())
    ]
    return list(dict.fromkeys([*convolutions[:1], *convolutions[-1:], *sums]))


def _pieces(model: Model, images: Sequence[Path]) -> list[Piece]:
    """The middles of evenly drawn images, all of one size."""
    chosen = images[:: max(len(images) // IMAGES, 1)][:IMAGES]
    found = [piece for path in chosen if (piece := _piece(model, path))]
    if len(found) < ONE_IN:
        side = PIECE_PX * model.scale
        raise DataError(
            f"int8: expected at least {ONE_IN} images of {side} x {side} pixels or more; got {len(found)}"
        )
    return found


def _piece(model: Model, path: Path) -> Piece | None:
    """The middle of an image; None where it is too small."""
    side = model.scale * (PIECE_PX // model.multiple_of * model.multiple_of)
    image = read_image(path)
    top, left = ((length - side) // 2 for length in image.shape[:2])
    if min(top, left) < 0:
        return None
    gt = to_rgb(image[top : top + side, left : left + side])
    lq = to_tensor(imresize(gt, scale=1 / model.scale))
    return Piece(lq[:, : model.channels], gt)


@torch.inference_mode()
def _compared(run: Run, net: Run, pieces: Sequence[Piece]) -> Kept:
    """`run` against `net` and the truth."""
    likenesses, errors, exact_errors = [], [], []
    for lq, gt in pieces:
        exact, ours = net(lq).clamp(0, 1), run(lq).clamp(0, 1)
        likenesses.append(likeness_db(ours, exact))
        truth = gt[..., 0] if lq.shape[1] == 1 else gt
        errors.append(rmse(to_image(ours), truth))
        exact_errors.append(rmse(to_image(exact), truth))
    lost_db = 20 * math.log10(rmse_of_set(errors) / rmse_of_set(exact_errors))
    return Kept(sum(likenesses) / len(pieces), lost_db)
