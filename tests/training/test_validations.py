"""Validation beside the training: the same figures and best weights, whenever the metrics arrive."""

import csv
import pickle
from pathlib import Path

import pytest
from torch.testing import assert_close

from srcx.basicsr_compat.adapters import BASICSR_METRICS
from srcx.errors import OptionsError
from srcx.evaluation.validation import StartedValidation
from srcx.registry import METRICS
from srcx.training import build_data
from srcx.training.options import load_training
from srcx.training.run import StopRequest, run_file
from srcx.weights.checkpoint import load_state
from srcx.weights.training_state import load_training_state

SMOKE = Path(__file__).resolve().parents[2] / "options/smoke/smoke_x4.yml"
SHORT = ["train:total_iter=6", "val:val_freq=2", "logger:save_checkpoint_freq=3", "logger:print_freq=1"]
BESIDE = "val:metric_workers=1"


def results_of(run):
    """The figures in the order of the iterations, the weights, and what the last state knows of the best."""
    root = Path("experiments") / run
    rows = sorted(csv.reader((root / "metrics.csv").read_text().splitlines()))
    weights = {path.name: load_state(path) for path in (root / "models").glob("*.pth")}
    state = load_training_state(max(root.glob("training_states/*.state")))
    return rows, weights, state["progress"]


def check_same(run, other):
    (rows, weights, progress), (others, of_other, its) = results_of(run), results_of(other)
    assert rows == others
    assert progress == its
    assert_close(weights, of_other, rtol=0, atol=0)


@pytest.mark.parametrize("arrival", ["as they come", "late"])
def test_a_run_that_does_not_wait_for_metrics_has_the_same_end(workplace, monkeypatch, arrival):
    run_file(SMOKE, overrides=[*SHORT, "name=whole"])
    if arrival == "late":  # when the next checkpoint or validation needs them
        monkeypatch.setattr(StartedValidation, "is_done", lambda self: False)
    run_file(SMOKE, overrides=[*SHORT, "name=beside", BESIDE])
    check_same("beside", "whole")


def test_a_run_that_is_stopped_while_metrics_are_computed_goes_on_to_the_same_end(workplace, monkeypatch):
    run_file(SMOKE, overrides=[*SHORT, "name=whole"])
    monkeypatch.setattr(StartedValidation, "is_done", lambda self: False)
    steps = []

    def stop_at_the_fifth(request):
        steps.append(1)
        return len(steps) == 5

    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "requested", property(stop_at_the_fifth, lambda self, value: None))
        with pytest.raises(Exception, match="stopped after iteration 5"):
            run_file(SMOKE, overrides=[*SHORT, "name=beside", BESIDE])
    state = load_training_state(Path("experiments/beside/training_states/5.state"))
    assert state["progress"]["validated"] == 4
    run_file(SMOKE, overrides=[*SHORT, "name=beside", BESIDE], auto_resume=True)
    Path("experiments/beside/training_states/5.state").unlink()
    for name in "gd":
        Path(f"experiments/beside/models/net_{name}_5.pth").unlink()
    check_same("beside", "whole")


def test_a_metric_that_cannot_leave_its_process_is_named_before_the_run(workplace, monkeypatch):
    made = build_data.metric
    monkeypatch.setattr(
        build_data, "metric", lambda name, part: made(name, part).__class__(name, lambda sr: 0, False, True)
    )
    with pytest.raises(OptionsError, match=r"val\.metric_workers: the metric psnr cannot be given to"):
        build_data.check_metrics(load_training(SMOKE, [BESIDE]))


@pytest.mark.parametrize("metric", [*METRICS.values(), *BASICSR_METRICS.values()])
def test_every_metric_can_be_given_to_another_process(metric):
    assert pickle.loads(pickle.dumps(metric)) is metric
