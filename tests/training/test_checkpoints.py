import csv
import errno
import logging
import os
import re

import pytest
import torch

from srcx.config import LoggerOptions
from srcx.errors import CheckpointError, OutputError
from srcx.training import checkpoints
from srcx.training.checkpoints import Progress, RunFolder
from srcx.training.random_state import random_states
from srcx.training.tracking import ProgressBar
from srcx.weights.checkpoint import load_state
from srcx.weights.training_state import load_training_state, save_training_state


class Counter:
    """The least that can be trained: one number that counts its steps."""

    learning_rate = 0.1

    def __init__(self):
        self.iteration, self.value = 0, torch.zeros(1)

    def step(self):
        self.iteration += 1
        self.value += torch.rand(1)

    def state(self):
        return {"iteration": self.iteration, "value": self.value.clone()}

    def load_state(self, state, *, ignored=()):
        self.iteration, self.value = state["iteration"], state["value"]

    def weights(self):
        sets = {"params": {"value": self.value}}
        return {"net_g": sets, "net_g_back": sets, "net_d": {"params": {"value": -self.value}}}


def opened(root, **options):
    """A run that continues from what is there, already entered."""
    return RunFolder(root, resumes=True, **options).__enter__()


def gone_on(root, path=None, **options):
    """A run that resumed, entered only then, as `train` does; its model and progress."""
    run, model = RunFolder(root, resumes=True, **options), Counter()
    progress = run.resume(model, run.find_state(path))
    return run.__enter__(), model, progress


def trained(run, steps, model=None, progress=None):
    model, progress = model or Counter(), progress or Progress()
    for _ in range(steps):
        model.step()
        progress.add({"pixel": float(model.value)})
    run.save(model, progress)
    return model, progress


def test_resuming_gives_the_same_numbers_as_going_straight_on(tmp_path):
    run = opened(tmp_path / "run")
    straight, progress = trained(run, 3)
    for _ in range(2):
        straight.step()

    resumed = Counter()
    torch.manual_seed(99)  # whatever happened in between
    assert run.resume(resumed, run.find_state()) == progress
    for _ in range(2):
        resumed.step()
    assert torch.equal(resumed.value, straight.value)


def test_a_new_folder_has_nothing_to_resume(tmp_path):
    assert opened(tmp_path / "run").find_state() is None


def test_loss_means_go_over_an_interruption(tmp_path):
    run = opened(tmp_path / "run")
    progress = Progress()
    progress.add({"pixel": 1.0})
    run.save(Counter(), progress)
    resumed = run.resume(Counter(), run.find_state())
    resumed.add({"pixel": 2.0})
    assert resumed.take_means() == {"pixel": 1.5}
    assert resumed.take_means() == {}


def test_ranks_share_their_sums_when_they_log_and_when_they_save(tmp_path, monkeypatch):
    run, calls = opened(tmp_path / "run"), []
    monkeypatch.setattr(
        "srcx.training.checkpoints.gather", lambda sums: calls.append(sums) or [sums, {"pixel": 4.0}]
    )
    progress = Progress()
    for value in (1.0, 1.0):
        progress.add({"pixel": value})
    assert calls == []
    run.save(Counter(), progress)
    assert (len(calls), progress.sums) == (1, {"pixel": 3.0})
    assert progress.take_means() == {"pixel": 1.75}
    assert len(calls) == 2


def test_a_term_of_every_second_iteration_is_logged_at_its_true_mean_also_after_resuming(tmp_path):
    """As `net_d_iters: 2` leaves out the generator's terms."""
    run, model, straight = opened(tmp_path / "run"), Counter(), Progress()
    terms = [{"d_real": float(i)} | ({"gan": 3.0 * i} if i % 2 else {}) for i in range(1, 8)]
    for done, values in enumerate(terms, start=1):
        model.step()
        straight.add(values)
        run.save(model, straight)
        resumed = run.resume(Counter(), run.find_state())
        for rest in terms[done:]:
            resumed.add(rest)
        with ProgressBar(0, 7) as bar:
            run.log_losses(model, resumed, bar)
    assert straight.take_means() == {"d_real": 4.0, "gan": 12.0}
    rows = [line.split(",") for line in run.log.metrics_file.read_text().splitlines()]
    logged = [(row[2], float(row[3])) for row in rows if row[2] in ("d_real", "gan")]
    assert logged == 7 * [("d_real", 4.0), ("gan", 12.0)]


@pytest.mark.parametrize(("sums", "summed"), [({"pixel": 3.0, "gan": 6.0}, 3), ({}, 0)])
def test_a_state_that_counted_iterations_alone_is_resumed_as_it_was(tmp_path, sums, summed):
    """States before counts for each term held `summed`, the iterations since the last line of the log."""
    run, model, resumed = opened(tmp_path / "run"), Counter(), Counter()
    model.iteration = 3
    older = {"iteration": 3, "sums": sums, "summed": summed, "best": {}, "validated": 2}
    state = {"model": model.state(), "progress": older, "random": random_states()}
    save_training_state(run.states / "3.state", state)
    progress = run.resume(resumed, run.find_state())
    assert (resumed.iteration, progress.validated) == (3, 2)
    progress.add({"pixel": 9.0})
    means = progress.take_means()
    assert means["pixel"] == (3.0 if sums else 9.0)
    assert means.get("gan") == (2.0 if sums else None)


def test_a_damaged_newest_state_is_skipped_with_a_warning(tmp_path, caplog):
    run = opened(tmp_path / "run")
    model, progress = trained(run, 1)
    trained(run, 1, model, progress)
    newest = RunFolder.saved_states(run.root)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        resumed = Counter()
        run.resume(resumed, run.find_state())
    assert resumed.iteration == 1
    assert "2.state: this training state is damaged" in caplog.text


def test_a_state_that_is_asked_for_and_damaged_stops_the_run(tmp_path):
    path = tmp_path / "5.state"
    path.write_bytes(b"half a fi")
    with pytest.raises(CheckpointError, match="damaged"):
        opened(tmp_path / "run").find_state(path)


def test_a_state_of_another_network_is_named(tmp_path):
    class Other(Counter):
        def load_state(self, state, *, ignored=()):
            raise KeyError("missing")

    run = opened(tmp_path / "run")
    trained(run, 1)
    with pytest.raises(CheckpointError, match="does not fit the option file"):
        run.resume(Other(), run.find_state())


def test_old_checkpoints_are_pruned_but_best_and_latest_stay(tmp_path):
    run = opened(tmp_path / "run", logs=LoggerOptions(keep_last=2))
    model, progress = trained(run, 1)
    run.save_weights(model, "best_of_5")
    for _ in range(11):
        trained(run, 1, model, progress)
    assert sorted(path.name for path in run.models.iterdir()) == [
        "net_d_11.pth", "net_d_12.pth", "net_g_11.pth", "net_g_12.pth",
        "net_g_back_11.pth", "net_g_back_12.pth", "net_g_best_of_5.pth",
    ]  # fmt: skip
    assert [path.name for path in RunFolder.saved_states(run.root)] == ["11.state", "12.state"]


def test_a_run_killed_before_it_pruned_prunes_at_the_next_start(tmp_path):
    run = opened(tmp_path / "run")
    model, progress = Counter(), Progress()
    for _ in range(4):
        trained(run, 1, model, progress)
    run, *_ = gone_on(run.root, logs=LoggerOptions(keep_last=2))
    assert [path.name for path in RunFolder.saved_states(run.root)] == ["3.state", "4.state"]
    assert sorted(path.name for path in run.models.glob("net_d_*")) == ["net_d_3.pth", "net_d_4.pth"]


def test_weights_are_readable_in_basicsrs_layout(tmp_path):
    run = opened(tmp_path / "run")
    model, _ = trained(run, 2)
    assert torch.equal(load_state(run.models / "net_g_2.pth", key="params")["value"], model.value)


def test_metrics_are_rows_and_forgotten_after_the_iteration_resumed_from(tmp_path):
    run = opened(tmp_path / "run")
    model, progress = trained(run, 1)
    with ProgressBar(0, 3) as bar:
        run.log_losses(model, progress, bar)
        model.step()
        progress.add({"pixel": 2.0})
        assert run.log_results(model, progress, "Set5", {"psnr": 30.0}, {"psnr": True})
    with run.log.metrics_file.open("a") as file:
        file.write("3,train,pi")  # killed in the middle of a line
    gone_on(run.root)
    rows = list(csv.reader(run.log.metrics_file.read_text().splitlines()))
    assert rows[0] == ["iter", "set", "metric", "value"]
    assert [row[:3] for row in rows[1:]] == [["1", "train", "lr"], ["1", "train", "pixel"]]


@pytest.mark.parametrize("validated", [0, 1])
def test_results_of_a_validation_that_did_not_finish_are_forgotten(tmp_path, validated):
    run, model, progress = opened(tmp_path / "run"), Counter(), Progress()
    model.step()
    run.log.add(1, "train", {"pixel": 1.0})
    run.log_results(model, progress, "Set5", {"psnr": 30.0}, {"psnr": True})
    progress.validated = validated
    run.save(model, progress)
    gone_on(run.root)
    rows = [line.split(",")[1] for line in run.log.metrics_file.read_text().splitlines()[1:]]
    assert rows == ["train", "Set5"][: 1 + validated]


def test_the_log_file_and_the_terminal_show_the_same_speed(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(checkpoints.logger, "info", lambda text, *words: shown.append(text % words))
    with RunFolder(tmp_path / "run") as run, ProgressBar(0, 3) as bar:
        bar.update(1)
        run.log_losses(Counter(), Progress(), bar)
    assert shown[-1].startswith("iteration 1 of 3, ")


def test_the_best_is_the_highest_or_the_lowest_as_the_metric_says():
    progress = Progress()
    seen = []
    for iteration, value in enumerate((0.3, 0.2, 0.25), start=1):
        seen.append(
            (
                progress.record_best("Set5", "psnr", value, iteration=iteration, higher_is_better=True),
                progress.record_best("Set5", "lpips", value, iteration=iteration, higher_is_better=False),
            )
        )
    assert seen == [(True, True), (False, True), (False, False)]
    assert progress.best["Set5"]["lpips"] == {"value": 0.2, "iter": 2}


def test_an_earlier_run_is_archived_whole(tmp_path):
    trained(opened(tmp_path / "run"), 1)
    with RunFolder(tmp_path / "run") as run:
        assert RunFolder.saved_states(run.root) == []
    (archive,) = tmp_path.glob("run_archived_*")
    assert (archive / "models/net_g_1.pth").exists()


def test_two_runs_may_be_archived_in_one_second(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda *_: "now")
    for iterations in (1, 2):
        with RunFolder(tmp_path / "run") as run:
            trained(run, iterations)
    with RunFolder(tmp_path / "run"):
        pass
    assert sorted(path.name for path in tmp_path.glob("run_archived_*/models/net_d_*.pth")) == [
        "net_d_1.pth", "net_d_2.pth",
    ]  # fmt: skip


def test_states_later_than_the_resumed_one_are_renamed_and_do_not_count_as_the_newest(tmp_path):
    """They are damaged, or of iterations that are trained again: nothing resumes from them."""
    run = opened(tmp_path / "run")
    model, progress = Counter(), Progress()
    for _ in range(4):
        trained(run, 1, model, progress)
    run, model, progress = gone_on(run.root, run.states / "1.state")
    run.keep_last = 1
    trained(run, 1, model, progress)
    assert sorted(path.name for path in run.states.iterdir()) == [
        "2.state", "2.state.unused", "3.state.unused", "4.state.unused",
    ]  # fmt: skip


def test_what_killed_processes_left_half_written_is_removed_at_the_next_start(tmp_path):
    run = opened(tmp_path / "run")
    trained(run, 1)
    for folder in (run.root, run.models, run.states, run.root / "visualization/Set5"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".1.77-a1b2c3.part.state").write_bytes(b"half")
    _, resumed, _ = gone_on(run.root)
    assert resumed.iteration == 1
    assert not list(run.root.rglob(".*"))


@pytest.mark.parametrize("file", ["net_g_1.pth", "metrics.csv", "train_run"])
def test_a_full_disk_is_one_sentence_with_what_to_free_whichever_file_meets_it(tmp_path, monkeypatch, file):
    with RunFolder(tmp_path / "run") as run:
        trained(run, 1)
    run, model = RunFolder(tmp_path / "run", resumes=True), Counter()
    progress = run.resume(model, run.find_state())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def meet_it():
        with run, ProgressBar(1, 3) as bar:
            if file == "train_run":
                logging.getLogger("srcx").handlers[-1].stream.write = full
            else:
                monkeypatch.setattr("os.fsync", full)
            if file == "net_g_1.pth":
                run.save(model, progress)
            run.log_losses(model, progress, bar)

    with pytest.raises(OutputError, match=f"{file}.*No space left") as error:
        meet_it()
    *_, fix, checkpoints = str(error.value).split("; ")
    assert re.fullmatch(r"\d+ MiB are free there: free some disk space and run the command again", fix)
    assert checkpoints.endswith("with --auto_resume continues from 1.state")
    assert load_training_state(run.states / "1.state")
    assert not list(run.root.rglob(".*.part*"))


def test_a_log_file_goes_on_in_a_new_one_when_it_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr("srcx.training.tracking.LOG_BYTES", 1000)
    with RunFolder(tmp_path / "run") as run:
        for _ in range(100):
            logging.getLogger("srcx.training.run").info("a line of a run that is very long")
    logs = list(run.log.folder.iterdir())
    assert len(logs) == 4
    assert sum(path.stat().st_size for path in logs) <= 4000
