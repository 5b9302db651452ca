"""What must hold between options: lengths that match, parts that need each other."""

from collections import Counter
from collections.abc import Iterator

from srcx.config.document import KeyPath
from srcx.config.options import DatasetOptions, Options, Scheduler, TrainDataset, TrainOptions
from srcx.config.problems import Problem

__all__ = ["GAN_LOSSES", "cross_problems"]

CYCLE_MODEL = "CycleGANModel"
GAN_MODELS = ("SRGANModel", "ESRGANModel", CYCLE_MODEL)
GAN_LOSSES = ("GANLoss", "MultiScaleGANLoss")
FOR_TRAINING = "NonAlignedPairDataset"
LOGGED = ("lr", "d_real", "d_fake", "out_d_real", "out_d_fake")
"""Figures in the log that are no loss terms."""


def cross_problems(options: Options) -> Iterator[Problem]:
    """Mistakes that no option shows by itself."""
    yield from _phases(options)
    yield from _upscale(options)
    yield from _datasets(options)
    if options.train is not None:
        yield from _optimizers(options.train)
        yield from _scheduler(options.train)
        yield from _adversary(options, options.train)
        yield from _discriminator_options(options, options.train)
        yield from _terms(options, options.train)
        if options.model_type == CYCLE_MODEL:
            yield from _cycle(options, options.train)


def _phases(options: Options) -> Iterator[Problem]:
    if options.train is None and options.datasets.train is not None:
        yield Problem(("train",), "this section is needed because the file has datasets.train")
    elif options.train is None and not options.datasets.test:
        yield Problem(
            ("datasets",), "a training file needs 'train' and datasets.train, a test file datasets.test_1"
        )
    elif options.train is not None and options.datasets.train is None:
        yield Problem(("datasets", "train"), "this section is needed because the file has 'train'")


def _upscale(options: Options) -> Iterator[Problem]:
    """The generator upscales by the file's scale; networks call the argument `upscale` or `scale`."""
    for name in ("upscale", "scale"):
        given = options.network_g.args.get(name)
        if isinstance(given, int) and given != options.scale:
            yield Problem(("network_g", name), f"{given} beside scale {options.scale}; make both the same")


def _datasets(options: Options) -> Iterator[Problem]:
    sets: dict[str, DatasetOptions] = {**options.datasets.val, **options.datasets.test}
    names = Counter(dataset.name for dataset in sets.values())
    for key, dataset in sets.items():
        if names[dataset.name] > 1:
            yield Problem(
                ("datasets", key, "name"), f"{names[dataset.name]} sets are called '{dataset.name}'"
            )
        if dataset.name == "train":
            yield Problem(
                ("datasets", key, "name"), "'train' names the losses' rows in metrics.csv; choose another"
            )
        if dataset.type == FOR_TRAINING:
            said = f"{FOR_TRAINING} is to train on; judge on a PairedImageDataset or SingleImageDataset"
            yield Problem(("datasets", key, "type"), said)
        yield from _dataset(("datasets", key), dataset)
    if options.datasets.train is not None:
        if options.datasets.train.type == "SingleImageDataset":
            said = "SingleImageDataset has no ground truth; PairedImageDataset and HighResolutionDataset have"
            yield Problem(("datasets", "train", "type"), said)
        yield from _dataset(("datasets", "train"), options.datasets.train)
        yield from _crop(options.datasets.train, options.scale)
        yield from _targets(options.datasets.train)


def _dataset(path: KeyPath, dataset: DatasetOptions) -> Iterator[Problem]:
    needs = {
        "PairedImageDataset": ("dataroot_gt", "dataroot_lq"),
        "SingleImageDataset": ("dataroot_lq",),
        "HighResolutionDataset": ("dataroot_gt",),
        FOR_TRAINING: ("dataroot_gt",),
    }.get(dataset.type)
    if needs is None:
        return
    for key in ("dataroot_gt", "dataroot_lq"):
        if dataset.type == FOR_TRAINING and key == "dataroot_lq":
            continue  # it may have this folder or do without
        if (getattr(dataset, key) is not None) != (key in needs):
            said = "needs this folder" if key in needs else "does not use this folder"
            yield Problem((*path, key), f"{dataset.type} {said}")
    if isinstance(dataset.dataroot_gt, tuple) and dataset.type != "HighResolutionDataset":
        yield Problem((*path, "dataroot_gt"), f"{dataset.type} takes one folder, not a list")
    if dataset.meta_info is not None and dataset.type != "PairedImageDataset":
        yield Problem((*path, "meta_info"), f"{dataset.type} takes a list of names as meta_info_file")
    elif dataset.meta_info is not None and dataset.io_backend.type != "disk":
        said = f"with io_backend {dataset.io_backend.type} pairs have one name; remove this"
        yield Problem((*path, "meta_info"), said)
    if dataset.degradation is not None and dataset.type != "HighResolutionDataset":
        yield Problem(
            (*path, "degradation"), f"{dataset.type} reads lq as it is; HighResolutionDataset makes it"
        )
    if dataset.filename_tmpl != "{}" and (dataset.dataroot_lq is None or "dataroot_gt" not in needs):
        yield Problem((*path, "filename_tmpl"), "there are no pairs of files to find by name; remove this")
    yield from _lmdb(path, dataset)


def _lmdb(path: KeyPath, dataset: DatasetOptions) -> Iterator[Problem]:
    for key in ("dataroot_gt", "dataroot_lq"):
        folder = getattr(dataset, key)
        if dataset.io_backend.type == "lmdb" and isinstance(folder, str) and not folder.endswith(".lmdb"):
            yield Problem(
                (*path, key), f"with io_backend lmdb the folder's name ends in .lmdb; got '{folder}'"
            )


def _crop(dataset: TrainDataset, scale: int) -> Iterator[Problem]:
    if dataset.gt_size % scale:
        near = max(dataset.gt_size // scale, 1) * scale
        said = f"{dataset.gt_size} is no multiple of the scale {scale}; write {near}"
        yield Problem(("datasets", "train", "gt_size"), said)


def _targets(dataset: TrainDataset) -> Iterator[Problem]:
    """What only a data set of pairs that are not aligned has, and what it has not."""
    path: KeyPath = ("datasets", "train")
    if dataset.type != FOR_TRAINING:
        for key, given in (("targets", dataset.targets != "paired"), ("max_offset", dataset.max_offset > 0)):
            if given:
                yield Problem((*path, key), f"{dataset.type} has no such option, {FOR_TRAINING} has it")
        return
    if dataset.targets == "several" and dataset.dataroot_lq is None:
        yield Problem((*path, "dataroot_lq"), "several targets for each lq image need the folder of these")
    if dataset.targets == "unpaired" and dataset.max_offset:
        yield Problem((*path, "max_offset"), "unpaired targets are cut at any place anyway; remove this")
    files = f"{FOR_TRAINING} reads all image files of a folder; remove this"
    if dataset.io_backend.type == "lmdb":
        yield Problem((*path, "io_backend"), files)
    if dataset.meta_info_file is not None:
        yield Problem((*path, "meta_info_file"), files)


def _optimizers(train: TrainOptions) -> Iterator[Problem]:
    for name, optimizer in (("optim_g", train.optim_g), ("optim_d", train.optim_d)):
        if optimizer is not None and len(optimizer.betas) != 2:
            yield Problem(("train", name, "betas"), f"expected two numbers, got {len(optimizer.betas)}")


def _scheduler(train: TrainOptions) -> Iterator[Problem]:
    """Lists that fit each other; whether the scheduler has what it needs is for `Parts` to say."""
    scheduler = train.scheduler
    if scheduler.type in ("MultiStepLR", "MultiStepRestartLR"):
        yield from _milestones(scheduler)
        yield from _weights(scheduler, "restarts", scheduler.restarts)
    elif scheduler.type == "CosineAnnealingRestartLR" and "periods" in scheduler.model_fields_set:
        yield from _weights(scheduler, "periods", scheduler.periods)
        yield from _periods(scheduler, train.total_iter)


def _milestones(scheduler: Scheduler) -> Iterator[Problem]:
    milestones = list(scheduler.milestones)
    if milestones != sorted(set(milestones)):
        yield Problem(("train", "scheduler", "milestones"), f"milestones must rise; got {milestones}")


def _periods(scheduler: Scheduler, total_iter: int) -> Iterator[Problem]:
    end = sum(scheduler.periods)
    if end < total_iter:
        said = f"the periods end at step {end}, before total_iter {total_iter}"
        yield Problem(("train", "scheduler", "periods"), said)


def _weights(scheduler: Scheduler, name: str, starts: tuple[int, ...]) -> Iterator[Problem]:
    weights = scheduler.restart_weights
    if len(weights) != len(starts):
        said = f"{len(weights)} weights for {len(starts)} {name}; give one for each"
        yield Problem(("train", "scheduler", "restart_weights"), said)


def _terms(options: Options, train: TrainOptions) -> Iterator[Problem]:
    if not train.losses:
        yield Problem(("train",), "no loss term; give at least one, such as pixel_opt: {type: L1Loss}")
    for name, term in train.losses.items():
        term_path: KeyPath = ("train", f"{name}_opt")
        if (name == "gan") != (term.type in GAN_LOSSES):
            yield Problem(term_path, f"gan_opt, and no other term, is {' or '.join(GAN_LOSSES)}")
        if term.type == "MultiScaleGANLoss" and options.model_type not in ("SRGANModel", "SRModel"):
            yield Problem((*term_path, "type"), f"{options.model_type} takes GANLoss, SRGANModel takes this")
        if term.type == "LDLLoss":
            yield from _ldl(options, train, term_path)
        if name in LOGGED:
            yield Problem(term_path, f"the log has a figure called {name}; take another name")
        if term.against == "gt":
            continue
        path: KeyPath = (*term_path, "against")
        if term.against == "lq" and options.scale != 1:
            yield Problem(path, f"lq is as large as the output where the scale is 1; it is {options.scale}")
        if term.against == "lq" and term.type in GAN_LOSSES:
            yield Problem(path, "a discriminator tells the output from gt or gt_sharp; remove this")
        elif options.model_type == CYCLE_MODEL:
            said = f"{CYCLE_MODEL} compares each image with what came back of it; remove this"
            yield Problem(path, said)


def _ldl(options: Options, train: TrainOptions, path: KeyPath) -> Iterator[Problem]:
    if options.model_type == CYCLE_MODEL:
        yield Problem(path, f"LDLLoss needs gt of the same scene, and {CYCLE_MODEL} has none; remove this")
    elif not train.ema_decay:
        yield Problem(path, "LDLLoss needs the output of the EMA network; set train.ema_decay, such as 0.999")


def _discriminator_options(options: Options, train: TrainOptions) -> Iterator[Problem]:
    """Options of a discriminator's training, where there is none."""
    if options.model_type in GAN_MODELS:
        return
    given = {
        ("train", "net_d_iters"): train.net_d_iters != 1,
        ("train", "net_d_init_iters"): train.net_d_init_iters > 0,
        ("path", "pretrain_network_d"): options.path.pretrain_network_d is not None,
    }
    for path, is_given in given.items():
        if is_given:
            yield Problem(path, f"{options.model_type} has no discriminator; remove this")


def _cycle(options: Options, train: TrainOptions) -> Iterator[Problem]:
    """What a model with two generators cannot do."""
    if options.scale != 1:
        yield Problem(("scale",), f"{CYCLE_MODEL} has a generator back, which needs scale 1")
    for key, plain in (("net_d_iters", 1), ("net_d_init_iters", 0)):
        if getattr(train, key) != plain:
            yield Problem(("train", key), f"{CYCLE_MODEL} teaches all networks in each step; remove this")
    # Weights of one network fit one direction alone, and these options do not say which.
    of_one_network = {
        ("train", "freeze_g"): train.freeze_g,
        ("path", "pretrain_network_g"): options.path.pretrain_network_g,
        ("path", "pretrain_network_d"): options.path.pretrain_network_d,
        ("path", "ignore_resume_networks"): options.path.ignore_resume_networks,
    }
    for path, given in of_one_network.items():
        if given:
            said = f"{CYCLE_MODEL} has two generators and two discriminators, and this names one; remove this"
            yield Problem(path, said)
    for name in train.losses:
        if name.endswith("_back"):
            said = f"the log calls the way back's figures so under {CYCLE_MODEL}; take another name"
            yield Problem(("train", f"{name}_opt"), said)


def _adversary(options: Options, train: TrainOptions) -> Iterator[Problem]:
    """A GAN model has a discriminator, its optimizer and its loss; other models have none of them."""
    pieces = {
        ("network_d",): options.network_d,
        ("train", "optim_d"): train.optim_d,
        ("train", "gan_opt"): train.losses.get("gan"),
    }
    adversarial = options.model_type in GAN_MODELS
    said = "needs this option and it is missing" if adversarial else "has no discriminator; remove this"
    for path, piece in pieces.items():
        if (piece is not None) != adversarial:
            yield Problem(path, f"{options.model_type} {said}")
