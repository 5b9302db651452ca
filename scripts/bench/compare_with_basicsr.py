"""Train with BasicSR's own models and with srcx's, side by side, and print how far apart they get.

Both start from the same weights and see the same batches of noise, in fp32 on the CPU. With channels first,
as BasicSR has them, the losses are equal (tests/basicsr_compat/test_trajectory.py holds them to 1e-5). With
channels last, srcx's default, sums are taken in another order: Adam makes steps of the learning rate even of
gradients near zero, so rounding shows in some weights. BasicSR's models run through srcx's basicsr_compat.

    python scripts/bench/compare_with_basicsr.py --iters 20
"""

import argparse
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from srcx.basicsr_compat.importing import open_basicsr
from srcx.training import build
from srcx.training.model import SRModel
from srcx.training.options import load_options

MODELS = ("SRModel", "SRGANModel", "ESRGANModel")

THEIR_TERMS = {
    "pixel": ("l_pix", "l_g_pix"),  # with and without a discriminator
    "gan": ("l_g_gan",),
    "d_real": ("l_d_real",),
    "d_fake": ("l_d_fake",),
    "out_d_real": ("out_d_real",),
    "out_d_fake": ("out_d_fake",),
}
"""Our name of a loss term -> BasicSR's."""


class Comparison(NamedTuple):
    """The largest differences between the two over all iterations."""

    losses: float
    """Largest difference of a loss term."""
    weights: float
    """Largest difference of a weight after the last iteration, averaged weights included."""
    terms: dict[str, list[tuple[float, float]]]
    """Term -> (srcx's, BasicSR's) at each iteration."""


class BasicSRModel:
    """BasicSR's model of an option file, without its training loop, in one process.

    Args:
        options: The file's content: model_type, network_g, network_d, path and train are read.
        num_gpu: 1 for the GPU, 0 for the CPU.

    Raises:
        BasicSRError: BasicSR cannot be imported.
    """

    def __init__(self, options: Mapping[str, Any], *, num_gpu: int = 0) -> None:
        models = open_basicsr("basicsr.models")
        self.warmup_iter = options["train"].get("warmup_iter", -1)
        self.iteration = 0
        here = {"dist": False, "is_train": True, "num_gpu": num_gpu}
        with redirect_stdout(io.StringIO()):  # its registry prints how it found a name
            self.model = models.build_model({"path": {}, **options, **here})

    def start_from(self, net_g: Mapping[str, Tensor], net_d: Mapping[str, Tensor] | None = None) -> None:
        """Load these weights into the networks; the EMA starts from them too."""
        self.model.net_g.load_state_dict(net_g)
        if hasattr(self.model, "net_g_ema"):
            self.model.net_g_ema.load_state_dict(net_g)
        if net_d is not None:
            self.model.net_d.load_state_dict(net_d)

    def step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Train on one batch {"lq": (N, 3, H, W), "gt": (N, 3, sH, sW)}, as BasicSR's loop does.

        Returns:
            Its loss terms by its names (l_pix, l_g_gan, ...).
        """
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.warmup_iter)
        self.model.feed_data(batch)
        self.model.optimize_parameters(self.iteration)
        return dict(self.model.get_current_log())


def options_of(
    model_type: str, *, network_g: Mapping[str, Any], network_d: Mapping[str, Any]
) -> dict[str, Any]:
    """An option file's content that both understand."""
    adam = {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
    train = {
        "total_iter": 1000,
        "ema_decay": 0.99,
        "optim_g": adam.copy(),  # BasicSR empties what it has read
        "scheduler": {"type": "MultiStepLR", "milestones": [5, 12], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    }
    options = {
        "name": "compare",
        "model_type": model_type,
        "scale": network_g["upscale"],
        "num_gpu": 0,
        "datasets": {
            "train": {"name": "noise", "type": "HighResolutionDataset", "dataroot_gt": "none", "gt_size": 96}
        },
        "network_g": dict(network_g),
        "train": train,
    }
    if model_type != "SRModel":
        options["network_d"] = dict(network_d)
        train["optim_d"] = adam.copy()
        train["gan_opt"] = {
            "type": "GANLoss",
            "gan_type": "vanilla",
            "real_label_val": 1.0,
            "fake_label_val": 0.0,
            "loss_weight": 5e-3,
        }
    return options


def ours_of(options: Mapping[str, Any], *, channels_last: bool) -> SRModel:
    """The model srcx makes of these options, read from a file as a user's would be."""
    # By torch's convolutions, as BasicSR's are: the kernel rounds in another way.
    train = {**options["train"], "channels_last": channels_last, "convolution": "torch"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compare.yml"
        path.write_text(json.dumps({**options, "train": train}), encoding="utf-8")
        checked = load_options(path)
    return build.model(checked, build.accelerator(checked))


def noise(iters: int, *, batch_size: int, gt_size: int, scale: int) -> Iterator[dict[str, Tensor]]:
    """The same batches in every run."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(iters):
        gt = torch.rand(batch_size, 3, gt_size, gt_size, generator=generator)
        yield {"lq": nn.functional.avg_pool2d(gt, scale), "gt": gt}


def compare(
    options: Mapping[str, Any], *, iters: int, batch_size: int, gt_size: int, channels_last: bool = True
) -> Comparison:
    """Train both for `iters` iterations."""
    torch.manual_seed(0)
    ours, theirs = ours_of(options, channels_last=channels_last), BasicSRModel(options)
    theirs.start_from(*(one.net.state_dict() for one in ours.networks.values()))
    terms: dict[str, list[tuple[float, float]]] = {}
    for batch in noise(iters, batch_size=batch_size, gt_size=gt_size, scale=options["scale"]):
        our_terms, their_terms = ours.step(batch), theirs.step(batch)
        for name, value in our_terms.items():
            (their_value,) = (their_terms[their] for their in THEIR_TERMS[name] if their in their_terms)
            terms.setdefault(name, []).append((value, their_value))
    assert len(terms) == len(their_terms), f"compared {sorted(terms)}, BasicSR gives {sorted(their_terms)}"
    losses = max(abs(our - their) for pairs in terms.values() for our, their in pairs)
    return Comparison(losses, weight_difference(ours, theirs), terms)


def weight_difference(ours: SRModel, theirs: BasicSRModel) -> float:
    """The largest difference of any weight."""
    assert ours.ema is not None
    pairs = [(one.net, getattr(theirs.model, name)) for name, one in ours.networks.items()]
    pairs.append((ours.ema.module, theirs.model.net_g_ema))
    return max(
        float((weight - theirs_by_name[name]).detach().abs().max())
        for our_net, their_net in pairs
        for theirs_by_name in [dict(their_net.named_parameters())]
        for name, weight in our_net.named_parameters()
    )


def main() -> None:
    """Compare the models at the size they are used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iters", type=int, default=20, help="iterations (20)")
    parser.add_argument("--batch", type=int, default=4, help="images in a batch (4)")
    parser.add_argument("--num-feat", type=int, default=64, help="channels of the networks (64)")
    parser.add_argument("--num-block", type=int, default=16, help="residual blocks of the generator (16)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="which models (all)")
    parser.add_argument("--channels-last", action="store_true", help="srcx's in its own memory order")
    args = parser.parse_args()
    network_g = {"type": "MSRResNet", "num_feat": args.num_feat, "num_block": args.num_block, "upscale": 4}
    network_d = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": args.num_feat}
    for model_type in args.models:
        result = compare(
            options_of(model_type, network_g=network_g, network_d=network_d),
            iters=args.iters,
            batch_size=args.batch,
            gt_size=128,
            channels_last=args.channels_last,
        )
        print(
            f"{model_type}, {args.iters} iterations: losses differ by {result.losses:.1e} at most, "
            f"weights by {result.weights:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
