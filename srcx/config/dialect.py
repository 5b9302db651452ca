"""BasicSR's dialect: options that srcx has under other keys, of BasicSR, Real-ESRGAN, HAT, NAFNet and others.

The keys that srcx shares with BasicSR are the schema itself (`options.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from srcx.config.datasets import TrainDataset
from srcx.config.degradation import (
    ROUNDING,
    FactorRange,
    PositiveRange,
    QualityRange,
    ScaleRange,
    Share,
    SigmaRange,
)
from srcx.config.document import Document, KeyPath, dotted
from srcx.config.options import Options, ValOptions
from srcx.config.part_options import SPANDREL
from srcx.config.problems import Problem, schema_problems, shown
from srcx.config.values import Count, Natural, Section, Tuple
from srcx.nearest import LIKE_AN_OPTION, nearest

__all__ = ["outside", "translate"]

MOVED = {("save_img",): ("val", "save_img"), ("suffix",): ("val", "suffix")}
"""BasicSR's test_RCAN.yml has these at the top of the file."""
OUTSIDE = {
    "video": (
        "EDVRModel",
        "VideoBaseModel",
        "VideoGANModel",
        "VideoRecurrentGANModel",
        "VideoRecurrentModel",
    ),
    "making or restoring faces": ("GFPGANModel", "HiFaceGANModel", "StyleGAN2Model", "VQGANModel"),
}
"""Models of BasicSR and its family for work that srcx does not do."""
OTHER_DIALECTS = {"default": "neosr", "image": "neosr", "otf": "neosr"}
"""Values of `model_type` of projects that began as forks of BasicSR and have keys of their own."""
FORKS_CLIP_NORM = 0.01
"""The norm of `use_grad_clip: true` in the forks of BasicSR that have it (Restormer, NAFNet)."""
FORKS = {
    "DATModel": "SRModel",
    "HATModel": "SRModel",
    "ImageRestorationModel": "SRModel",
    "RGTModel": "SRModel",
    "RealHATGANModel": "RealESRGANModel",
    "RealHATMSEModel": "RealESRNetModel",
}
"""Models of DAT, HAT, NAFNet and RGT, and the one that trains as they do."""
FORKS_NETWORKS = ("DAT", "HAT", "NAFNet", "RGT", "SAFMN")
"""Networks that these and SAFMN name without a prefix, and that spandrel has with the same arguments."""

OWN_MODELS = get_args(Options.model_fields["model_type"].annotation)
MODELS = {"RealESRNetModel": "SRModel", "RealESRGANModel": "SRGANModel"}
SYNTHETIC, PAIRED = "RealESRGANDataset", "RealESRGANPairedDataset"
TRAIN: KeyPath = ("datasets", "train")
FLAGS = {"pixel_opt": "l1_gt_usm", "perceptual_opt": "percep_gt_usm", "gan_opt": "gan_gt_usm"}
"""RealESRGANModel: for each term, the flag for sharpened gt."""
EVEN_FILTERS = {"area": 0.334, "bilinear": 0.333, "bicubic": 0.333}

KernelName = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
Shares = Annotated[Tuple[Share], Field(min_length=1)]


class ForksTile(Section):
    """HAT: the tiles of a test."""

    tile_size: Count
    """No effect: `val.tile` says how large tiles are."""
    tile_pad: Natural
    """No effect: as tile_size."""


class ForksTop(Section):
    """The options that HAT has at the top of a file."""

    tile: ForksTile | None = None
    """No effect: `val.tile` says how large tiles are."""


class ForksDataset(Section):
    """The options of data sets of DAT, RGT and NAFNet."""

    task: str = "SR"
    """DAT, RGT: no effect."""
    use_flip: bool = True
    """NAFNet: use_hflip."""


class ForksVal(Section):
    """The options of `val` of DAT, RGT and NAFNet."""

    use_chop: bool = False
    """DAT, RGT: no effect: `val.tile` says how large tiles are."""
    use_image: bool = True
    """NAFNet: no effect: images are scored as they are saved."""
    grids: bool = False
    """NAFNet: no effect: as use_chop."""


class ModelOptions(Section):
    """The options at the top of a file of RealESRNetModel or RealESRGANModel; 2: the second pass."""

    gt_usm: bool = True
    """RealESRNetModel: sharpen gt, also before lq is made from it."""
    l1_gt_usm: bool = True
    """RealESRGANModel: pixel_opt compares with sharpened gt."""
    percep_gt_usm: bool = True
    """RealESRGANModel: perceptual_opt compares with sharpened gt."""
    gan_gt_usm: bool = True
    """RealESRGANModel: the discriminator's real images are sharpened gt."""
    high_order_degradation: bool = True
    """Make lq from gt by two passes; false reads it from the RealESRGANPairedDataset."""
    gt_size: Count | None = None
    """Side of the ground-truth crop."""
    queue_size: Count = 180
    """No effect: each item of a batch has a degradation of its own, so none need be mixed from a queue."""
    resize_prob: Shares
    """Probabilities of up, down and keep."""
    resize_range: FactorRange
    """Smallest and largest factor, of the size of gt."""
    gaussian_noise_prob: Share
    """Share of Gaussian noise; the rest is Poisson's."""
    noise_range: SigmaRange
    """Standard deviation of Gaussian noise."""
    poisson_scale_range: ScaleRange
    """Factor of Poisson noise."""
    gray_noise_prob: Share
    """Share of noise that is the same in all channels."""
    jpeg_range: QualityRange
    """Quality of JPEG."""
    second_blur_prob: Share
    """Probability of the second pass's blur."""
    resize_prob2: Shares
    """As resize_prob."""
    resize_range2: FactorRange
    """Smallest and largest factor, of the size of lq."""
    gaussian_noise_prob2: Share
    """As gaussian_noise_prob."""
    noise_range2: SigmaRange
    """As noise_range."""
    poisson_scale_range2: ScaleRange
    """As poisson_scale_range."""
    gray_noise_prob2: Share
    """As gray_noise_prob."""
    jpeg_range2: QualityRange
    """Quality of the last JPEG."""


class DataOptions(Section):
    """The options of a RealESRGANDataset that other data sets do not have."""

    blur_kernel_size: Count = 21
    """No effect: as in BasicSR, kernels have 7 to 21 pixels a side."""
    kernel_list: Tuple[KernelName]
    """Kernels to draw from."""
    kernel_prob: Shares
    """Their shares of the rest beside sinc_prob."""
    sinc_prob: Share
    """Share of sinc kernels."""
    blur_sigma: PositiveRange
    """Standard deviation in pixels."""
    betag_range: PositiveRange
    """Exponent of generalised kernels."""
    betap_range: PositiveRange
    """Exponent of plateau kernels."""
    blur_kernel_size2: Count = 21
    """No effect: as blur_kernel_size."""
    kernel_list2: Tuple[KernelName]
    """As kernel_list."""
    kernel_prob2: Shares
    """As kernel_prob."""
    sinc_prob2: Share
    """As sinc_prob."""
    blur_sigma2: PositiveRange
    """As blur_sigma."""
    betag_range2: PositiveRange
    """As betag_range."""
    betap_range2: PositiveRange
    """As betap_range."""
    final_sinc_prob: Share
    """Probability of the last sinc filter."""


def outside(document: Document) -> Problem | None:
    """Return the one problem of a file for other work than srcx's; all others would follow from it."""
    came = document.data.get("model_type")
    for work, names in OUTSIDE.items():
        if came in names:
            return Problem(("model_type",), f"{came} is for {work}, and srcx upscales single images")
    said = "this is an option file of {}, whose options are not BasicSR's; start from a file under options/"
    if isinstance(came, str) and came in OTHER_DIALECTS:
        return Problem(("model_type",), said.format(OTHER_DIALECTS[came]))
    if came is None and isinstance(document.get(("train", "losses")), list):
        return Problem(("train", "losses"), said.format("traiNNer-redux"))
    return None


def translate(document: Document) -> list[Problem]:
    """Rewrite BasicSR's dialect in `document` to the options of the schema.

    Returns:
        What is wrong with it, at the paths and with the keys of the file.
    """
    for old, new in MOVED.items():  # a value at the new place wins
        if old[0] in document.data and isinstance(document.data.get(new[0], {}), dict):
            value, place = document.take(old)
            if document.get(new) is None:
                document.put(new, value, place, old_word=old)
    if "crop_border" in document.data and document.data["crop_border"] is None:
        document.take(("crop_border",))
    problems = list(_misspelt(document))
    if document.data.get("model_type") not in [*OWN_MODELS, *MODELS, *FORKS]:
        _remove_words_of_models(document)
    problems += _forks(document)
    train = document.data.get("train")
    if isinstance(train, dict) and isinstance(train.get("use_grad_clip"), bool):
        clips, place = document.take(("train", "use_grad_clip"))
        if clips and train.get("grad_clip") is None:
            document.put(("train", "grad_clip"), FORKS_CLIP_NORM, place)
    return problems + _real_esrgan(document)


def _forks(document: Document) -> list[Problem]:
    """Rewrite the options of DAT, HAT, NAFNet, RGT and SAFMN."""
    if document.get(("network_g", "type")) in FORKS_NETWORKS:
        path: KeyPath = ("network_g", "type")
        _put(document, path, f"{SPANDREL}{document.get(path)}", path)
    model = document.data.get("model_type")
    if not isinstance(model, str) or model not in FORKS:
        return []
    _put(document, ("model_type",), FORKS[model], ("model_type",))
    if model == "ImageRestorationModel" and isinstance(document.get(("train",)), dict):
        document.data["train"].setdefault("use_grad_clip", True)  # NAFNet's own default
    problems = _taken(document, (), ForksTop, Options)[1]
    if isinstance(document.get(("val",)), dict):
        problems += _taken(document, ("val",), ForksVal, ValOptions)[1]
    for key in _sections(document, ("datasets",)):
        path = ("datasets", key)
        words, found = _taken(document, path, ForksDataset, TrainDataset)
        problems += found
        if key == "train" and "use_flip" in words:
            _put(document, (*path, "use_hflip"), words["use_flip"], (*path, "use_flip"))
    schedule: KeyPath = ("train", "scheduler")
    if document.get((*schedule, "type")) == "TrueCosineAnnealingLR":  # PyTorch's, by NAFNet's name
        _put(document, (*schedule, "type"), "CosineAnnealingRestartLR", (*schedule, "type"))
        if "T_max" in document.get(schedule):
            value, place = document.take((*schedule, "T_max"))
            document.put((*schedule, "periods"), [value], place, old_word=(*schedule, "T_max"))
    return problems


def _real_esrgan(document: Document) -> list[Problem]:
    """Rewrite the options of Real-ESRGAN's models and data sets."""
    problems: list[Problem] = []
    types = {key: document.get(("datasets", key, "type")) for key in _sections(document, ("datasets",))}
    for key, type_name in types.items():
        path: KeyPath = ("datasets", key)
        if type_name == PAIRED:
            _put(document, (*path, "type"), "PairedImageDataset", (*path, "type"))
        elif type_name == SYNTHETIC and key != "train":
            said = f"{SYNTHETIC} is to train on; validate on a PairedImageDataset or SingleImageDataset"
            problems.append(Problem((*path, "type"), said))
    model, of_train = document.data.get("model_type"), types.get("train")
    if not isinstance(model, str) or model not in MODELS:
        if of_train == SYNTHETIC:
            problems.append(Problem((*TRAIN, "type"), f"{SYNTHETIC} needs model_type {' or '.join(MODELS)}"))
        return problems

    words, found = _taken(document, (), ModelOptions, Options, other=(DataOptions, "under 'datasets.train'"))
    high_order = "train" in types and words.get("high_order_degradation") is not False
    # Pairs have no degradation, so what it lacks is not the mistake.
    problems += [one for one in found if (high_order and of_train != PAIRED) or one.path[0] in words]
    _put(document, ("model_type",), MODELS[model], ("model_type",))
    problems += _terms(document, model, words, high_order=high_order)
    if "train" not in types:
        return problems
    problems += _crop(document, words)
    if high_order != (of_train == SYNTHETIC):
        wanted, given = (SYNTHETIC, "true") if high_order else (PAIRED, "false")
        said = f"expected {wanted}, as high_order_degradation is {given}; got {of_train}"
        problems.append(Problem((*TRAIN, "type"), said))
    if of_train == SYNTHETIC:
        top = (ModelOptions, "at the top of the file")
        of_data, found = _taken(document, TRAIN, DataOptions, TrainDataset, other=top)
        problems += [*found, *_together(words, ()), *_together(of_data, TRAIN)]
        _put(document, (*TRAIN, "type"), "HighResolutionDataset", (*TRAIN, "type"))
        if "meta_info" in document.get(TRAIN):
            value, place = document.take((*TRAIN, "meta_info"))
            document.put((*TRAIN, "meta_info_file"), value, place, old_word=(*TRAIN, "meta_info"))
        if "degradation" in document.get(TRAIN):
            problems.append(
                Problem((*TRAIN, "degradation"), f"{SYNTHETIC} has options of its own; remove this")
            )
        elif not problems:
            sharpen_gt = model == "RealESRGANModel" or words.get("gt_usm", True)
            _put(document, (*TRAIN, "degradation"), _degradation({**words, **of_data}, sharpen_gt), TRAIN)
    return problems


def _misspelt(document: Document) -> Iterator[Problem]:
    """Yield names that are not the schema's: nearly those of other projects, and models like none."""
    paths: dict[KeyPath, list[str]] = {("model_type",): [*MODELS, *FORKS]}
    for key in _sections(document, ("datasets",)):
        paths["datasets", key, "type"] = [SYNTHETIC, PAIRED]
    for path, names in paths.items():
        came = document.get(path)
        if not isinstance(came, str) or came in (*OWN_MODELS, *names):
            continue
        near = nearest(came, names)
        if near:
            yield Problem(path, f"unknown {dotted(path[-1:])} '{came}'; did you mean '{near}'?")
        elif path == ("model_type",) and nearest(came, OWN_MODELS) is None:
            said = f"unknown model_type '{came}'; srcx has {', '.join([*OWN_MODELS, *MODELS])}"
            yield Problem(path, f"{said}; if it trains as one of these does, write that name")


def _remove_words_of_models(document: Document) -> None:
    """Remove the options of other projects' models: which of them are right follows from the model's name."""
    words: dict[KeyPath, tuple[type[Section], ...]] = {(): (ModelOptions, ForksTop), ("val",): (ForksVal,)}
    for key in _sections(document, ("datasets",)):
        words["datasets", key] = (ForksDataset, DataOptions)
    for path, kinds in words.items():
        section = document.get(path)
        for name in (name for kind in kinds for name in kind.model_fields):
            if isinstance(section, dict):
                section.pop(name, None)
    if document.get((*TRAIN, "type")) == SYNTHETIC:
        document.data["datasets"]["train"]["type"] = "HighResolutionDataset"
        document.data["datasets"]["train"].pop("meta_info", None)


def _sections(document: Document, path: KeyPath) -> list[str]:
    """Return the keys under `path` that are sections."""
    outer = document.get(path)
    return [key for key, value in outer.items() if isinstance(value, dict)] if isinstance(outer, dict) else []


def _taken(
    document: Document,
    path: KeyPath,
    old: type[Section],
    new: type[Section],
    *,
    other: tuple[type[Section], str] | None = None,
) -> tuple[dict[str, Any], list[Problem]]:
    """Take the options of `old` out of the section at `path`, whose other options are those of `new`.

    Args:
        document: The file.
        path: The section.
        old: The options to take.
        new: The options that stay.
        other: Options of another section, and its place in words: found here, they are said to belong there.

    Returns:
        The right ones with the file's values, and what is wrong with the others. Their places stay in
        `document`.
    """
    section = document.get(path) if path else document.data
    words = {key: section.pop(key) for key in old.model_fields.keys() & section.keys()}
    problems = []
    for key in section.keys() - new.model_fields.keys():
        if other is not None and key in other[0].model_fields:
            section.pop(key)
            problems.append(Problem((*path, key), f"unknown option here; it belongs {other[1]}"))
            continue
        near = nearest(key, [*old.model_fields, *new.model_fields], least=LIKE_AN_OPTION)
        if near in old.model_fields:
            section.pop(key)
            problems.append(Problem((*path, key), f"unknown option; did you mean '{near}'?"))
    try:
        old.model_validate(words)
    except ValidationError as error:
        found = schema_problems(error, old)
        words = {key: value for key, value in words.items() if key not in {one.path[0] for one in found}}
        problems += [one._replace(path=(*path, *one.path)) for one in found]
    return words, problems


def _together(words: Mapping[str, Any], path: KeyPath) -> Iterator[Problem]:
    """Yield mistakes between the items of one option, or between two options."""
    for end in ("", "2"):
        for key, names in (
            ("resize_prob", ["up", "down", "keep"]),
            ("kernel_prob", words.get(f"kernel_list{end}")),
        ):
            shares = words.get(f"{key}{end}")
            if shares is None:
                continue
            if names is not None and len(shares) != len(names):
                said = f"{len(shares)} probabilities for {len(names)} kinds ({', '.join(names)})"
                yield Problem((*path, f"{key}{end}"), said)
            elif abs(sum(shares) - 1) > ROUNDING:
                yield Problem(
                    (*path, f"{key}{end}"), f"the probabilities add up to {sum(shares):g}, not to 1"
                )
        low, high = words.get(f"resize_range{end}", (1, 1))
        if low > 1 or high < 1:
            said = f"expected a range from at most 1 to at least 1, got {shown([low, high])}"
            yield Problem((*path, f"resize_range{end}"), said)


def _terms(
    document: Document, model: str, words: Mapping[str, Any], *, high_order: bool
) -> Iterator[Problem]:
    """Write the target of each loss term, and make ldl_opt the LDLLoss of srcx; yield what is wrong."""
    for key in _sections(document, ("train",)):
        path: KeyPath = ("train", key)
        flag = FLAGS.get(key) if model == "RealESRGANModel" else "gt_usm" if high_order else None
        if (
            key.endswith("_opt")
            and flag
            and words.get(flag, True)
            and document.get((*path, "against")) is None
        ):
            _put(document, (*path, "against"), "gt_sharp", (flag,) if flag in words else path)
        if key == "ldl_opt" and model == "RealESRGANModel" and document.get((*path, "type")) != "LDLLoss":
            if document.get((*path, "type")) != "L1Loss":
                yield Problem((*path, "type"), f"{model} weighs an L1Loss here; write L1Loss")
            _put(document, (*path, "type"), "LDLLoss", (*path, "type"))


def _crop(document: Document, words: Mapping[str, Any]) -> Iterator[Problem]:
    """Move the size of crops: BasicSR's model cuts them, so the file may have it at the top."""
    if "gt_size" not in words:
        return
    size, of_data = words["gt_size"], document.get((*TRAIN, "gt_size"))
    if of_data is None:
        _put(document, (*TRAIN, "gt_size"), size, ("gt_size",))
    elif of_data != size:
        yield Problem(("gt_size",), f"is {size}, and datasets.train.gt_size is {of_data}; give both the same")


def _degradation(words: Mapping[str, Any], sharpen_gt: bool) -> dict[str, Any]:
    """Return the description of the degradation of RealESRGANModel with these options.

    Its JPEG has colour at half the resolution. Its second resize multiplies the size of lq, and the second
    pass has no JPEG of its own: it is the last one, before or after the resize to lq and the sinc filter.
    """
    first, second = _pass(words, "", of="gt"), _pass(words, "2", of="lq")
    first["compression"] = {"quality": words["jpeg_range"], "subsampling_prob": 1.0}
    second["blur"]["prob"] = words["second_blur_prob"]
    return {
        "sharpen_gt": sharpen_gt,
        "passes": [first, second],
        "final": {
            "filters": EVEN_FILTERS,
            "sinc_prob": words["final_sinc_prob"],
            "compression": {"quality": words["jpeg_range2"], "subsampling_prob": 1.0},
        },
    }


def _pass(words: Mapping[str, Any], end: str, *, of: str) -> dict[str, Any]:
    up_prob, down_prob, _ = words[f"resize_prob{end}"]
    sinc = words[f"sinc_prob{end}"]
    kernels: dict[str, float] = {"sinc": sinc}
    for name, share in zip(words[f"kernel_list{end}"], words[f"kernel_prob{end}"], strict=True):
        kernels[name] = round(kernels.get(name, 0) + (1 - sinc) * share, 9)
    return {
        "blur": {
            "kernels": kernels,
            "sigma": words[f"blur_sigma{end}"],
            "beta_generalized": words[f"betag_range{end}"],
            "beta_plateau": words[f"betap_range{end}"],
        },
        "resize": {
            "of": of,
            "up_prob": up_prob,
            "down_prob": down_prob,
            "factor": words[f"resize_range{end}"],
            "filters": EVEN_FILTERS,
        },
        "noise": {
            "gaussian_prob": words[f"gaussian_noise_prob{end}"],
            "sigma": words[f"noise_range{end}"],
            "poisson_scale": words[f"poisson_scale_range{end}"],
            "grey_prob": words[f"gray_noise_prob{end}"],
        },
    }


def _put(document: Document, path: KeyPath, value: Any, old_word: KeyPath) -> None:
    """Write a value with the place of the file's option."""
    document.put(path, value, document.place(old_word), old_word=old_word)
