r"""Put a trained network into the package: its EMA weights in half precision, its card, and its parent.

The file says its network, scale and licence itself. It is refused if half precision changes any 8-bit value
of the network's output by more than one level on the images given. The card's first line has to be
`# NAME: what it is for`. With --parent, the faithful weights of the same network that this one was trained
from are put beside it, in the same way: `srcx upscale --fidelity` mixes both.

    python scripts/release/ship_model.py srresnet-x4 experiments/srresnet_x4/models/net_g_latest.pth \
        --card srresnet-x4.md --images datasets/benchmark/Set5/LR_bicubic/X4
    python scripts/release/ship_model.py srgan-cx-x4 experiments/srgan_cx_x4/models/net_g_latest.pth \
        --parent experiments/srresnet_bilinear_x4/models/net_g_latest.pth \
        --card srgan-cx-x4.md --images datasets/benchmark/Set5/LR_bicubic/X4
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from srcx.errors import CheckpointError, SrcxError
from srcx.imaging import list_images, read_image
from srcx.inference import Model, Upscaler, find_model
from srcx.inference.bundled import BUNDLED, parent_of
from srcx.weights import load_state, save_state

MOST_LEVELS = 1


def ship(
    name: str,
    checkpoint: Path,
    card: Path,
    images: Sequence[Path],
    folder: Path,
    licence: str,
    parent: Path | None = None,
) -> int:
    """Write NAME.safetensors, NAME.md and, where there is a parent, NAME.parent.safetensors into `folder`.

    Returns:
        Largest difference of an output value that half precision makes, in levels of 255.

    Raises:
        CheckpointError: the network, its parent or its card cannot be shipped, or half precision shows; then
            `folder` stays as it was.
    """
    text = card.read_text("utf-8")
    if not text.startswith(f"# {name}: "):
        raise CheckpointError(f"{card}: the first line has to be '# {name}: what it is for'")
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / f"{name}.safetensors"
        difference = _write_halves(weights, checkpoint, images, licence)
        if parent:
            difference = max(difference, _write_halves(parent_of(weights), parent, images, licence))
            find_model(weights, fidelity=0.5)  # refuses a parent of another network
        parent_of(folder / weights.name).unlink(missing_ok=True)  # of weights that are no longer there
        for file in (weights, parent_of(weights)):
            if file.exists():
                shutil.copyfile(file, folder / file.name)
    (folder / f"{name}.md").write_text(text, "utf-8")
    return difference


def _write_halves(target: Path, checkpoint: Path, images: Sequence[Path], licence: str) -> int:
    """Write a checkpoint in half precision; return the largest difference that this makes to an output."""
    exact = find_model(checkpoint)
    if exact.part is None:
        raise CheckpointError(f"{checkpoint}: a {exact.architecture}, which is no network of srcx or BasicSR")
    state = {
        key: weight.half() if weight.is_floating_point() else weight
        for key, weight in load_state(checkpoint).items()
    }
    metadata = {
        "network": json.dumps({"type": exact.part.type, "args": exact.part.args}),
        "scale": str(exact.scale),
        "licence": licence,
    }
    save_state(target, state, metadata=metadata)
    difference = largest_difference(exact, find_model(target), images)
    if difference > MOST_LEVELS:
        raise CheckpointError(f"{checkpoint}: half precision changes a value by {difference} of 255")
    return difference


def largest_difference(one: Model, other: Model, images: Sequence[Path]) -> int:
    """Return the largest difference between the 8-bit outputs of two models, both run in fp32.

    Raises:
        CheckpointError: there are no images.
    """
    run_one, run_other = (Upscaler(model, precision="fp32") for model in (one, other))
    differences = [
        int(np.abs(run_one(image).astype(int) - run_other(image)).max()) for image in map(read_image, images)
    ]
    if not differences:
        raise CheckpointError("no images to compare on; name some with --images")
    return max(differences)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="what users call it, as srresnet-x4")
    parser.add_argument("checkpoint", type=Path, help=".pth with params_ema, or any other that srcx reads")
    parser.add_argument("--parent", type=Path, help="faithful weights of the same network, for --fidelity")
    parser.add_argument("--card", type=Path, required=True, help="Markdown")
    parser.add_argument("--images", type=Path, required=True, help="folder of 8-bit images to compare on")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights (Apache-2.0)")
    args = parser.parse_args()
    try:
        images = list_images(args.images)
        difference = ship(args.name, args.checkpoint, args.card, images, BUNDLED, args.licence, args.parent)
    except SrcxError as error:
        sys.exit(str(error))
    print(f"{BUNDLED / args.name}.safetensors: at most {difference} of 255 from fp32, {len(images)} images")


if __name__ == "__main__":
    main()
