"""Option files by the words of HAT, DAT, RGT, NAFNet and SAFMN."""

from collections.abc import Callable
from pathlib import Path

import pytest

from srcx.basicsr_compat.parts import AllParts
from srcx.config import Options, load_options
from srcx.errors import OptionsError

FILE = """
name: mine
model_type: MODEL
scale: SCALE
datasets:
  train:
    name: train
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
    gt_size: 64
  val:
    name: held_out
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
network_g: NETWORK
train:
  optim_g: {type: AdamW, lr: 1e-3}
  scheduler: {type: MultiStepLR, milestones: [10]}
  total_iter: 20
  pixel_opt: {type: L1Loss}
val:
  val_freq: 10
"""
SCHEDULER = "{type: MultiStepLR, milestones: [10]}"
NETWORKS = {
    "HAT": "{type: HAT, upscale: 4, in_chans: 3, img_size: 64, window_size: 16, compress_ratio: 3, "
    "squeeze_factor: 30, conv_scale: 0.01, overlap_ratio: 0.5, img_range: 1., depths: [6], embed_dim: 180, "
    "num_heads: [6], mlp_ratio: 2, upsampler: pixelshuffle, resi_connection: 1conv}",
    "DAT": "{type: DAT, upscale: 4, in_chans: 3, img_size: 64, img_range: 1., split_size: [8, 16], "
    "depth: [6], embed_dim: 180, num_heads: [6], expansion_factor: 2, resi_connection: 1conv}",
    "RGT": "{type: RGT, upscale: 4, in_chans: 3, img_size: 64, img_range: 1., depth: [6], embed_dim: 180, "
    "num_heads: [6], mlp_ratio: 2, resi_connection: 1conv, split_size: [8, 32], c_ratio: 0.5}",
    "SAFMN": "{type: SAFMN, dim: 36, n_blocks: 8, ffn_scale: 2.0, upscaling_factor: 4}",
    "NAFNet": "{type: NAFNet, width: 32, enc_blk_nums: [2, 2], middle_blk_num: 2, dec_blk_nums: [2, 2]}",
}
"""As the option files of each write it."""
MODELS = {"HAT": "HATModel", "DAT": "DATModel", "RGT": "RGTModel", "SAFMN": "SRModel"}
Load = Callable[..., Options]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def of(network: str, *changes: tuple[str, str], model: str | None = None) -> Options:
        text = FILE.replace("NETWORK", NETWORKS[network])
        text = text.replace("MODEL", model or MODELS.get(network, "ImageRestorationModel"))
        text = text.replace("SCALE", "1" if network == "NAFNet" else "4")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "x.yml").write_text(text)
        return load_options(tmp_path / "x.yml", parts=AllParts())

    return of


@pytest.mark.parametrize("network", NETWORKS)
def test_the_model_is_srmodel_and_the_network_spandrels(load: Load, network: str) -> None:
    options = load(network)
    assert (options.model_type, options.network_g.type) == ("SRModel", f"spandrel.{network}")


@pytest.mark.parametrize(
    ("network", "term"),
    [
        ("NAFNet", "{type: PSNRLoss, loss_weight: 1, reduction: mean}"),
        ("SAFMN", "{type: FFTLoss, loss_weight: 0.05, reduction: mean}"),
    ],
)
def test_their_losses_are_those_of_srcx(load: Load, network: str, term: str) -> None:
    train = load(network, ("{type: L1Loss}", term)).train
    assert train is not None
    assert [loss.type in term for loss in train.losses.values()] == [True]


def test_an_argument_of_the_network_is_checked_at_its_line(load: Load) -> None:
    with pytest.raises(OptionsError, match=r"x\.yml:\d+: network_g\.upscael: .*'upscale'"):
        load("HAT", ("upscale: 4", "upscael: 4"))


def test_keys_without_a_use_in_srcx_are_taken(load: Load) -> None:
    load("HAT", ("scale: 4\n", "scale: 4\ntile: {tile_size: 256, tile_pad: 32}\n"))
    chopped = ("val_freq: 10", "val_freq: 10\n  use_chop: false")
    load("DAT", ("    type: PairedImageDataset", "    task: SR\n    type: PairedImageDataset"), chopped)
    load("NAFNet", ("val_freq: 10", "val_freq: 10\n  use_image: false\n  grids: false"))


@pytest.mark.parametrize(
    ("network", "change", "said"),
    [
        (
            "DAT",
            ("val_freq: 10", "val_freq: 10\n  use_chop: 3"),
            r"val\.use_chop: expected true or false, got 3",
        ),
        ("DAT", ("val_freq: 10", "val_freq: 10\n  use_chopp: true"), r"val\.use_chopp: .*'use_chop'"),
        (
            "HAT",
            ("scale: 4\n", "scale: 4\ntile: {tile_size: 0, tile_pad: 32}\n"),
            r"tile\.tile_size: expected",
        ),
        ("SAFMN", ("val_freq: 10", "val_freq: 10\n  use_chop: true"), r"val\.use_chop: unknown option"),
    ],
)
def test_they_are_checked_as_all_others(load: Load, network: str, change: tuple[str, str], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        load(network, change)


def test_use_flip_of_nafnet_is_use_hflip(load: Load) -> None:
    train = load("NAFNet", ("gt_size: 64", "gt_size: 64\n    use_flip: false")).datasets.train
    assert train is not None
    assert train.use_hflip is False


def test_the_cosine_of_nafnet_is_one_period(load: Load) -> None:
    cosine = "{type: TrueCosineAnnealingLR, T_max: 20, eta_min: 1e-7}"
    train = load("NAFNet", (SCHEDULER, cosine)).train
    assert train is not None
    assert train.scheduler.type == "CosineAnnealingRestartLR"
    assert (list(train.scheduler.args["periods"]), train.scheduler.args["eta_min"]) == ([20], 1e-7)


def test_a_cosine_that_ends_too_early_is_named_by_its_own_key(load: Load) -> None:
    with pytest.raises(OptionsError, match=r"train\.scheduler\.T_max: the periods end at iteration 10"):
        load("NAFNet", (SCHEDULER, "{type: TrueCosineAnnealingLR, T_max: 10, eta_min: 1e-7}"))


@pytest.mark.parametrize(("given", "norm"), [("", 0.01), ("\n  use_grad_clip: false", None)])
def test_nafnet_clips_gradients_unless_the_file_says_no(load: Load, given: str, norm: float | None) -> None:
    train = load("NAFNet", ("total_iter: 20", f"total_iter: 20{given}")).train
    assert train is not None
    assert train.grad_clip == norm


def test_a_misspelt_model_is_pointed_to_theirs(load: Load) -> None:
    with pytest.raises(OptionsError, match="unknown model_type 'DATModle'; did you mean 'DATModel'"):
        load("DAT", model="DATModle")


def test_real_hat_is_real_esrgan(load: Load) -> None:
    with pytest.raises(OptionsError, match="resize_prob: this option is required and missing"):
        load("HAT", model="RealHATMSEModel")
