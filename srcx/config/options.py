"""Every option of an option file: its type, range, default and meaning.

`datasets.py` has the options of data sets, `part_options.py` those of parts that are named by their type.

The keys are BasicSR's, so that its files load unmodified. Options that srcx adds are marked "srcx:"; options
of BasicSR without a use in srcx are marked "No effect".
"""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from srcx.config.datasets import DatasetOptions, Datasets
from srcx.config.document import Document
from srcx.config.part_options import SCHEDULERS, LossTerm, Metric, Optimizer, Part, Scheduler
from srcx.config.values import (
    Count,
    Defaulted,
    FilePath,
    Fraction,
    Kinds,
    NameEnd,
    Natural,
    NonNegative,
    NumGpu,
    Positive,
    RunName,
    Section,
    Tuple,
    Whole,
)
from srcx.config.yaml_io import to_text

__all__ = [
    "MODELS",
    "DistOptions",
    "LoggerOptions",
    "Options",
    "PathOptions",
    "TrainOptions",
    "ValOptions",
    "WandbOptions",
]


class PathOptions(Section):
    """Checkpoints to start from, and the folder of runs."""

    pretrain_network_g: FilePath | None = None
    """Checkpoint the generator starts from, or srcx: a model of `srcx models`; null: random weights."""
    param_key_g: str | None = "params"
    """Entry of that file to read: params, params_ema; null takes the EMA weights if there are any."""
    strict_load_g: bool = True
    """Every weight must fit; false loads those that do."""
    pretrain_network_d: FilePath | None = None
    """Checkpoint the discriminator starts from."""
    param_key_d: str | None = "params"
    """Entry of that file to read."""
    strict_load_d: bool = True
    """Every weight must fit; false loads those that do."""
    teacher: FilePath | None = None
    """srcx: a model's name or a checkpoint: its output is the target at first."""
    resume_state: FilePath | None = None
    """A .state file of an interrupted run to resume."""
    ignore_resume_networks: Tuple[Literal["network_g", "network_d"]] = ()
    """Networks (network_g, network_d) that start from pretrain_network_* even when resuming."""
    experiments_root: FilePath = "experiments"
    """srcx: folder in which each run gets a folder of its name."""


class TrainOptions(Section):
    """Training; each `<name>_opt` with a `type` is one term of the objective."""

    total_iter: Count
    """Number of iterations."""
    warmup_iter: Whole = Field(default=-1, ge=-1)
    """Iterations over which the learning rate grows linearly from 0; -1: none."""
    ema_decay: Fraction = 0.0
    """Decay of the EMA weights per iteration, in [0, 1); 0: no EMA."""
    ema_warmup: bool = False
    """srcx: the decay of step n is min(ema_decay, (1 + n) / (10 + n)), so the first weights fade."""
    optim_g: Optimizer
    """The generator's optimizer, such as {type: Adam, lr: 1e-4, betas: [0.9, 0.99]}."""
    optim_d: Optimizer | None = None
    """The discriminator's optimizer."""
    scheduler: Annotated[Scheduler, SCHEDULERS]
    """Learning rate over the run: MultiStepLR or CosineAnnealingRestartLR."""
    losses: dict[str, LossTerm] = Field(default_factory=dict)
    """The terms by name without `_opt`, in the file's order; a term given as null is off."""
    teacher_iter: Natural = 0
    """srcx: iterations in which the target goes linearly from the output of path.teacher to gt."""
    teacher_ensemble: bool = False
    """srcx: the teacher's output is the mean over eight rotations and reflections; eight times the work."""
    jitter: Natural = 0
    """srcx: crops of VGG and the discriminator are so many pixels smaller, moved at random; not LPIPSLoss."""
    freeze_g: list[str] = Field(default_factory=list)
    """srcx: parts of net_g, such as upconv1, whose weights stay as they are."""
    net_d_iters: Count = 1
    """The generator's optimizer steps once in so many iterations, and in those that `adaptive_d` pauses."""
    net_d_init_iters: Natural = 0
    """Iterations at the start in which only the discriminator's optimizer steps."""
    adaptive_d: Fraction = 0.0
    """srcx: lead of the discriminator, in [0, 1), above which it is paused; 0: never."""
    r1_reg_weight: NonNegative = 0.0
    """Weight of the R1 penalty of the discriminator's gradient on real images; 0: none."""
    net_d_reg_every: Count = 16
    """Iterations between two R1 penalties; each counts so many times."""
    ema_decay_d: Fraction = 0.0
    """srcx: decay of the discriminator's EMA, against which the generator is then trained; 0: no EMA."""
    warn_iter: Natural = 1000
    """srcx: iterations of a discriminator at chance or of shifted colours before a warning; 0: none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """srcx: number format of products, all else is fp32; auto: bf16 if it is fast; resumed runs keep it."""
    channels_last: bool = True
    """srcx: channels innermost in memory; faster, same numbers up to rounding."""
    convolution: Literal["auto", "torch", "winograd"] = "auto"
    """srcx: 3 x 3 convolutions on the CPU; auto: the faster way, torch's or Winograd's."""
    compile: bool = False
    """srcx: compile the generator by torch.compile: a slow first iteration, the others may be faster."""
    grad_clip: Positive | None = None
    """srcx: largest norm of each network's gradient; null does not clip."""
    accumulate: Count = 1
    """srcx: batches whose gradients are averaged for one step of the optimizer."""

    @property
    def needs_gt_sharp(self) -> bool:
        """Return whether a term compares with sharpened gt."""
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

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the file, in which each term is `<name>_opt`."""
        described = handler.resolve_ref_schema(handler(schema))
        term = described["properties"].pop("losses")["additionalProperties"]
        return described | {"patternProperties": {"_opt$": {"anyOf": [term, {"type": "null"}]}}}

    @model_serializer(mode="plain")
    def _as_written(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in type(self).model_fields if name != "losses"}
        return plain | {f"{name}_opt": term for name, term in self.losses.items()}


class ValOptions(Section):
    """Validation during training and by `srcx test`."""

    val_freq: Count = 5000
    """Iterations between two validations."""
    save_img: bool = False
    """Save the upscaled images in the run folder."""
    suffix: NameEnd | None = None
    """End of the names of saved images; null takes the run's name."""
    metrics: Defaulted[dict[str, Metric]] = Field(default_factory=dict)
    """Metrics by any name; the first one picks the best checkpoint."""
    tile: Natural = 0
    """srcx: side in pixels of lq of the tiles that larger images are run in; 0: whole images."""
    metric_workers: Natural = 0
    """srcx: processes that compute the metrics while the training goes on; 0: the training waits."""
    pbar: bool = False
    """No effect: progress is shown wherever there is a terminal."""


class WandbOptions(Section):
    """Weights & Biases, an extra: `pip install 'srcx[wandb]'`; with WANDB_MODE=offline it sends nothing."""

    project: str | None = None
    """Project that gets the figures and images; null: none, and nothing is sent."""
    resume_id: str | None = None
    """Run of the project to continue; null continues the one that the resumed training began."""


class LoggerOptions(Section):
    """Logs and checkpoints of a training."""

    print_freq: Count = 100
    """Iterations between two log lines."""
    save_checkpoint_freq: Count = 5000
    """Iterations between two checkpoints (weights and training state)."""
    use_tb_logger: bool = False
    """Write TensorBoard files beside metrics.csv."""
    keep_last: Count | None = None
    """srcx: number of checkpoints besides the best and the last; null: all."""
    val_images: Natural = 0
    """srcx: images of each validation set that TensorBoard and wandb get: lq, sr and gt side by side."""
    grad_norms: bool = False
    """srcx: log the norm of the gradient of each network, before it is clipped."""
    wandb: Defaulted[WandbOptions] = WandbOptions.model_construct()
    """Weights & Biases."""


class DistOptions(Section):
    """Multi-process training; started by `torchrun` or `accelerate launch`."""

    backend: str = "nccl"
    """No effect: chosen by the device."""
    port: Natural = 29500
    """No effect: chosen by the launcher."""


class _Places:
    """The document of the options, as a value that equals every other one: places are not options."""

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
    """The sets to train, validate and test on."""
    network_g: Part
    """The generator."""
    network_d: Part | None = None
    """The discriminator."""
    path: Defaulted[PathOptions] = PathOptions.model_construct()
    """Checkpoints to start from, and the folder of runs."""
    train: TrainOptions | None = None
    """Training; a test file has none."""
    val: Defaulted[ValOptions] = ValOptions.model_construct()
    """Validation."""
    logger: Defaulted[LoggerOptions] = LoggerOptions.model_construct()
    """Logs and checkpoints."""
    dist_params: Defaulted[DistOptions] = DistOptions.model_construct()
    """Multi-process training."""
    find_unused_parameters: bool = False
    """Let multi-process training look for weights without gradient."""
    _places: _Places = PrivateAttr(default_factory=_Places)

    @property
    def tested(self) -> dict[str, DatasetOptions]:
        """Return the sets of `srcx test`: the test sets, or the val sets of a file that has no others."""
        return self.datasets.test or ({} if self.train else self.datasets.val)

    def where(self, name: str) -> str:
        """Return the place of an option, such as "options/train/x.yml:11"; one not given has its section's.

        Args:
            name: The option as messages name it, such as "train.ema_decay".
        """
        return str(self._places.document.place(tuple(name.split("."))))

    def to_yaml(self) -> str:
        """Return the text of an option file with all options, which loads to equal options."""
        return to_text(self.model_dump())

    def written_in(self, document: Document) -> "Options":
        """Return these options with the places of `document`."""
        self._places = _Places(document)
        return self


class PlainPath(PathOptions):
    """The paths of a model without a discriminator."""

    pretrain_network_d: None = None


class AdversarialPath(PathOptions):
    """The paths of a model with discriminators: real images are gt itself, so it has no teacher."""

    teacher: None = None


class CyclePath(AdversarialPath):
    """The paths of a model with two generators: a checkpoint of one network fits one direction alone."""

    pretrain_network_g: None = None
    pretrain_network_d: None = None


class PlainTrain(TrainOptions):
    """The training of a model without a discriminator."""

    optim_d: None = None
    net_d_iters: Literal[1] = 1
    net_d_init_iters: Literal[0] = 0
    adaptive_d: Literal[0] = 0
    r1_reg_weight: Literal[0] = 0
    net_d_reg_every: Literal[16] = 16
    ema_decay_d: Literal[0] = 0
    warn_iter: Literal[1000] = 1000


class AdversarialTrain(TrainOptions):
    """The training of a model with discriminators."""

    teacher_iter: Literal[0] = 0
    teacher_ensemble: Literal[False] = False


class CycleTrain(AdversarialTrain):
    """The training of two generators and two discriminators, which all step in each iteration."""

    net_d_iters: Literal[1] = 1
    net_d_init_iters: Literal[0] = 0
    adaptive_d: Literal[0] = 0
    r1_reg_weight: Literal[0] = 0
    net_d_reg_every: Literal[16] = 16
    ema_decay_d: Literal[0] = 0
    warn_iter: Literal[1000] = 1000


class PlainOptions(Options):
    """The options of a model without a discriminator."""

    model_type: Literal["SRModel", "SwinIRModel"]
    network_d: None = None
    path: Defaulted[PlainPath] = PlainPath.model_construct()
    train: PlainTrain | None = None


class AdversarialOptions(Options):
    """The options of a model with a discriminator."""

    model_type: Literal["SRGANModel", "ESRGANModel"]
    path: Defaulted[AdversarialPath] = AdversarialPath.model_construct()
    train: AdversarialTrain | None = None


class CycleOptions(Options):
    """The options of a model with two generators and two discriminators."""

    model_type: Literal["CycleGANModel"]
    path: Defaulted[CyclePath] = CyclePath.model_construct()
    train: CycleTrain | None = None


MODELS = Kinds("model_type", Options, PlainOptions, AdversarialOptions, CycleOptions)
