"""Small networks of spandrel with random weights, in every layout of files, against spandrel's own call."""

import importlib
import itertools
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import spandrel
import torch
from safetensors.torch import save_file
from torch import Tensor

from srcx.archs import MSRResNet
from srcx.basicsr_compat.parts import AllParts
from srcx.imaging import to_image, to_tensor
from srcx.inference import Upscaler, find_model

State = Mapping[str, Tensor]

SWIN = {"embed_dim": 12, "depths": [1], "num_heads": [2], "window_size": 8, "mlp_ratio": 2.0, "upscale": 2}
NETWORKS: dict[str, dict[str, object]] = {
    "ATD": {
        "embed_dim": 12,
        "depths": (2,),
        "num_heads": (2,),
        "num_tokens": 8,
        "upscale": 2,
        "upsampler": "pixelshuffledirect",
    },
    "AuraSR": {
        "dim": 8,
        "image_size": 64,
        "input_image_size": 16,
        "style_network": {"dim_in": 8, "dim_out": 32, "depth": 1},
        "up_dim_mults": (1, 2, 2, 2, 2),
        "down_dim_mults": (2, 2, 2),
        "self_attn_dim_head": 8,
        "attn_depths": (1, 1, 1, 1, 1),
        "mid_attn_depth": 1,
        "num_conv_kernels": 2,
    },
    "CRAFT": {"embed_dim": 32, "depths": [1], "num_heads": [2], "upscale": 2},
    "Compact": {"num_feat": 8, "num_conv": 2, "upscale": 4},
    "DAT": {"embed_dim": 32, "depth": [1], "num_heads": [2], "expansion_factor": 2.0, "upscale": 2},
    "DCTLSA": {"nf": 10, "upscale": 2},
    "DITN": {"dim": 12, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 2},
    "DRCT": {**SWIN, "gc": 4, "upsampler": "pixelshuffle"},
    "DRUNet": {"in_nc": 4, "out_nc": 3, "nc": [4, 8, 8, 8], "nb": 2},
    "DnCNN": {"in_nc": 3, "out_nc": 3, "nc": 8, "nb": 5},
    "ESRGAN": {"num_filters": 8, "num_blocks": 1, "scale": 2, "shuffle_factor": 2, "in_nc": 12},
    "FDAT": {"embed_dim": 16, "num_groups": 1, "depth_per_group": 2, "num_heads": 2, "mid_dim": 8},
    "FFTformer": {"dim": 8, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1},
    "GRL": {
        "embed_dim": 12,
        "depths": [1],
        "num_heads_window": [1],
        "num_heads_stripe": [1],
        "mlp_ratio": 2.0,
        "anchor_window_down_factor": 4,
    },
    "HAT": {**SWIN, "squeeze_factor": 4},
    "HVICIDNet": {"channels": [8, 8, 8, 8], "heads": [1, 2, 2, 2]},
    "IPT": {"patch_size": 12, "n_feats": 4, "num_layers": 1, "scale": [2]},
    "KBNet.KBNet_s": {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "MMRealSR": {
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 8,
        "num_block": 1,
        "num_grow_ch": 4,
        "num_feats": [4, 4, 4, 4],
        "num_blocks": [1, 1, 1, 1],
    },
    "MixDehazeNet": {"embed_dims": [8, 8, 8, 8, 8]},
    "MoESR": {"dim": 8, "n_blocks": 1, "n_block": 1, "scale": 2, "upsample_dim": 8},
    "MoSR": {"dim": 8, "n_block": 1, "upscale": 2},
    "NAFNet": {"width": 8, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "OmniSR": {"num_feat": 8, "up_scale": 2},
    "PLKSR": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "PLKSR.RealPLKSR": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "RCAN": {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 8, "scale": 2, "reduction": 4},
    "RGT": {"embed_dim": 32, "depth": [2], "num_heads": [2], "mlp_ratio": 2.0},
    "RealCUGAN.UpCunet2x": {},
    "RetinexFormer": {"n_feat": 8, "stage": 1},
    "SAFMN": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "SAFMNBCIE": {"dim": 8, "n_blocks": 1, "num_layers": 1},
    "SCUNet": {"config": [1] * 7},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2},
    "SeemoRe": {"scale": 2, "num_experts": 2, "num_layers": 1, "embedding_dim": 8},
    "SwiftSRGAN": {"num_channels": 8, "num_blocks": 1, "upscale_factor": 2},
    "Swin2SR": {**SWIN, "upsampler": "pixelshuffle"},
    "SwinIR": {**SWIN, "upsampler": "pixelshuffle"},
    "Uformer": {"embed_dim": 8, "depths": [1] * 9, "num_heads": [1] * 9},
}
"""Class in spandrel.architectures, after its package where names differ, and its arguments.

FBCNN, GFPGAN and RestoreFormer are left out, as they cannot be made small.
"""
GAINS = {"ESRGAN": 2, "FDAT": 3}
"""Factors of first weights that are so small that the output would be black."""


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": weight for name, weight in state.items()}


def halved(state: State) -> State:
    return {name: weight.half() if weight.is_floating_point() else weight for name, weight in state.items()}


def zeros(state: State) -> State:
    return {name: torch.zeros_like(weight) for name, weight in state.items()}


OPTIMIZER = {"state": {}, "param_groups": [{"lr": 1e-4}]}
CONTENTS: dict[str, Callable[[State], object]] = {
    "bare": lambda state: state,
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {"params": zeros(state), "params_ema": state},
    "params-ema": lambda state: {"params-ema": state},
    "state_dict": lambda state: {"state_dict": state},
    "state_dict, module.": lambda state: {"epoch": 3, "state_dict": prefixed(state, "module.")},
    "state_dict, params_ema": lambda state: {"state_dict": {"params_ema": state}},
    "model": lambda state: {"model": state, "optimizer": OPTIMIZER},
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3},
    "net": lambda state: {"net": state},
    "single key": lambda state: {"generator": state},
    "one set": lambda state: {"epoch": 3, "generator": state, "optimizer": OPTIMIZER},
    "module.": lambda state: prefixed(state, "module."),
    "params, module.": lambda state: {"params": prefixed(state, "module.")},
    "netG.": lambda state: prefixed(state, "netG."),
    "_orig_mod.": lambda state: prefixed(state, "_orig_mod."),
    "module._orig_mod.": lambda state: prefixed(state, "module._orig_mod."),
    "_orig_mod.module.": lambda state: prefixed(state, "_orig_mod.module."),
    "half": halved,
}
FILES = ["pt", "old pickle", "safetensors", "safetensors named pth", "pth named safetensors", "with others"]
LAYOUTS = [*CONTENTS, *FILES]


def save(state: State, layout: str, folder: Path) -> Path:
    """Write weights in a layout; returns the file."""
    path = folder / "net.pth"
    if layout in CONTENTS:
        torch.save(CONTENTS[layout](state), path)
    elif layout == "pt":
        torch.save(state, path := path.with_suffix(".pt"))
    elif layout == "old pickle":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif layout == "safetensors":
        save_file(dict(state), path := path.with_suffix(".safetensors"))
    elif layout == "safetensors named pth":
        save_file(dict(state), path)
    elif layout == "pth named safetensors":
        torch.save(state, path := path.with_suffix(".safetensors"))
    else:
        path = folder / "models" / path.name
        path.parent.mkdir()
        torch.save(state, path)
        path.with_suffix(".json").write_text('{"name": "something else"}')
        (folder / "docker-compose.yml").write_text("services: {web: {image: nginx}}\n")
    return path


def state_of(name: str) -> State:
    """Return random weights that fp16 keeps as they are."""
    package, _, kind = name.partition(".")
    module = importlib.import_module(f"spandrel.architectures.{package}")
    net = getattr(module, kind or package)(**NETWORKS[name])
    state = {key: weight.clone().contiguous() for key, weight in net.state_dict().items()}
    return {
        key: (weight * GAINS.get(name, 1)).half().float() if weight.is_floating_point() else weight
        for key, weight in state.items()
    }


@pytest.fixture
def no_noise(monkeypatch):
    """AuraSR adds noise to what it is given, of other values in another memory order."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)


@pytest.mark.parametrize(
    ("name", "layout"), zip(NETWORKS, itertools.cycle(LAYOUTS), strict=False), ids=lambda one: one
)
def test_upscales_as_spandrel_does(name, layout, tmp_path, rng, no_noise):
    lq = rng.integers(0, 256, (37, 41, 3), np.uint8)
    with warnings.catch_warnings():  # of torch about spandrel's code; srcx keeps them quiet
        warnings.simplefilter("ignore")
        state = state_of(name)
        theirs = spandrel.ModelLoader().load_from_state_dict(dict(state))
    assert isinstance(theirs, spandrel.ImageModelDescriptor)
    torch.manual_seed(1)
    with torch.inference_mode():
        expected = to_image(theirs.eval()(to_tensor(lq)))
    assert expected.std() > 5, "an image of one colour shows nothing"

    model = find_model(save(state, layout, tmp_path))
    architecture = "SRVGGNetCompact" if name == "Compact" else theirs.architecture.name  # srcx's own
    assert (model.architecture, model.scale) == (architecture, theirs.scale)
    up = Upscaler(model, backend="torch", precision="fp32", tile=0)
    torch.manual_seed(1)
    sr = up(lq)
    assert sr.shape == expected.shape
    difference = np.abs(sr.astype(int) - expected)
    assert difference.max() <= 1, "fp32 sums in another order are at most rounded to the other side"
    assert difference.mean() < 0.02
    assert up(lq[:2, :1]).shape == (2 * model.scale, model.scale, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_name_and_arguments_make_it_again(name, tmp_path, no_noise):
    """What an option file and the metadata of a checkpoint say of it is enough, in plain values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = find_model(save(state_of(name), "bare", tmp_path))
    part = found.part
    assert part is not None
    assert not AllParts().problems("network", part.type, part.args)
    described = json.dumps({"network": {"type": part.type, "args": part.args}})
    (tmp_path / "net.json").write_text(described)
    again = find_model(tmp_path / "net.pth")
    assert again.part == part
    assert (again.scale, again.channels, again.multiple_of) == (
        found.scale,
        found.channels,
        found.multiple_of,
    )
    lq = torch.rand(1, found.channels, 40, 48)
    with torch.inference_mode():
        torch.manual_seed(1)
        expected = found.net(lq)
        torch.manual_seed(1)
        torch.testing.assert_close(again.net(lq), expected, rtol=0, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_of_srcx_is_found_in_each_layout(layout, tmp_path):
    net = MSRResNet(num_feat=4, num_block=1).half().float()
    found = find_model(save(net.state_dict(), layout, tmp_path)).net
    assert isinstance(found, MSRResNet)
    torch.testing.assert_close(found.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_each_layout_is_tried_with_a_network_of_the_community():
    assert len(NETWORKS) >= len(LAYOUTS)
