import itertools
import threading
from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

from srcx.config.degradation import DegradationOptions
from srcx.data import HighResolutionDataset, NonAlignedPairDataset, PairedImageDataset, train_batches
from srcx.data.batches import copied_ahead
from srcx.data.degradation import sharpen
from srcx.errors import ImageError


@pytest.fixture
def dataset(pairs):
    return PairedImageDataset(**pairs, gt_size=16)


def take(count, dataset, **arguments):
    stream = train_batches(dataset, **{"batch_size": 4, "seed": 0, **arguments})
    return list(itertools.islice(stream, count))


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key], rtol=0, atol=0)


class FakeStream:
    """A stream of a GPU, which notes what is done with it."""

    def __init__(self, events):
        self.events = events

    def wait_stream(self, other):
        self.events.append("wait")


def test_the_next_batch_is_on_its_way_to_the_gpu_while_one_is_worked_on(monkeypatch):
    events = []

    @contextmanager
    def on(stream):
        events.append("copy")
        yield

    monkeypatch.setattr("torch.cuda.Stream", lambda device: FakeStream(events))
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: FakeStream(events))
    monkeypatch.setattr("torch.cuda.stream", on)
    monkeypatch.setattr("torch.Tensor.record_stream", lambda value, stream: events.append("keep"))
    batches = ({"lq": torch.full((1,), float(number))} for number in itertools.count())
    stream = copied_ahead(batches, torch.device("cpu"))
    for number in range(3):
        assert float(next(stream)["lq"]) == number
        events.append("work")
    # The copy of the second begins before the first is worked on, which waits for its own copy alone.
    assert events == ["copy", *["wait", "keep", "copy", "work"] * 3]


def test_batches_are_floats_in_0_1_in_channels_last_order(dataset):
    (batch,) = take(1, dataset)
    assert batch["lq"].shape == (4, 3, 4, 4)
    assert batch["gt"].shape == (4, 3, 16, 16)
    for values in batch.values():
        assert values.dtype == torch.float32
        assert 0 <= values.min() < values.max() <= 1
        assert values.is_contiguous(memory_format=torch.channels_last)


def test_color_applies_to_the_batch(pairs):
    (batch,) = take(1, PairedImageDataset(**pairs, gt_size=16, color="y"))
    assert batch["gt"].shape == (4, 1, 16, 16)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(dataset, workers):
    assert_equal(take(9, dataset, workers=workers), take(9, dataset))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [1, 3, 7])
def test_a_run_that_starts_later_goes_on_exactly(dataset, workers, done):
    assert_equal(take(10 - done, dataset, start_iter=done, workers=workers), take(10, dataset)[done:])


@pytest.mark.parametrize("done", [1, 3, 7])
def test_with_chosen_crops_a_run_that_starts_later_goes_on_exactly_too(pairs, done):
    dataset = PairedImageDataset(**pairs, gt_size=16, crop_candidates=4, uniform_share=0.3)
    assert_equal(take(10 - done, dataset, start_iter=done, workers=2), take(10, dataset)[done:])


STAGES = [(8, 3), (12, 2), (16, 4)]


@pytest.mark.parametrize("workers", [0, 2])
def test_in_each_stage_the_crops_are_those_of_a_data_set_with_that_gt_size(pairs, dataset, workers):
    batches = take(11, dataset, stages=STAGES, workers=workers)
    assert [batch["gt"].shape[-1] for batch in batches] == [8] * 3 + [12] * 2 + [16] * 6
    for size, part in ((8, slice(0, 3)), (12, slice(3, 5)), (16, slice(5, 11))):
        alone = take(11, PairedImageDataset(**pairs, gt_size=size))
        assert_equal(batches[part], alone[part])


@pytest.mark.parametrize("done", [1, 3, 4, 5, 9])
def test_with_stages_a_run_that_starts_later_goes_on_exactly_too(dataset, done):
    later = take(11 - done, dataset, stages=STAGES, start_iter=done, workers=2)
    assert_equal(later, take(11, dataset, stages=STAGES)[done:])


def test_stages_are_for_every_kind_of_data_set(pairs):
    for made in (
        HighResolutionDataset(dataroot_gt=pairs["dataroot_gt"], scale=4, gt_size=16),
        HighResolutionDataset(dataroot_gt=pairs["dataroot_gt"], scale=4, gt_size=16, degradation=DEGRADATION),
        NonAlignedPairDataset(dataroot_gt=pairs["dataroot_gt"], scale=4, gt_size=16, targets="unpaired"),
        NonAlignedPairDataset(**pairs, gt_size=16, max_offset=2),
    ):
        for batch, size in zip(take(9, made, stages=STAGES), [8] * 3 + [12] * 2 + [16] * 4, strict=True):
            assert batch["gt"].shape[-2:] == (size, size)
            assert batch["lq"].shape[-2:] == (size // 4, size // 4)


def test_a_fresh_data_set_gives_the_same_whatever_is_in_the_cache(pairs):
    without = PairedImageDataset(**pairs, gt_size=16, cache_mib=0)
    assert_equal(take(5, without, workers=2), take(5, PairedImageDataset(**pairs, gt_size=16)))


def test_two_ranks_see_together_what_one_sees(dataset):
    alone = take(6, dataset, batch_size=6)
    ranks = [take(6, dataset, batch_size=3, rank=rank, world=2) for rank in (0, 1)]
    for whole, even, odd in zip(alone, *ranks, strict=True):
        assert_close(torch.stack([even["gt"], odd["gt"]], dim=1).flatten(0, 1), whole["gt"], rtol=0, atol=0)


DEGRADATION = DegradationOptions.model_validate(
    {
        "clean_prob": 0.1,
        "passes": [
            {
                "blur": {"kernels": {"aniso": 0.4, "plateau_iso": 0.3, "sinc": 0.3}},
                "resize": {},
                "noise": {},
                "compression": {"webp_prob": 0.3, "twice_prob": 0.3},
            },
            {"prob": 0.5, "blur": {"prob": 0.5}, "resize": {"of": "lq"}, "noise": {"prob": 0.5}},
        ],
        "final": {"sinc_prob": 0.5, "compression": {}},
    }
)


@pytest.fixture
def degraded(pairs):
    return HighResolutionDataset(
        dataroot_gt=pairs["dataroot_gt"], scale=4, gt_size=16, degradation=DEGRADATION
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("done", [0, 4])
def test_degraded_crops_are_the_same_for_any_workers_and_any_start(degraded, pairs, workers, done):
    fresh = HighResolutionDataset(
        dataroot_gt=pairs["dataroot_gt"], scale=4, gt_size=16, degradation=DEGRADATION, cache_mib=0
    )
    alone = take(9, degraded, gt_sharp=True)
    assert_equal(take(9 - done, fresh, start_iter=done, workers=workers, gt_sharp=True), alone[done:])


def test_two_ranks_see_together_the_degraded_crops_of_one(degraded):
    alone = take(6, degraded, batch_size=6, gt_sharp=True)
    ranks = [take(6, degraded, batch_size=3, rank=rank, world=2, gt_sharp=True) for rank in (0, 1)]
    for whole, even, odd in zip(alone, *ranks, strict=True):
        for key in whole:
            together = torch.stack([even[key], odd[key]], dim=1).flatten(0, 1)
            assert_close(together, whole[key], rtol=0, atol=0)


def test_each_draw_of_an_image_is_degraded_differently(degraded):
    crops = [crop for batch in take(5, degraded, batch_size=8) for crop in batch["lq"]]
    assert len({crop.numpy().tobytes() for crop in crops}) == len(crops)


def test_sharpened_gt_is_that_of_the_crop(degraded):
    (batch,) = take(1, degraded, gt_sharp=True)
    assert batch["gt_sharp"].is_contiguous(memory_format=torch.channels_last)
    for gt, gt_sharp in zip(batch["gt"], batch["gt_sharp"], strict=True):
        levels = (gt * 255).round().permute(1, 2, 0).numpy().astype("uint8")
        assert_close(gt_sharp, torch.tensor(sharpen(levels)).permute(2, 0, 1) / 255)


def test_each_image_is_drawn_once_an_epoch_in_another_order_each_time(dataset):
    drawn = []
    crop = dataset.crops
    dataset.crops = lambda pair, rng: drawn.append(len(pair.gt)) or crop(pair, rng)  # heights tell them apart
    take(5, dataset, batch_size=2)
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == [48, 52, 56, 60, 64]
    assert drawn[:5] != drawn[5:]
    drawn.clear()
    take(5, dataset, batch_size=2, enlarge=2)
    assert set(Counter(drawn).values()) == {2}


def test_the_draws_of_one_image_differ_within_an_epoch_between_epochs_and_between_seeds(pairs):
    alone = PairedImageDataset(**{**pairs, "dataroot_gt": pairs["dataroot_gt"]}, gt_size=16)
    alone.pairs, alone._sizes = alone.pairs[:1], alone._sizes[:1]
    crops = take(3, alone, batch_size=8, enlarge=8) + take(1, alone, batch_size=8, enlarge=8, seed=1)
    assert len({crop.numpy().tobytes() for batch in crops for crop in batch["gt"]}) >= 30


def test_no_random_state_outside_is_used_or_changed(dataset):
    state = torch.get_rng_state()
    first = take(2, dataset, workers=2)
    assert state.equal(torch.get_rng_state())
    torch.manual_seed(99)
    assert_equal(take(2, dataset, workers=2), first)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_image_that_cannot_be_read_stops_with_its_name(pairs, dataset, workers):
    (pairs["dataroot_gt"] / "03.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"03\.png: is empty"):
        take(5, dataset, workers=workers)


def test_closing_the_stream_ends_its_threads(dataset):
    before = threading.active_count()
    stream = train_batches(dataset, batch_size=4, seed=0, workers=3)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    for thread in threading.enumerate():
        if thread.name.startswith("srcx-batches"):
            thread.join(timeout=5)
    assert threading.active_count() == before


def test_trains_on_real_images_alone(shared):
    dataset = HighResolutionDataset(dataroot_gt=shared / "data/train/Kodak", scale=4, gt_size=96)
    batch = take(1, dataset, workers=2)[0]
    means = torch.nn.functional.avg_pool2d(batch["gt"], 4)
    assert (means - batch["lq"]).abs().mean() < 0.02
