"""The option files of BasicSR 1.4.2 for single images, and of Real-ESRGAN, run by srcx as they are.

Networks, crops, batches and data alone are made small, to save time.
"""

import csv
import importlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from srcx.cli import main
from srcx.features.extractor import FeatureExtractor
from srcx.imaging.io import write_image
from srcx.imaging.resize import imresize
from srcx.prepare.lmdb_folder import make_lmdb
from srcx.training import build
from srcx.training.options import load_options, load_training
from srcx.weights.checkpoint import load_state, save_state

CONFIG = Path(__file__).parent / "config"
FILES = [path for folder in ("basicsr", "real_esrgan") for path in sorted((CONFIG / folder).glob("*.yml"))]
REAL_ESRGAN = [path for path in FILES if "real" in path.stem.lower()]
TRAIN = [path for path in FILES if path.stem.startswith(("train", "finetune"))]
TEST = [path for path in FILES if path not in TRAIN]
OF_EACH_KIND = (
    "train_ECBSR_x4_m4c16_prelu",
    "train_EDSR_Mx3",
    "train_ESRGAN_x4",
    "train_MSRGAN_x4",
    "train_MSRResNet_x4",
    "train_RCAN_x2",
    "train_SwinIR_SRx4_scratch",
)
NOT_IN_1_4_2 = {"test_SwinIR_x4"}

FIXES = {"train_RCAN_x2": ["network_g:upscale=2"]}
"""BasicSR's file says scale 2 and upscale 4, which cannot be trained there either."""
SMALL = {
    "ECBSR": {"num_block": 1, "num_channel": 4},
    "EDSR": {"num_feat": 8, "num_block": 1},
    "MSRResNet": {"num_feat": 8, "num_block": 1},
    "RCAN": {"num_feat": 16, "num_group": 1, "num_block": 1},
    "RRDBNet": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "SwinIR": {"embed_dim": 12, "depths": [1], "num_heads": [2]},
    "UNetDiscriminatorSN": {"num_feat": 4},
    "VGGStyleDiscriminator": {"num_feat": 4},
}
LQ_PX = 16
"""Side of training crops, two of SwinIR's windows; the gt of a discriminator of fixed size stays as it is."""

pytestmark = pytest.mark.skipif(find_spec("basicsr") is None, reason="needs networks of BasicSR")


def name_of(path):
    return f"{path.parent.name}-{path.stem}"


@pytest.fixture(scope="module")
def vgg19():
    return FeatureExtractor.random("vgg19")


@pytest.fixture
def small(request, tmp_path, monkeypatch, rng, vgg19):
    """A current folder with what a file names; gives the file and the overrides that make its run small."""
    file = request.param
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        importlib.import_module("srcx.features.extractor"), "extractor", lambda *args, **kwargs: vgg19
    )
    options = load_options(file, FIXES.get(file.stem, []))
    overrides = [f"network_g:{key}={value}" for key, value in SMALL[options.network_g.type].items()]
    overrides += FIXES.get(file.stem, [])
    if options.network_d is not None:
        overrides += [f"network_d:{key}={value}" for key, value in SMALL[options.network_d.type].items()]
    if file in TRAIN:
        if file in REAL_ESRGAN:
            overrides += ["datasets:train:gt_size=16", "datasets:train:batch_size_per_gpu=2"]
            overrides += ["gt_size=16"] if "\ngt_size" in file.read_text() else []
        elif options.network_d is None:
            overrides += [f"datasets:train:gt_size={LQ_PX * options.scale}"]
            overrides += ["datasets:train:batch_size_per_gpu=2"]
        else:
            overrides.append("datasets:train:batch_size_per_gpu=1")

    if file in REAL_ESRGAN:
        make_real_esrgan_data(rng)
    else:
        train = [] if options.datasets.train is None else [options.datasets.train]
        for part in (*train, *options.datasets.val.values(), *options.datasets.test.values()):
            make_data(part, options.scale, 2 if part in train else 1, rng)
    make_weights(load_options(file, overrides))
    return file, overrides


def smooth(rng, height, width):
    return imresize(rng.integers(0, 256, (height // 12, width // 12, 3), np.uint8), size=(height, width))


def make_data(part, scale, count, rng):
    """Write the images that a set names, to a folder or to an LMDB."""
    names = [f"080{number}_s001" for number in range(count)]
    folders = {part.dataroot_lq: part.filename_tmpl, part.dataroot_gt: "{}"}
    gts = [smooth(rng, 144, 132) if count > 1 else smooth(rng, 60, 48) for _ in names]
    for root, template in folders.items():
        if root is None or Path(root).exists():
            continue
        lmdb = part.io_backend.type == "lmdb"
        folder = Path(f"{root}_images" if lmdb else root)
        folder.mkdir(parents=True)
        for name, gt in zip(names, gts, strict=True):
            image = gt if root == part.dataroot_gt else imresize(gt, scale=1 / scale)
            write_image(folder / f"{template.format(name)}.png", image)
        if lmdb:
            make_lmdb(folder, Path(root), lambda *_: None)
    if part.meta_info_file is not None:
        Path(part.meta_info_file).parent.mkdir(parents=True, exist_ok=True)
        Path(part.meta_info_file).write_text("".join(f"{name}.png (480,480,3)\n" for name in names))


def make_real_esrgan_data(rng):
    root, listed, pairs = Path("datasets/DF2K"), [], []
    for number in range(3):
        gt = smooth(rng, 84, 96)
        for name, image in (
            (f"HR_sub/{number}.png", gt),
            (f"LR_sub/{number}.png", imresize(gt, scale=1 / 4)),
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(root / name, image)
        listed.append(f"HR_sub/{number}.png\n")
        pairs.append(f"HR_sub/{number}.png, LR_sub/{number}.png\n")
    (root / "meta_info").mkdir()
    (root / "meta_info/meta_info_DF2Kmultiscale+OST_sub.txt").write_text("".join(listed))
    (root / "meta_info/meta_info_DIV2K_sub_pair.txt").write_text("".join(pairs))
    Path("datasets/RealWorld38/LR").mkdir(parents=True)
    write_image(Path("datasets/RealWorld38/LR/a.png"), rng.integers(0, 256, (12, 10, 3), np.uint8))


def make_weights(options):
    """Write the checkpoints that a file begins with; where they need not fit, they are of another scale."""
    generator = options.network_g
    if not options.path.strict_load_g:
        word = "scale" if "scale" in generator.args else "upscale"
        generator = generator.model_copy(update={word: 2 if options.scale == 4 else 4})
    for part, path, key in (
        (generator, options.path.pretrain_network_g, options.path.param_key_g),
        (options.network_d, options.path.pretrain_network_d, options.path.param_key_d),
    ):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_state(Path(path), {key: build.network(part).state_dict()})


def succeed(*words):
    assert main([str(word) for word in words]) == 0


def test_all_files_are_there():
    assert len(set(FILES) - set(REAL_ESRGAN)) - len(NOT_IN_1_4_2) == 33
    assert len(REAL_ESRGAN) == 11


@pytest.mark.parametrize("small", TRAIN, indirect=True, ids=name_of)
def test_a_training_file_passes_its_check(small, capsys):
    file, overrides = small
    succeed("train", "-opt", file, "--check", "--force_yml", *overrides)
    said = capsys.readouterr().out
    assert "MiB for the step" in said
    assert "nothing was trained" in said
    assert not [path for path in Path("experiments").rglob("log") if path.is_dir()]


@pytest.mark.parametrize("small", TEST, indirect=True, ids=name_of)
def test_a_test_file_tests(small):
    file, overrides = small
    succeed("test", "-opt", file, "--force_yml", *overrides)
    options = load_options(file, overrides)
    folder = Path("results") / options.name
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    sets = [part.name for part in options.datasets.test.values()]
    assert [(row["set"], row["metric"]) for row in rows] == [
        (name, metric) for name in sets for metric in options.val.metrics
    ]
    assert all(float(row["value"]) > 0 for row in rows)
    images = list(folder.glob("visualization/*/*.png"))
    assert len(images) == (len(sets) if options.val.save_img else 0)


@pytest.mark.parametrize(
    "small",
    [*REAL_ESRGAN, *(path for path in FILES if path.stem in OF_EACH_KIND)],
    indirect=True,
    ids=name_of,
)
def test_a_file_of_each_kind_trains_and_validates(small):
    file, overrides = small
    three = ["train:total_iter=3", "logger:print_freq=1", "val:val_freq=3"]
    succeed("train", "-opt", file, "--force_yml", *overrides, *three)
    options = load_training(file, overrides)
    run = Path("experiments") / options.name
    rows = list(csv.reader((run / "metrics.csv").read_text().splitlines()))[1:]
    last = {(row[1], row[2]) for row in rows if row[0] == "3"}
    assert last >= {("train", term) for term in options.train.losses}
    paired = [part.name for part in options.datasets.val.values() if part.dataroot_gt is not None]
    assert last >= {(name, "psnr") for name in paired}
    assert (run / "models/net_d_3.pth").exists() == (options.network_d is not None)
    weights = torch.load(run / "models/net_g_latest.pth", weights_only=True)
    assert all(weight.isfinite().all() for weight in weights["params"].values())
    if options.path.pretrain_network_g is not None:
        begun = load_state(options.path.pretrain_network_g, key=options.path.param_key_g)
        trained = weights["params"]
        fit = [name for name in begun if name in trained and trained[name].shape == begun[name].shape]
        assert (len(fit) == len(begun)) == options.path.strict_load_g
        assert 0 < max((trained[name] - begun[name]).abs().max() for name in fit) < 0.01


@pytest.mark.parametrize("word", ["train", "check"])
def test_the_file_of_two_scales_is_refused_with_its_line(word, capsys):
    file = CONFIG / "basicsr/train_RCAN_x2.yml"
    assert main(["train", "-opt", str(file), *(["--check"] if word == "check" else [])]) == 2
    assert f"{file}:42: network_g.upscale: 4 beside scale 2; make both the same" in capsys.readouterr().err
