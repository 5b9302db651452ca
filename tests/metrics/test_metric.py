import inspect
import math
import pickle

import pytest
import torch

from srcx import metrics
from srcx.errors import ImageError
from srcx.metrics.metric import Metric

PAIRS = [metrics.psnr, metrics.ssim, metrics.rmse, metrics.lpips, metrics.dists]
SINGLES = [metrics.niqe, metrics.ma, metrics.perceptual_index]


def test_says_what_is_better_and_what_needs_a_ground_truth():
    up = {one.__name__ for one in PAIRS + SINGLES if one.higher_is_better}
    assert up == {"psnr", "ssim", "ma"}
    assert all(one.needs_gt for one in PAIRS)
    assert not any(one.needs_gt for one in SINGLES)


@pytest.mark.parametrize("metric", PAIRS + SINGLES)
def test_goes_to_other_processes(metric):
    assert pickle.loads(pickle.dumps(metric)) is metric


def test_shows_its_options():
    assert list(inspect.signature(metrics.psnr).parameters) == ["sr", "gt", "y_only", "round_y", "crop_px"]
    with pytest.raises(TypeError, match="crop"):
        inspect.signature(metrics.psnr).bind_partial(crop=3)


def test_public_names():
    assert metrics.__all__ == [
        "PairMetric",
        "SingleMetric",
        "dists",
        "index_of",
        "lpips",
        "ma",
        "ma_features",
        "niqe",
        "perceptual_index",
        "psnr",
        "rmse",
        "rmse_of_set",
        "ssim",
    ]


def test_a_batch_scores_as_its_images_do(photo, blurred, device):
    gt = torch.from_numpy(photo / 255).permute(2, 0, 1).float()
    sr = torch.from_numpy(blurred / 255).permute(2, 0, 1).float()
    batch = metrics.psnr(torch.stack([sr, gt]).to(device), torch.stack([gt, sr.flip(2)]).to(device))
    assert batch.shape == (2,)
    assert batch.device.type == device.type
    assert batch[0].item() == pytest.approx(metrics.psnr(blurred, photo))
    assert batch[1].item() == pytest.approx(metrics.psnr(photo, blurred[:, ::-1]))
    assert metrics.niqe(gt[None].to(device)).device.type == device.type


def test_an_empty_batch_has_no_scores():
    empty = torch.zeros(0, 3, 64, 64)
    assert metrics.rmse(empty, empty).shape == (0,)
    assert metrics.niqe(empty).shape == (0,)


def test_the_record_has_what_the_function_says_and_fixes_its_arguments(photo, blurred):
    record = Metric.of("y", metrics.rmse, {"crop_px": 0, "y_only": False})
    assert (record.name, record.needs_gt, record.higher_is_better) == ("y", True, False)
    assert record.mean_of_set is metrics.rmse_of_set
    assert record.measure(blurred, photo) == metrics.rmse(blurred, photo, crop_px=0, y_only=False)


@pytest.mark.parametrize(
    ("value", "words"), [(math.inf, "infinite: sr equals gt"), (math.nan, "not a number")]
)
def test_a_value_that_is_not_finite_is_an_error(value, words, photo):
    with pytest.raises(ImageError, match=words):
        Metric("odd", lambda sr: value, needs_gt=False, higher_is_better=True).measure(photo)
