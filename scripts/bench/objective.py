"""Time one SRGAN training step with the contextual loss against the same step with the perceptual loss.

Both look at conv3_3 of VGG16; batch 16, GT 96, MSRResNet 64 x 16 against SRGANDiscriminator, bf16, on the
CPU, as options/train/srgan_cx_vgg16_x4.yml has it, on crops of an image that ships with scikit-image. The
two take their steps in turn and medians are printed. Run it on an idle machine.

    python scripts/bench/objective.py --threads 2 --steps 10
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import skimage
import torch
from _bench import in_turn, spread

from srcx.hardware import keep_freed_memory
from srcx.imaging import read_image, to_tensor
from srcx.training import build
from srcx.training.model import SRModel
from srcx.training.options import load_training

OPTIONS = Path(__file__).resolve().parents[2] / "options/train/srgan_cx_vgg16_x4.yml"
PERCEPTUAL = "{type: PerceptualLoss, layer_weights: {conv3_3: 1}, vgg_type: vgg16, criterion: l2}"
WARM_UP_STEPS = 3


def made(*overrides: str) -> SRModel:
    """The training step of the recipe, from random weights."""
    options = load_training(OPTIONS, ["num_gpu=0", "path:pretrain_network_g=~", *overrides])
    torch.manual_seed(0)
    return build.model(options, build.accelerator(options))


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each side")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    models = {"contextual": made(), "perceptual": made(f"train:contextual_opt={PERCEPTUAL}")}
    image = to_tensor(read_image(Path(skimage.__file__).parent / "data/astronaut.png"))
    crops = image.unfold(2, 96, 96).unfold(3, 96, 96).flatten(2, 3)[0, :, :16]
    gt = crops.transpose(0, 1).contiguous()
    batch = {"lq": torch.nn.functional.avg_pool2d(gt, 4), "gt": gt}
    steps = {name: partial(model.step, batch) for name, model in models.items()}
    times = in_turn(steps, arguments.steps, warm_up=WARM_UP_STEPS)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name in models:
        print(f"{name:11} {spread(times[name])} a step")
    print(f"contextual / perceptual: {medians['contextual'] / medians['perceptual']:.3f}")


if __name__ == "__main__":
    main()
