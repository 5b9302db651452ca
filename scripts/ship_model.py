r"""Put a trained network into the package: its averaged weights in half precision, and its card.

The file says its network, scale and licence itself. It is refused if half precision changes any 8-bit value
of the network's output by more than one level on the pictures given. The card's first line has to be
`# NAME: what it is for`.

    python scripts/ship_model.py srresnet-x4 experiments/srresnet_x4/models/net_g_latest.pth \
        --card srresnet-x4.md --pictures datasets/benchmark/Set5/LR_bicubic/X4
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from srcx.errors import CheckpointError, SrcxError
from srcx.imaging import Picture, list_pictures, read_picture
from srcx.inference import Model, Upscaler, find_model
from srcx.inference.bundled import BUNDLED
from srcx.weights import load_state, save_state

MOST_LEVELS = 1


def ship(
    name: str, checkpoint: Path, card: Path, pictures: Iterable[Path], folder: Path, licence: str
) -> int:
    """Write NAME.safetensors and NAME.md into `folder`.

    Returns:
        Largest difference of an output value that half precision makes, in levels of 255.

    Raises:
        CheckpointError: the network or its card cannot be shipped, or half precision shows; then nothing
            is left in `folder`.
    """
    text = card.read_text("utf-8")
    if not text.startswith(f"# {name}: "):
        raise CheckpointError(f"{card}: the first line has to be '# {name}: what it is for'")
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
    weights = folder / f"{name}.safetensors"
    save_state(weights, state, metadata=metadata)
    try:
        difference = largest_difference(exact, find_model(weights), map(read_picture, pictures))
        if difference > MOST_LEVELS:
            raise CheckpointError(f"{checkpoint}: half precision changes a value by {difference} of 255")
    except SrcxError:
        weights.unlink()
        raise
    (folder / f"{name}.md").write_text(text, "utf-8")
    return difference


def largest_difference(one: Model, other: Model, pictures: Iterable[Picture]) -> int:
    """Between the 8-bit outputs of two models, both run in fp32.

    Raises:
        CheckpointError: there are no pictures.
    """
    run_one, run_other = (Upscaler(model, precision="fp32") for model in (one, other))
    differences = [
        int(np.abs(run_one(picture).astype(int) - run_other(picture)).max()) for picture in pictures
    ]
    if not differences:
        raise CheckpointError("no pictures to compare on; name some with --pictures")
    return max(differences)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="what users call it, as srresnet-x4")
    parser.add_argument("checkpoint", type=Path, help=".pth with params_ema, or any other that srcx reads")
    parser.add_argument("--card", type=Path, required=True, help="Markdown")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of 8-bit pictures to compare on")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights (Apache-2.0)")
    args = parser.parse_args()
    try:
        pictures = list_pictures(args.pictures)
        difference = ship(args.name, args.checkpoint, args.card, pictures, BUNDLED, args.licence)
    except SrcxError as error:
        sys.exit(str(error))
    print(
        f"{BUNDLED / args.name}.safetensors: at most {difference} of 255 from fp32, {len(pictures)} pictures"
    )


if __name__ == "__main__":
    main()
