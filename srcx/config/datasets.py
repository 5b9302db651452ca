"""The options of data sets, with one class for each type of data set."""

from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema

from srcx.config.degradation import DegradationOptions
from srcx.config.values import (
    Count,
    Defaulted,
    FilePath,
    Folders,
    Kinds,
    Natural,
    Number,
    Positive,
    Section,
    SetName,
    Template,
    Tuple,
)

__all__ = ["DatasetOptions", "Datasets", "IoBackend", "TrainDataset"]


class IoBackend(Section):
    """Storage of a data set's images."""

    type: Literal["disk", "lmdb", "webdataset"] = "disk"
    """disk: image files; lmdb: BasicSR's folders, named *.lmdb; srcx: webdataset: tar shards on a disk."""
    remote: bool = False
    """srcx: webdataset: shards may be at addresses (s3://, gs://, hf://, https://); fetched, and cached."""


class DatasetOptions(Section):
    """A data set; the classes below say what each type needs and lacks."""

    name: SetName
    """Name in logs, tables and result folders; one name for one set."""
    type: Literal[
        "PairedImageDataset", "SingleImageDataset", "HighResolutionDataset", "NonAlignedPairDataset"
    ]
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
    """srcx: HighResolutionDataset: the degradation that makes lq from gt; null is MATLAB's bicubic."""
    io_backend: Defaulted[IoBackend] = IoBackend.model_construct()
    """Storage of the images."""
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
    """srcx: MiB of decoded images in memory; 0 caches none."""


class EvaluationDataset(DatasetOptions):
    """A data set for validation (val, val_1 ...) or test (test, test_1 ...)."""

    type: Literal["PairedImageDataset", "SingleImageDataset", "HighResolutionDataset"]
    """Pairs, lq alone, or gt of which lq is made."""


class TrainDataset(DatasetOptions):
    """The training set and its loader."""

    type: Literal["PairedImageDataset", "HighResolutionDataset", "NonAlignedPairDataset"]
    """Pairs, gt of which lq is made, or pairs that are not aligned."""
    gt_size: Count
    """Side of the square ground-truth crop in pixels; a multiple of `scale`."""
    gt_sizes: Tuple[Count] | None = None
    """srcx: Restormer's sides of the crop, one after another; gt_size is the largest of them."""
    iters: Tuple[Count] | None = None
    """srcx: iterations at each of gt_sizes, as in Restormer; the last one stays to the end."""
    gt_scales: Tuple[Annotated[float, Field(gt=0, le=1)]] | None = None
    """srcx: HighResolutionDataset: sizes at which each image is used; [1, 0.5]: whole and at half."""
    use_hflip: bool = True
    """Flip crops left to right at random."""
    use_rot: bool = True
    """Flip crops upside down and transpose them at random."""
    crop_candidates: Count = 1
    """srcx: places drawn for each crop, of which that with the largest gradient energy is taken."""
    uniform_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """srcx: with crop_candidates: share of the crops that are drawn without such a choice, in [0, 1]."""
    targets: Literal["paired", "several", "unpaired"] = "paired"
    """srcx: NonAlignedPairDataset: the gt of lq's name, those in the folder of its name, or any gt of all."""
    max_offset: Natural = 0
    """srcx: NonAlignedPairDataset: whole gt pixels by which the gt's crop is moved at most, at random."""
    batch_size_per_gpu: Count = 16
    """Crops in one batch on each device."""
    num_worker_per_gpu: Natural = 2
    """Threads that prepare batches ahead, for each device; 0 prepares each batch when it is needed."""
    dataset_enlarge_ratio: Count = 1
    """Number of times each image is drawn in one epoch; matters where epochs of few images cost time."""
    use_shuffle: bool = True
    """No effect: training images are always drawn in random order, as in BasicSR 1.4.2."""
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    """No effect: batches are always prepared ahead."""
    num_prefetch_queue: Count = 1
    """No effect: see `prefetch_mode`."""

    def stages(self, total_iter: int) -> list[tuple[int, int]]:
        """Return the sides of the crop in a run of `total_iter` iterations, and the iterations at each."""
        sizes, left, stages = self.gt_sizes or (self.gt_size,), total_iter, []
        for gt_size, count in zip(sizes, (*(self.iters or ())[:-1], total_iter), strict=True):
            stages.append((gt_size, min(count, left)))
            left -= stages[-1][1]
        return stages


class PairedImages(DatasetOptions):
    """Pairs of files: one of gt and one of lq."""

    type: Literal["PairedImageDataset"]
    dataroot_gt: FilePath
    dataroot_lq: FilePath
    degradation: None = None


class SingleImages(DatasetOptions):
    """Images without ground truth."""

    type: Literal["SingleImageDataset"]
    dataroot_gt: None = None
    dataroot_lq: FilePath
    meta_info: None = None
    filename_tmpl: Literal["{}"] = "{}"
    degradation: None = None


class HighResolutionImages(DatasetOptions):
    """Ground truth, of which lq is made."""

    type: Literal["HighResolutionDataset"]
    dataroot_gt: Folders
    dataroot_lq: None = None
    meta_info: None = None
    filename_tmpl: Literal["{}"] = "{}"


class PairedTrainImages(PairedImages, TrainDataset):
    """Pairs of files to train on."""

    type: Literal["PairedImageDataset"]
    gt_scales: None = None
    targets: Literal["paired"] = "paired"
    max_offset: Literal[0] = 0


class HighResolutionTrainImages(HighResolutionImages, TrainDataset):
    """Ground truth to train on."""

    type: Literal["HighResolutionDataset"]
    targets: Literal["paired"] = "paired"
    max_offset: Literal[0] = 0


class NonAlignedPairs(TrainDataset):
    """lq and gt that are not aligned; without `dataroot_lq`, lq is made from gt."""

    type: Literal["NonAlignedPairDataset"]
    dataroot_gt: FilePath
    gt_scales: None = None
    crop_candidates: Literal[1] = 1
    uniform_share: Literal[0] = 0
    meta_info: None = None
    degradation: None = None


TRAIN_SETS = Kinds("type", TrainDataset, PairedTrainImages, HighResolutionTrainImages, NonAlignedPairs)
EVALUATION_SETS = Kinds("type", EvaluationDataset, PairedImages, SingleImages, HighResolutionImages)


class Datasets(Section):
    """The data sets; in the file `train` and any number of `val`, `val_1` ..., `test`, `test_1` ..."""

    train: Annotated[TrainDataset, TRAIN_SETS] | None = None
    """The training set."""
    val: dict[str, Annotated[DatasetOptions, EVALUATION_SETS]] = Field(default_factory=dict)
    """Validation sets by key, in the file's order."""
    test: dict[str, Annotated[DatasetOptions, EVALUATION_SETS]] = Field(default_factory=dict)
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

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the file, in which the sets of both kinds stand beside `train`."""
        described = handler.resolve_ref_schema(handler(schema))
        sets = described["properties"].pop("val")["additionalProperties"]
        del described["properties"]["test"]
        return described | {"patternProperties": {"^(val|test)(_.*)?$": sets}}

    @model_serializer(mode="plain")
    def _as_written(self) -> dict[str, Any]:
        sets = {} if self.train is None else {"train": self.train}
        return {**sets, **self.val, **self.test}
