"""A network in 8 bits for OpenVINO: calibrated on images, and compared with fp32 on other images."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srcx.errors import CheckpointError, DataError, UsageError
from srcx.imaging import ImageArray, imresize, read_image, to_rgb, to_tensor
from srcx.imaging.planes import to_pixels
from srcx.inference.backends import psnr_db
from srcx.inference.backends.base import import_without_telemetry, to_onnx
from srcx.inference.backends.openvino import SOURCE_KEY, OpenVino
from srcx.inference.export import check_exportable, photograph, staged
from srcx.inference.models import Model
from srcx.metrics import rmse, rmse_of_set

__all__ = ["QuantizationReport", "export_int8"]

MAX_LOSS_DB = 0.05
"""PSNR-Y that 8 bits may lose against fp32 on images that were not used for calibration, over all pixels
together: with a mean over images, a smooth image of 45 dB would outweigh all that have detail."""
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
"""Of those that come with scikit-image."""
IMAGES = 120
ONE_IN = 6
"""One of so many images is for the comparison; the others are for calibration."""
PIECE_PX = 64
"""Side of the piece of an image that is used, in input pixels."""


class QuantizationReport(NamedTuple):
    """The quality of a network in 8 bits, over the images it was compared on."""

    psnr_db: float
    """Mean PSNR between its output and that of torch in fp32."""
    loss_db: float
    """PSNR-Y lost against fp32, of the mean squared error of all pieces."""


class Piece(NamedTuple):
    """A piece of a ground-truth image, and its low-resolution version."""

    lq: Tensor
    """(1, channels, h, w) in [0, 1]."""
    gt: ImageArray


def export_int8(model: Model, out: Path, images: Sequence[Path] | None) -> QuantizationReport:
    """Write a model's network in 8 bits, if its images are as good as in fp32.

    Args:
        model: Has a network.
        out: The .xml file; OpenVINO writes the weights to a .bin beside it. A model finds its file at
            `int8_of`.
        images: High-resolution images, such as the model was trained on; some 120 of them, evenly drawn, are
            shrunk by MATLAB's bicubic for the network to upscale. None takes all parts of the ten photographs
            and textures that come with scikit-image.

    Returns:
        The quality on a sixth of these, which are not used for calibration.

    Raises:
        UsageError: the suffix is another, there is no network, or a package is missing.
        DataError: there are too few images that are large enough.
        CheckpointError: 8 bits lose more than `MAX_LOSS_DB`; then nothing is written.
        OutputError: the file cannot be written.
    """
    net = check_exportable(model, out, ".xml")
    openvino = OpenVino().load()
    try:
        nncf = import_without_telemetry("nncf")
    except ImportError as error:
        raise UsageError(
            "int8: needs nncf, which is not installed; pip install 'srcx[int8]' installs it"
        ) from error
    nncf.set_log_level(logging.WARNING)  # below, it logs every operation that stays in fp32
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    pieces = _parts_of_photographs(model) if images is None else _pieces(model, images)
    held_out = pieces[::ONE_IN]
    calibration = [piece for place, piece in enumerate(pieces) if place % ONE_IN]
    exact = openvino.Core().read_model(to_onnx(model))
    quantized = nncf.quantize(
        exact,
        nncf.Dataset([piece.lq.numpy() for piece in calibration]),
        subset_size=len(calibration),
        # The activations of a network without batch normalisation have both signs.
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_fp32_operations(exact)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # The largest values of all pieces, not the mean over pieces, which clips sharp images.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )
    quantized.set_rt_info(model.sha256, SOURCE_KEY)
    with staged(out) as file:
        openvino.save_model(quantized, str(file))
        run = OpenVino().open_file(str(file), "int8")
        near_db, errors, exact_errors = [], [], []
        with torch.inference_mode():
            for lq, gt in held_out:
                fp32, int8 = net(lq).clamp(0, 1).numpy(), run(lq.numpy()).clip(0, 1)
                near_db.append(psnr_db(int8, fp32))
                truth = gt[..., 0] if lq.shape[1] == 1 else gt
                errors.append(rmse(to_pixels(int8), truth))
                exact_errors.append(rmse(to_pixels(fp32), truth))
        loss_db = 20 * math.log10(rmse_of_set(errors) / rmse_of_set(exact_errors))
        if not loss_db <= MAX_LOSS_DB:
            raise CheckpointError(
                f"{model.name}: in 8 bits it loses {loss_db:.3f} dB, more than {MAX_LOSS_DB:g}, and is not "
                "written; try other images, such as it was trained on"
            )
    return QuantizationReport(sum(near_db) / len(held_out), loss_db)


def _fp32_operations(exact: Any) -> list[str]:
    """Return the names of the first and the last convolution, and of the sums of two branches.

    A residual network adds its features in sum after sum: rounded at each, they would lose a third more.
    """
    operations = exact.get_ordered_ops()
    convolutions = [one.get_friendly_name() for one in operations if one.get_type_name() == "Convolution"]
    sums = [
        one.get_friendly_name()
        for one in operations
        if one.get_type_name() == "Add"
        # The sum of a convolution and something else adds a bias.
        and all(value.get_node().get_type_name() != "Convolution" for value in one.input_values())
    ]
    return list(dict.fromkeys([*convolutions[:1], *convolutions[-1:], *sums]))


def _parts_of_photographs(model: Model) -> list[Piece]:
    """Return parts that lie beside each other of each photograph, as many as fit."""
    side = _side_px(model)
    pieces = []
    for name in PHOTOGRAPHS:
        image = read_image(photograph().with_name(name))
        rows, columns = (range(0, length - side + 1, side) for length in image.shape[:2])
        pieces += [_piece(model, image, top, left) for top in rows for left in columns]
    return pieces


def _side_px(model: Model) -> int:
    return model.scale * (PIECE_PX // model.multiple_of * model.multiple_of)


def _piece(model: Model, image: ImageArray, top: int, left: int) -> Piece:
    side = _side_px(model)
    gt = to_rgb(image[top : top + side, left : left + side])
    return Piece(to_tensor(imresize(gt, scale=1 / model.scale))[:, : model.channels], gt)


def _pieces(model: Model, images: Sequence[Path]) -> list[Piece]:
    """Return the middles of evenly drawn images, all of one size."""
    side = _side_px(model)
    pieces = []
    for path in images[:: max(len(images) // IMAGES, 1)][:IMAGES]:
        image = read_image(path)
        top, left = ((length - side) // 2 for length in image.shape[:2])
        if min(top, left) >= 0:
            pieces.append(_piece(model, image, top, left))
    if len(pieces) < ONE_IN:
        raise DataError(
            f"int8: expected at least {ONE_IN} images of {side} x {side} pixels or more; got {len(pieces)}"
        )
    return pieces
