"""Every option srcx knows: its type, range, default and meaning; there is no other list.

The words are BasicSR's, so that its files load unmodified. What srcx adds is marked "srcx:"; what BasicSR's
files say but srcx has no use for is marked "No effect".
"""

from copy import deepcopy
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PrivateAttr, model_serializer, model_validator

from srcx.config.degradation import DegradationOptions
from srcx.config.document import Document
from srcx.config.section import Section
from srcx.config.values import (
    Count,
    Defaulted,
    FilePath,
    Folders,
    Fraction,
    NameEnd,
    Natural,
    NonNegative,
    Number,
    NumGpu,
    Positive,
    RunName,
    SetName,
    Template,
    Tuple,
    Whole,
)
from srcx.config.yaml_writer import to_text

__all__ = [
    "DatasetOptions",
    "Datasets",
    "DistOptions",
    "IoBackend",
    "LoggerOptions",
    "LossTerm",
    "Metric",
    "Optimizer",
    "Options",
    "Part",
    "PathOptions",
    "Scheduler",
    "Section",
    "TrainDataset",
    "TrainOptions",
    "ValOptions",
    "WandbOptions",
]


class Part(Section):
    """A part by name, `{type: Name, argument: value, ...}`; the arguments are the part's own."""

    model_config = ConfigDict(extra="allow")
    not_args: ClassVar[frozenset[str]] = frozenset({"type"})
    """Keys that are srcx's and not the part's."""

    type: str
    """The part's class or function name, as in srcx/registry.py or in BasicSR."""

    @property
    def args(self) -> dict[str, Any]:
        """The part's arguments as the file gives them; a fresh copy, so nobody can change the options."""
        return {key: deepcopy(value) for key, value in self._given().items() if key not in self.not_args}

    @model_serializer(mode="plain")
    def _given(self) -> dict[str, Any]:
        fields = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}
        return fields | (self.model_extra or {})


class Optimizer(Part):
    """An optimizer of torch.optim; the usual arguments are checked here, others by its signature."""

    lr: Positive
    """Learning rate at the start, after warm-up."""
    betas: Tuple[Fraction] = (0.9, 0.999)
    """Adam's two decay rates."""
    weight_decay: NonNegative = 0.0
    """Adam's L2 penalty, or AdamW's decay."""


class Scheduler(Part):
    """Learning rate over the run, by BasicSR's names."""

    milestones: Tuple[Count] = ()
    """MultiStepLR: steps at which the rate is multiplied by `gamma`, rising."""
    gamma: Positive = 0.1
    """MultiStepLR: that factor."""
    restarts: Tuple[Natural] = (0,)
    """MultiStepLR: steps at which the rate starts anew."""
    periods: Tuple[Count] = ()
    """CosineAnnealingRestartLR: steps of each half wave; together at least total_iter."""
    restart_weights: Tuple[Number] = (1.0,)
    """Factor of the rate after each restart, one for each of `restarts` or `periods`."""
    eta_min: NonNegative = 0.0
    """CosineAnnealingRestartLR: the rate at the end of each half wave."""


class LossTerm(Part):
    """One term of the objective, `<name>_opt`."""

    not_args: ClassVar[frozenset[str]] = frozenset({"type", "loss_weight", "against"})

    loss_weight: Number = 1.0
    """Factor of this term in the sum; losses with weights of their own (perceptual_weight) keep it at 1."""
    against: Literal["gt", "lq", "gt_sharp"] = "gt"
    """srcx: what the output is compared with; gt_sharp: gt after an unsharp mask; lq: where scale is 1."""

    @property
    def weight(self) -> float:
        """The same as `loss_weight`."""
        return self.loss_weight


class Metric(Part):
    """One figure of a validation, such as `{type: calculate_psnr, crop_border: 4, test_y_channel: true}`."""

    not_args: ClassVar[frozenset[str]] = frozenset({"type", "better"})

    better: Literal["higher", "lower"] | None = None
    """Which direction is better, for the best checkpoint; null asks the metric itself."""


class IoBackend(Section):
    """Where a data set's images are kept."""

    type: Literal["disk", "lmdb", "webdataset"] = "disk"
    """disk: image files; lmdb: BasicSR's folders, named *.lmdb; srcx: webdataset: tar shards on a disk."""


class DatasetOptions(Section):
    """A data set for validation (val, val_1 ...) or test (test, test_1 ...)."""

    name: SetName
    """Name in logs, tables and result folders; one name for one set."""
    type: str
    """PairedImageDataset, SingleImageDataset, srcx: HighResolutionDataset (gt), NonAlignedPairDataset."""
    dataroot_gt: Folders | None = None
    """Folder of ground truth, relative to the current folder; HighResolutionDataset also takes a list."""
    dataroot_lq: FilePath | None = None
    """Folder of low-resolution images; relative to the current folder."""
    meta_info_file: FilePath | None = None
    """Text file with one image name a line: reads these instead of the whole folder."""
    meta_info: FilePath | None = None
    """PairedImageDataset: text file with `gt, lq` a line, two names relative to the two folders."""
    filename_tmpl: Template = "{}"
    """Name of the lq file without suffix, from the gt file's: '{}x4' pairs baby.png with babyx4.png."""
    degradation: DegradationOptions | None = None
    """srcx: HighResolutionDataset: how lq is made from gt; null makes MATLAB's bicubic of it."""
    io_backend: Defaulted[IoBackend] = IoBackend()
    """Where the images are kept."""
    color: Literal["y"] | None = None
    """y: train and test on the luma channel alone; null: RGB."""
    mean: Tuple[Number] | None = None
    """Subtracted from each channel, [0, 1] units; null subtracts nothing."""
    std: Tuple[Positive] | None = None
    """Divides each channel after `mean`; null divides nothing."""
    pin_memory: bool = False
    """No effect: memory is pinned where there is a GPU to copy to."""
    persistent_workers: bool = False
    """No effect: workers live as long as the run."""
    cache_mib: Natural = 1024
    """srcx: MiB of decoded images kept in memory; 0 keeps none."""


class TrainDataset(DatasetOptions):
    """The training set and its loader."""

    gt_size: Count
    """Side of the square ground-truth crop in pixels; a multiple of `scale`."""
    use_hflip: bool = True
    """Flip crops left to right at random."""
    use_rot: bool = True
    """Flip crops upside down and transpose them at random."""
    targets: Literal["paired", "several", "unpaired"] = "paired"
    """srcx: NonAlignedPairDataset: the gt of lq's name, those in the folder of its name, or any gt of all."""
    max_offset: Natural = 0
    """srcx: NonAlignedPairDataset: whole gt pixels by which the gt's crop is moved at most, at random."""
    batch_size_per_gpu: Count = 16
    """Crops in one batch on each device."""
    num_worker_per_gpu: Natural = 2
    """Threads that prepare batches ahead, for each device; 0 prepares each batch when it is wanted."""
    dataset_enlarge_ratio: Count = 1
    """How often each image is drawn in one epoch; matters where epochs of few images cost time."""
    use_shuffle: bool = True
    """No effect: training images are always drawn in random order, as in BasicSR 1.4.2."""
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    """No effect: batches are always prepared ahead."""
    num_prefetch_queue: Count = 1
    """No effect: see `prefetch_mode`."""


class Datasets(Section):
    """The data sets; in the file `train` and any number of `val`, `val_1` ..., `test`, `test_1` ..."""

    train: TrainDataset | None = None
    """What to train on."""
    val: dict[str, DatasetOptions] = Field(default_factory=dict)
    """Validation sets by key, in the file's order."""
    test: dict[str, DatasetOptions] = Field(default_factory=dict)
    """Test sets by key, in the file's order."""

    @model_validator(mode="before")
    @classmethod
    def _group(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        grouped: dict[str, Any] = {"val": {}, "test": {}}
        for key, value in data.items():
            phase = key.split("_")[0]
            target = grouped[phase] if phase in ("val", "test") else grouped
            target[key] = value
        return grouped

    @model_serializer(mode="plain")
    def _as_written(self) -> dict[str, Any]:
        sets = {} if self.train is None else {"train": self.train}
        return {**sets, **self.val, **self.test}


class PathOptions(Section):
    """Checkpoints to start from, and where runs are kept."""

    pretrain_network_g: FilePath | None = None
    """Checkpoint the generator starts from; null starts from random weights."""
    param_key_g: str | None = "params"
    """Entry of that file to read: params, params_ema; null takes the averaged ones if there are any."""
    strict_load_g: bool = True
    """Every weight must fit; false loads those that do."""
    pretrain_network_d: FilePath | None = None
    """Checkpoint the discriminator starts from."""
    param_key_d: str | None = "params"
    """Entry of that file to read."""
    strict_load_d: bool = True
    """Every weight must fit; false loads those that do."""
    resume_state: FilePath | None = None
    """A .state file of an interrupted run to go on from."""
    ignore_resume_networks: Tuple[Literal["network_g", "network_d"]] = ()
    """Networks (network_g, network_d) that start from pretrain_network_* even when resuming."""
    experiments_root: FilePath = "experiments"
    """srcx: folder in which each run gets a folder of its name."""


class TrainOptions(Section):
    """How to train; each `<name>_opt` with a `type` is one term of the objective."""

    total_iter: Count
    """Steps of the optimizer."""
    warmup_iter: Whole = Field(default=-1, ge=-1)
    """Steps over which the learning rate grows from 0 in a line; -1: none."""
    ema_decay: Fraction = 0.0
    """Decay per step of the averaged weights, in [0, 1); 0 keeps no average."""
    optim_g: Optimizer
    """The generator's optimizer, such as {type: Adam, lr: 1e-4, betas: [0.9, 0.99]}."""
    optim_d: Optimizer | None = None
    """The discriminator's optimizer."""
    scheduler: Scheduler
    """Learning rate over the run: MultiStepLR or CosineAnnealingRestartLR."""
    losses: dict[str, LossTerm] = Field(default_factory=dict)
    """The terms by name without `_opt`, in the file's order; a term given as null is off."""
    jitter: Natural = 0
    """srcx: VGG and the discriminator see crops so many pixels smaller, moved at random; 0: whole ones.
    LPIPSLoss sees whole ones, and runs in fp32 whatever the precision."""
    freeze_g: list[str] = Field(default_factory=list)
    """srcx: parts of net_g, such as upconv1, whose weights stay as they are."""
    net_d_iters: Count = 1
    """The generator learns at every so-many-th step."""
    net_d_init_iters: Natural = 0
    """Steps at the start in which the discriminator alone learns."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """srcx: number format of the networks' products, all else being fp32; auto: bf16 where it is fast."""
    channels_last: bool = True
    """srcx: keep channels innermost in memory; faster, same numbers up to rounding."""
    grad_clip: Positive | None = None
    """srcx: largest norm of each network's gradient; null does not clip."""
    accumulate: Count = 1
    """srcx: batches whose gradients are averaged into one step."""

    @property
    def needs_gt_sharp(self) -> bool:
        """Whether a term compares with sharpened gt."""
        return any(term.against == "gt_sharp" for term in self.losses.values())

    @model_validator(mode="before")
    @classmethod
    def _gather_losses(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        terms = {key: value for key, value in data.items() if key.endswith("_opt")}
        rest = {key: value for key, value in data.items() if key not in terms}
        given = {key.removesuffix("_opt"): value for key, value in terms.items() if value is not None}
        return {**rest, "losses": given} if "losses" not in data else data

    @model_serializer(mode="plain")
    def _as_written(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in type(self).model_fields if name != "losses"}
        return plain | {f"{name}_opt": term for name, term in self.losses.items()}


class ValOptions(Section):
    """Validation during training, and what `srcx test` does with each set."""

    val_freq: Count = 5000
    """Validate after every so-many steps."""
    save_img: bool = False
    """Keep the upscaled images in the run folder."""
    suffix: NameEnd | None = None
    """Put behind the names of saved images; null puts the run's name."""
    metrics: Defaulted[dict[str, Metric]] = Field(default_factory=dict)
    """What to measure, by any name; the first one picks the best checkpoint."""
    pbar: bool = False
    """No effect: progress is shown wherever there is a terminal."""


class WandbOptions(Section):
    """Weights & Biases, which srcx does not write to."""

    project: str | None = None
    """No effect: figures go to TensorBoard and metrics.csv."""
    resume_id: str | None = None
    """No effect."""


class LoggerOptions(Section):
    """What is written while training."""

    print_freq: Count = 100
    """Write a log line after every so-many steps."""
    save_checkpoint_freq: Count = 5000
    """Save weights and training state after every so-many steps."""
    use_tb_logger: bool = False
    """Write TensorBoard files beside metrics.csv."""
    keep_last: Count | None = None
    """srcx: checkpoints kept besides the best and the last; null keeps all."""
    wandb: Defaulted[WandbOptions] = WandbOptions()
    """Weights & Biases."""


class DistOptions(Section):
    """Multi-process training; `torchrun` or `accelerate launch` say all that is needed."""

    backend: str = "nccl"
    """No effect: chosen by the device."""
    port: Natural = 29500
    """No effect: chosen by the launcher."""


class _Places:
    """Where the options were written; no part of what they say, so any two are equal."""

    def __init__(self, document: Document | None = None) -> None:
        self.document = document or Document("defaults", {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Places)

    def __hash__(self) -> int:
        return 0


class Options(Section):
    """One option file, checked."""

    name: RunName
    """Name of the run and its folder."""
    model_type: Literal["SRModel", "SRGANModel", "ESRGANModel", "SwinIRModel", "CycleGANModel"]
    """SRModel, SRGANModel, ESRGANModel (relativistic), SwinIRModel (SRModel); srcx: CycleGANModel."""
    scale: Count = 1
    """Side of the output over side of the input."""
    num_gpu: NumGpu = "auto"
    """GPUs to use; 0 is the CPU, auto takes what there is."""
    manual_seed: Natural = Field(default=0, le=2**32 - 1)
    """Seed of all random numbers. BasicSR draws one where none is given; srcx takes 0."""
    datasets: Datasets
    """What to train on, validate on and test on."""
    network_g: Part
    """The generator."""
    network_d: Part | None = None
    """The discriminator."""
    path: Defaulted[PathOptions] = PathOptions()
    """Checkpoints to start from, and where runs are kept."""
    train: TrainOptions | None = None
    """How to train; a test file has none."""
    val: Defaulted[ValOptions] = ValOptions()
    """Validation."""
    logger: Defaulted[LoggerOptions] = LoggerOptions()
    """Logs and checkpoints."""
    dist_params: Defaulted[DistOptions] = DistOptions()
    """Multi-process training."""
    find_unused_parameters: bool = False
    """Let multi-process training look for weights without gradient."""
    _places: _Places = PrivateAttr(default_factory=_Places)

    def where(self, name: str) -> str:
        """Place of an option, such as "options/train/x.yml:11"; one not given has its section's.

        Args:
            name: The option as messages name it, such as "train.ema_decay".
        """
        return str(self._places.document.place(tuple(name.split("."))))

    def to_yaml(self) -> str:
        """All options with their resolved values, as an option file that loads to equal options."""
        return to_text(self.model_dump())

    def written_in(self, document: Document) -> "Options":
        """These options with `document` behind `where`."""
        self._places = _Places(document)
        return self
