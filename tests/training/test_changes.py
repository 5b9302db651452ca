"""A run goes on with an option file that was edited: what changed, what it does, what is refused."""

import re
from pathlib import Path

import pytest

from srcx.config import read_options
from srcx.errors import CheckpointError, OptionsError
from srcx.training.changes import Change, changes_since, describe
from srcx.training.options import load_training
from srcx.training.run import run_file

SMOKE = Path(__file__).resolve().parents[2] / "options/smoke/smoke_x4.yml"
START = ["train:total_iter=2", "logger:print_freq=1", "logger:save_checkpoint_freq=2"]


def text_of(*overrides: str) -> str:
    return load_training(SMOKE, overrides).to_yaml()


def changes_between(tmp_path: Path, before: list[str], now: list[str]) -> list[Change]:
    (tmp_path / "smoke_x4.yml").write_text(text_of(*before))
    return changes_since(tmp_path, text_of(*now))


def test_the_values_of_a_text_are_all_options_with_defaults_for_those_it_lacks():
    text = text_of()
    older = "\n".join(line for line in text.splitlines() if "ema_warmup" not in line)
    assert read_options(older) == read_options(text)
    assert read_options(text)["train"]["optim_g"]["betas"] == [0.9, 0.99]
    with pytest.raises(OptionsError, match="not options of this version"):
        read_options(text + "\nhat: 1")


def test_the_same_options_have_no_changes(tmp_path):
    assert changes_between(tmp_path, [], ["name=other", "path:resume_state=a/2.state"]) == []


EFFECTS = {
    "train:optim_g:lr=5e-5": "train.optim_g.lr is 5e-05, was 0.001: from iteration 8 on each",
    "train:scheduler:gamma=0.1": "train.scheduler.gamma is 0.1, was 0.5: from iteration 8 on each",
    "train:optim_d:betas=[0.5, 0.9]": "train.optim_d.betas is [0.5, 0.9], was [0.9, 0.99]: from iteration 8",
    "train:gan_opt:loss_weight=0.1": "train.gan_opt.loss_weight is 0.1, was 0.001: in the objective",
    "train:grid_opt={type: GridLoss, period: 4}": "train.grid_opt is {type: GridLoss, period: 4}, was null:",
    "train:contextual_opt=~": "train.contextual_opt is null, was {type: ContextualBilateralLoss, ",
    "datasets:train:batch_size_per_gpu=2": "datasets.train.batch_size_per_gpu is 2, was 4: from here on",
    "datasets:train:num_worker_per_gpu=2": "datasets.train.num_worker_per_gpu is 2, was 0: the crops stay",
    "datasets:train:use_shuffle=false": "datasets.train.use_shuffle is false, was true: the crops stay",
    "manual_seed=3": "manual_seed is 3, was 0: from here on the crops are not those",
    "path:pretrain_network_g=a.pth": "path.pretrain_network_g is a.pth, was null: no effect",
    "train:total_iter=30": "train.total_iter is 30, was 20: the run ends there",
    "val:metrics:psnr:crop_border=0": "val.metrics.psnr.crop_border is 0, was 4: from the next validation on",
    "train:grad_clip=1.0": "train.grad_clip is 1.0, was null: from iteration 8 on",
}


@pytest.mark.parametrize("override", EFFECTS)
def test_a_change_is_named_with_both_values_and_what_it_does(tmp_path, override):
    (line,) = describe(changes_between(tmp_path, [], [override]), 7)
    assert line.startswith(EFFECTS[override])


def test_other_iterations_for_the_sizes_of_crops_leave_the_crops_at_their_places(tmp_path):
    sizes = "datasets:train:gt_sizes=[24, 48]"
    before, now = ([sizes, f"datasets:train:iters=[9, {last}]"] for last in (11, 20))
    (line,) = describe(changes_between(tmp_path, before, now), 7)
    assert line == (
        "datasets.train.iters is [9, 20], was [9, 11]: from iteration 8 on crops have the size that the new "
        "options give that iteration"
    )


@pytest.mark.parametrize("content", [None, "", "a: [", "hat: 1", "\udcff"])
def test_without_a_readable_option_file_no_change_is_known(tmp_path, content):
    if content is not None:
        (tmp_path / "run.yml").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert changes_since(tmp_path, text_of()) == []


@pytest.fixture
def started(workplace):
    """A run of two iterations, which can be resumed."""
    run_file(SMOKE, overrides=START)
    return workplace


def test_the_log_of_a_resumed_run_says_what_changed(started):
    changed = ["train:total_iter=4", "train:optim_g:lr=5e-5", "train:contextual_opt=~"]
    run_file(SMOKE, overrides=[*START, *changed], auto_resume=True)
    log = max(Path("experiments/smoke_x4/log").glob("train_*.log"), key=lambda path: path.stat().st_mtime_ns)
    said = re.findall(r"changed: (\S+) is (\S+)", log.read_text("utf-8"))
    assert said == [
        ("train.total_iter", "4,"),
        ("train.optim_g.lr", "5e-05,"),
        ("train.contextual_opt", "null,"),
    ]


REFUSED = {
    "network_g:num_feat=12": "network_g.num_feat, which is 12 and was 8 (weights of net_g",
    "network_d:num_feat=4": "network_d.num_feat, which is 4 and was 8 (weights of net_d",
    "train:optim_d={type: SGD, lr: 0.1}": "train.optim_d.type, which is SGD and was Adam (",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_change_is_refused_by_name_with_its_earlier_value(started, override):
    changed = [override, "train:ema_decay=0.99", "train:optim_g:lr=5e-5"]
    with pytest.raises(CheckpointError, match=re.escape(f"cannot change {REFUSED[override]}")) as error:
        run_file(SMOKE, overrides=[*START, "train:total_iter=4", *changed], auto_resume=True)
    assert "ema_decay" not in str(error.value)
    assert "give it back, or begin a new run under another name" in str(error.value)
    assert Path("experiments/smoke_x4/smoke_x4.yml").read_text("utf-8") == text_of(*START)


PLAIN = ["model_type=SRModel", "network_d=~", "train:optim_d=~", "train:gan_opt=~"]


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        (PLAIN, [], "model_type, which is SRGANModel and was SRModel (it has no net_d)"),
        (["train:ema_decay=0"], [], "train.ema_decay, which is 0.9 and was 0.0 (it has no EMA weights"),
    ],
)
def test_what_the_state_lacks_is_refused_by_the_option_that_needs_it(workplace, before, now, named):
    run_file(SMOKE, overrides=[*START, *before])
    with pytest.raises(CheckpointError, match=re.escape(named)):
        run_file(SMOKE, overrides=[*START, *now], auto_resume=True)
