"""Write docs/parts.md, the table of every part: its sentence and paper from its docstring, and its cost.

    python scripts/pages/parts.py            # costs as they were measured last
    python scripts/pages/parts.py --measure  # measure them again, on an idle machine

Costs are kept in scripts/pages/part_costs.json. They are milliseconds of one thread, fp32, for one crop of
256 x 256 pixels (64 x 64 of lq): forward and backward of networks and losses, one image of metrics.
"""

import argparse
import inspect
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import torch

from srcx import registry
from srcx.archs.community import community_networks
from srcx.imaging import imresize, read_image, to_tensor

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
from _bench import in_turn

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parts.md"
COSTS = Path(__file__).with_name("part_costs.json")
RUNS = 5
SIDE_PX, SCALE = 256, 4
SIZES = {"input_size": SIDE_PX, "upscale": SCALE, "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64}
NOT_MEASURED = {"ma", "perceptual_index"}
"""Their weights cannot be had from a package index."""
LAYERS = {"layer_weights": {"conv3_3": 1.0}, "vgg_type": "vgg16"}
PAPER = re.compile(r'(?P<authors>[A-Z]\w+(?: et al\.|, \w+ and \w+)), "[^"]+?,?"(?P<published>[^"]*)')
HEAD = f"""# Parts

The names that `type:` takes in an option file, with their arguments and the defaults of these.
BasicSR's networks, losses and metrics (`calculate_psnr`, `calculate_ssim`, `calculate_niqe`, with
`crop_border` and `test_y_channel`) work too.
Written by `python scripts/pages/parts.py`, from the docstrings.

Cost: milliseconds of one processor thread in fp32 for one crop of {SIDE_PX} x {SIDE_PX} pixels
({SIDE_PX // SCALE} x {SIDE_PX // SCALE} of lq), the median of {RUNS} runs.
A network's and a loss's are for forward and backward together, with default arguments
(losses of VGG features: conv3_3 of VGG16); a metric's are for one image.
They were measured on MACHINE by `python scripts/pages/parts.py --measure`; read them as ratios.
"""


def paper(part: Callable[..., Any]) -> str:
    """The first paper under "References:" in the part's docstring, as a link where it has an arXiv id."""
    references = (inspect.getdoc(part) or "").partition("References:\n")[2]
    found = PAPER.search(" ".join(references.split()))
    if not found:
        return ""
    named = (
        re.sub(", .*", " et al.", found["authors"])
        + " "
        + re.findall(r"\b(?:19|20)\d\d\b", found["published"])[0]
    )
    arxiv = re.search(r"arXiv:(\d+\.\d+)", found["published"])
    return f"[{named}](https://arxiv.org/abs/{arxiv[1]})" if arxiv else named


def arguments(part: Callable[..., Any]) -> Iterator[str]:
    """Yield each argument that an option file can give, with its default, as YAML writes both."""
    if part.__module__.startswith("torch"):  # torch's change from version to version
        return
    for name, argument in registry.known_arguments(part).items():
        default = argument.default
        if default is argument.empty:
            yield f"`{name}`"
        else:
            plain = dict(default) if isinstance(default, Mapping) else default
            plain = list(plain) if isinstance(plain, tuple) else plain
            yield f"`{name}: {str(plain) if isinstance(plain, str) else json.dumps(plain)}`".replace('"', "")


def markdown(costs: Mapping[str, Any]) -> str:
    """The page, with costs as `measured` gives them."""
    page = HEAD.replace("MACHINE", costs["machine"])
    for kind, parts in registry.PARTS.items():
        has_costs = kind in costs
        page += f"\n## {kind}\n\n| `type` | | Arguments | Paper |{' Cost, ms |' * has_costs}\n"
        page += f"|---|---|---|---|{'--:|' * has_costs}\n"
        for name, part in parts.items():
            sentence = registry.sentence(part).replace("|", "&#124;")
            page += f"| {name} | {sentence} | {', '.join(arguments(part))} | {paper(part)} |"
            page += f" {costs[kind].get(name, '')} |\n" if has_costs else "\n"
    page += "\n## network of spandrel\n\n| `type` | Arguments |\n|---|---|\n"
    for name, part in community_networks().items():
        page += f"| {name} | {', '.join(registry.known_arguments(part))} |\n"
    return page


def network_works() -> Iterator[tuple[str, Callable[[], object]]]:
    """A forward and backward pass of each network."""
    for name, network_type in registry.NETWORKS.items():
        arguments = inspect.signature(network_type).parameters
        network = network_type(**{key: value for key, value in SIZES.items() if key in arguments})
        side = SIDE_PX // SCALE if "upscale" in arguments else SIDE_PX
        image = torch.rand(1, 3, side, side)
        yield name, partial(_forward_and_backward, network, image)


def _forward_and_backward(work: Callable[..., Any], image: torch.Tensor, *more: Any) -> None:
    result = work(image.requires_grad_(), *more)
    for value in result if isinstance(result, (list, tuple)) else [result]:
        value.sum().backward(retain_graph=True)


def loss_works(sr: torch.Tensor, gt: torch.Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    """The value and gradient of each loss."""
    logits = torch.randn(1, 1, SIDE_PX // 8, SIDE_PX // 8)
    for name, loss_type in registry.LOSSES.items():
        arguments = inspect.signature(loss_type).parameters
        if "gan_type" in arguments:
            yield name, partial(_forward_and_backward, loss_type(gan_type="vanilla"), logits, True)
            continue
        loss = loss_type(**(LAYERS if arguments.keys() >= LAYERS.keys() else {}))
        more = (gt, 0.9 * sr) if name == "LDLLoss" else (gt,)
        yield name, partial(_forward_and_backward, loss, sr, *more)


def measured() -> dict[str, Any]:
    """The costs of networks, losses and metrics, in milliseconds, and the machine's name."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    photograph = read_image(Path(skimage.__file__).with_name("data") / "astronaut.png")
    image = np.ascontiguousarray(photograph[:SIDE_PX, 150 : 150 + SIDE_PX])
    blurred = imresize(imresize(image, scale=1 / SCALE), scale=SCALE)
    sr, gt = to_tensor(blurred), to_tensor(image)
    works: dict[str, dict[str, Callable[[], object]]] = {
        "network": dict(network_works()),
        "loss": dict(loss_works(sr, gt)),
        "metric": {
            name: partial(metric, blurred, image) if metric.needs_gt else partial(metric, blurred)
            for name, metric in registry.METRICS.items()
            if name not in NOT_MEASURED
        },
    }
    costs: dict[str, Any] = {"machine": processor()}
    for kind, of_kind in works.items():
        times = in_turn(of_kind, RUNS)
        costs[kind] = {name: in_ms(statistics.median(taken)) for name, taken in times.items()}
    return costs


def in_ms(seconds: float) -> float:
    """Milliseconds, to two digits."""
    rounded = float(f"{seconds * 1e3:.2g}")
    return int(rounded) if rounded >= 10 else rounded


def processor() -> str:
    """The processor's name and what of its instructions counts here."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in text]
    name = re.search(r"model name\s*: (.*)", text)
    return f"{name[1].strip() if name else 'an unnamed processor'} ({', '.join(flags)})"


def main() -> None:
    """Read the command line, measure if asked to, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="measure the costs again")
    if parser.parse_args().measure:
        COSTS.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(markdown(json.loads(COSTS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
