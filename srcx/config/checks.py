"""Mistakes between options of several sections; what one section shows alone is in its class."""

from collections import Counter
from collections.abc import Iterator

from srcx.config.datasets import DatasetOptions, TrainDataset
from srcx.config.document import KeyPath
from srcx.config.options import Options, TrainOptions
from srcx.config.part_options import SPANDREL
from srcx.config.problems import Problem

__all__ = ["GAN_LOSSES", "cross_problems"]

CYCLE_MODEL = "CycleGANModel"
GAN_MODELS = ("SRGANModel", "ESRGANModel", CYCLE_MODEL)
GAN_LOSSES = ("GANLoss", "MultiScaleGANLoss")
LOGGED = ("lr", "d_real", "d_fake", "out_d_real", "out_d_fake", "d_r1", "d_paused")
"""Figures of the log that are not loss terms."""


def cross_problems(options: Options) -> Iterator[Problem]:
    """Yield the mistakes that no section shows alone."""
    train, sets = options.train, options.datasets
    if train is None and sets.train is not None:
        yield Problem(("train",), "this section is needed because the file has datasets.train")
    elif train is None and not (sets.test or sets.val):
        yield Problem(
            ("datasets",), "a training file needs 'train' and datasets.train, a test file datasets.test_1"
        )
    elif train is not None and sets.train is None:
        yield Problem(("datasets", "train"), "this section is needed because the file has 'train'")
    for argument in ("upscale", "scale"):  # networks call it by one of these names
        given = options.network_g.args.get(argument)
        of_spandrel = options.network_g.type.startswith(SPANDREL)  # its RRDBNet may shrink lq before
        if isinstance(given, int) and given != options.scale and not of_spandrel:
            said = f"{given} beside scale {options.scale}; make both the same"
            yield Problem(("network_g", argument), said)
    evaluated = {**sets.val, **sets.test}
    names = Counter(dataset.name for dataset in evaluated.values())
    for key, dataset in evaluated.items():
        path: KeyPath = ("datasets", key, "name")
        if names[dataset.name] > 1:
            yield Problem(path, f"{names[dataset.name]} sets are called '{dataset.name}'")
        if dataset.name == "train":
            yield Problem(path, "'train' names the losses' rows in metrics.csv; choose another")
        yield from _dataset(("datasets", key), dataset)
    if sets.train is not None:
        yield from _dataset(("datasets", "train"), sets.train)
        yield from _train_set(("datasets", "train"), sets.train, options.scale)
    if train is not None:
        yield from _train(options, train)
        for name, term in train.losses.items():
            for inside, message in _term(options, train, name, term.type, term.against):
                yield Problem(("train", f"{name}_opt", *inside), message)


def _dataset(path: KeyPath, dataset: DatasetOptions) -> Iterator[Problem]:
    storage = dataset.io_backend.type
    if dataset.meta_info is not None and storage != "disk":
        yield Problem((*path, "meta_info"), f"with io_backend {storage} pairs have one name; remove this")
    if dataset.io_backend.remote and storage != "webdataset":
        said = "only shards are read from addresses; set type: webdataset, or remove this"
        yield Problem((*path, "io_backend", "remote"), said)
    channels = 1 if dataset.color == "y" else 3
    for key in ("mean", "std"):
        given = getattr(dataset, key)
        if given is not None and len(given) not in (1, channels):
            numbers = "1 number, for luma" if channels == 1 else "3 numbers, or 1 for all channels"
            yield Problem((*path, key), f"expected {numbers}; got {list(given)}")
    for key in ("dataroot_gt", "dataroot_lq"):
        folder = getattr(dataset, key)
        if storage == "lmdb" and isinstance(folder, str) and not folder.endswith(".lmdb"):
            said = f"with io_backend lmdb the folder's name ends in .lmdb; got '{folder}'"
            yield Problem((*path, key), said)


def _train_set(path: KeyPath, dataset: TrainDataset, scale: int) -> Iterator[Problem]:
    if dataset.gt_size % scale:
        near = max(dataset.gt_size // scale, 1) * scale
        said = f"{dataset.gt_size} is no multiple of the scale {scale}; write {near}"
        yield Problem((*path, "gt_size"), said)
    yield from _gt_sizes(path, dataset, scale)
    if (factors := dataset.gt_scales) is not None and len({*factors}) < max(len(factors), 1):
        said = f"expected different factors, such as [1, 0.5]; got {list(factors)}"
        yield Problem((*path, "gt_scales"), said)
    if dataset.uniform_share and dataset.crop_candidates == 1:
        said = "all crops are drawn uniformly; set crop_candidates above 1, or remove this"
        yield Problem((*path, "uniform_share"), said)
    if dataset.type != "NonAlignedPairDataset":
        return
    if dataset.io_backend.type == "lmdb":
        said = "NonAlignedPairDataset reads all image files of a folder; remove this"
        yield Problem((*path, "io_backend"), said)
    if dataset.targets == "unpaired" and dataset.max_offset:
        yield Problem((*path, "max_offset"), "unpaired targets are cut at any place anyway; remove this")
    if dataset.meta_info_file is not None and (dataset.targets != "paired" or dataset.dataroot_lq is None):
        said = "names pairs of files, and only targets: paired with dataroot_lq has them; remove this"
        yield Problem((*path, "meta_info_file"), said)
    if dataset.dataroot_lq is None:
        if dataset.targets == "several":
            said = "several targets for each lq image need the folder of these"
            yield Problem((*path, "dataroot_lq"), said)
        if dataset.filename_tmpl != "{}":
            said = "without dataroot_lq there are no pairs of files to find by name; remove this"
            yield Problem((*path, "filename_tmpl"), said)


def _gt_sizes(path: KeyPath, dataset: TrainDataset, scale: int) -> Iterator[Problem]:
    sizes, iters = dataset.gt_sizes or (), dataset.iters or ()
    if len(sizes) != len(iters):
        said = f"expected a number of iterations for each of gt_sizes; got {len(iters)} for {len(sizes)}"
        yield Problem((*path, "iters"), said)
    if sizes and max(sizes) != dataset.gt_size:
        said = f"the largest is {max(sizes)}, and gt_size is {dataset.gt_size}; give both the same"
        yield Problem((*path, "gt_sizes"), said)
    if misfits := [size for size in sizes if size % scale]:
        yield Problem((*path, "gt_sizes"), f"{misfits[0]} is no multiple of the scale {scale}")


def _train(options: Options, train: TrainOptions) -> Iterator[Problem]:
    if not train.losses:
        yield Problem(("train",), "no loss term; give at least one, such as pixel_opt: {type: L1Loss}")
    if train.ema_warmup and not train.ema_decay:
        yield Problem(("train", "ema_warmup"), "there is no EMA; set train.ema_decay, such as 0.999")
    yield from _teacher(options, train)
    scheduler = train.scheduler.args
    if "periods" in scheduler and sum(scheduler["periods"]) < train.total_iter:
        end = sum(scheduler["periods"])
        said = f"the periods end at iteration {end}, before total_iter {train.total_iter}"
        yield Problem(("train", "scheduler", "periods"), said)
    model = options.model_type
    if model == CYCLE_MODEL and options.scale != 1:
        yield Problem(("scale",), f"{CYCLE_MODEL} has a generator back, which needs scale 1")
    if model == CYCLE_MODEL:
        of_one_network: dict[KeyPath, object] = {
            ("train", "freeze_g"): train.freeze_g,
            ("path", "ignore_resume_networks"): options.path.ignore_resume_networks,
        }
        for path, value in of_one_network.items():
            if value:
                said = f"{model} has two generators and two discriminators, and this names one; remove this"
                yield Problem(path, said)
        for name in train.losses:
            if name.endswith("_back"):
                said = f"the log of {model} has figures of this name; take another name"
                yield Problem(("train", f"{name}_opt"), said)
    pieces: dict[KeyPath, object] = {
        ("network_d",): options.network_d,
        ("train", "optim_d"): train.optim_d,
        ("train", "gan_opt"): train.losses.get("gan"),
    }
    for path, piece in pieces.items():
        if model in GAN_MODELS and piece is None:
            yield Problem(path, f"{model} requires this option and it is missing")
    if model not in GAN_MODELS and "network_d" in options.path.ignore_resume_networks:
        yield Problem(("path", "ignore_resume_networks"), f"{model} has no network_d; remove it")
    if model not in GAN_MODELS and "gan" in train.losses:
        yield Problem(("train", "gan_opt"), f"{model} has no discriminator; remove this")


def _teacher(options: Options, train: TrainOptions) -> Iterator[Problem]:
    if options.path.teacher is None:
        for key in ("teacher_iter", "teacher_ensemble"):
            if getattr(train, key):
                yield Problem(("train", key), "there is no teacher; set path.teacher, or remove this")
        return
    if not train.teacher_iter:
        yield Problem(
            ("path", "teacher"), "it needs train.teacher_iter, the iterations until gt is the target"
        )
    if train.needs_gt_sharp:
        yield Problem(
            ("path", "teacher"), "it stands for gt, and a term is against gt_sharp; remove one of them"
        )
    part = options.datasets.train
    if part is not None and part.type == "NonAlignedPairDataset":
        said = "the target is between its output and gt, pixel by pixel, and gt is not aligned; remove this"
        yield Problem(("path", "teacher"), said)
    for key in ("mean", "std"):
        if part is not None and getattr(part, key) is not None:
            yield Problem(("datasets", "train", key), "the teacher takes images in [0, 1]; remove this")


def _term(
    options: Options, train: TrainOptions, name: str, loss: str, against: str
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the mistakes of one loss term, each with its key in the term."""
    model = options.model_type
    if (name == "gan") != (loss in GAN_LOSSES):
        yield (), f"gan_opt, and no other term, is {' or '.join(GAN_LOSSES)}"
    if loss in GAN_LOSSES and train.adaptive_d and train.losses[name].args.get("gan_type") == "wgan":
        yield (
            ("gan_type",),
            "wgan has no loss at chance, which adaptive_d needs; take another, or remove that",
        )
    if loss == "MultiScaleGANLoss" and model not in ("SRGANModel", "SRModel"):
        yield ("type",), f"{model} takes GANLoss, SRGANModel takes this"
    if loss == "LDLLoss" and model == CYCLE_MODEL:
        yield (), f"LDLLoss needs gt of the same scene, and {CYCLE_MODEL} has none; remove this"
    elif loss == "LDLLoss" and not train.ema_decay:
        yield (), "LDLLoss needs the output of the EMA network; set train.ema_decay, such as 0.999"
    if name in LOGGED or name.startswith(("grad_norm_", "shift_")):
        yield (), f"the log has a figure called {name}; take another name"
    if against == "lq" and options.scale != 1:
        said = f"lq is as large as the output where the scale is 1; it is {options.scale}"
        yield ("against",), said
    if against == "lq" and loss in GAN_LOSSES:
        yield ("against",), "a discriminator compares the output with gt or gt_sharp; remove this"
    elif against != "gt" and model == CYCLE_MODEL:
        said = f"{CYCLE_MODEL} compares each image with the one generated back from it; remove this"
        yield ("against",), said
