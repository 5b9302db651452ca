"""What a benchmark does twice, with several processes, and with the layouts people have."""

import csv
import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import srcx
from srcx.archs import MSRResNet
from srcx.basicsr_compat.parts import AllParts
from srcx.data.degradation import degrade
from srcx.errors import DataError, UsageError, WeightsError
from srcx.evaluation import benchmark
from srcx.evaluation.inputs import BICUBIC_LQ, load_degradations
from srcx.evaluation.scoring import ScoreJob, Scores, find_metrics, mean_of_set, score_all, score_files
from srcx.imaging import imresize, read_image, rgb_to_grey, write_image
from srcx.inference import autotune, bundled, load_model
from srcx.metrics import psnr
from srcx.metrics.metric import Metric
from srcx.weights import save_state


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    for index, size in enumerate([(64, 48), (50, 61)]):
        image = imresize(rng.integers(0, 256, (8, 8, 3), np.uint8), size=size)
        save(tmp_path / "data/Tiny/HR" / f"{index}.png", image)
    return tmp_path / "data"


class Events:
    """Records the progress messages of a benchmark."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.words.append(what)

    @property
    def scored(self) -> list[str]:
        return [word for word in self.words if word.startswith("scored")]


def upscaled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the images that are upscaled from here on."""
    from srcx.inference import Upscaler

    shapes: list[tuple[int, ...]] = []
    real = Upscaler.__call__

    def noted(self, image):
        shapes.append(image.shape)
        return real(self, image)

    monkeypatch.setattr(Upscaler, "__call__", noted)
    return shapes


def test_a_second_run_does_nothing_again_and_finds_the_same(data, tmp_path, monkeypatch):
    first = benchmark(["bicubic"], data, tmp_path / "out")
    shapes, events = upscaled(monkeypatch), Events()
    second = benchmark(["bicubic"], data, tmp_path / "out", on_progress=events)
    assert shapes == events.scored == []
    assert second.images == first.images
    assert second.means == first.means


@pytest.mark.parametrize(
    ("model", "precision", "fast", "said"),
    [
        ("auto", "fp32", ["bf16"], "fp32"),
        ("auto", "bf16", [], "bf16"),
        ("auto", "auto", [], "fp32"),
        ("auto", "auto", ["bf16"], "fp32 or bf16, by image"),
        ("real-x4", "bf16", [], "bf16"),
        ("real-x4", "auto", ["bf16"], "fp32 or bf16, by image"),
        ("bicubic", "bf16", ["bf16"], "integers"),
    ],
)
def test_the_results_say_in_which_precision_images_were_run(
    model, precision, fast, said, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(autotune, "_half_precisions", lambda device: fast)
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    for blocks, name in ((1, "srgan-cx-x4"), (2, "real-x4")):
        net = MSRResNet(num_feat=4, num_block=blocks)
        save_state(tmp_path / f"{name}.safetensors", net.state_dict(), metadata={"scale": "4"})
        (tmp_path / f"{name}.md").write_text(f"# {name}: for tests\n")
    parameters = {name: load_model(name).model.parameters for name in ("srgan-cx-x4", "real-x4", "bicubic")}
    parameters["auto"] = parameters["srgan-cx-x4"] + parameters["real-x4"]
    for _ in range(2):  # the second takes all images from the cache
        (info,) = benchmark([model], data, tmp_path / "out", metrics=["psnr"], precision=precision).models
        assert (info.precision, info.parameters) == (said, parameters[model])


def test_a_new_metric_scores_the_old_images(data, tmp_path, monkeypatch):
    benchmark(["bicubic"], data, tmp_path / "out", metrics=["psnr"])
    shapes, events = upscaled(monkeypatch), Events()
    measured = []
    monkeypatch.setattr(Metric, "measure", lambda metric, *images: measured.append(metric.name) or 1.0)
    monkeypatch.setattr(Metric, "check", lambda metric: None)
    benchmark(["bicubic"], data, tmp_path / "out", metrics=["psnr", "ssim"], on_progress=events)
    assert shapes == []
    assert measured == ["ssim", "ssim"]


def test_a_new_model_leaves_the_others_alone(data, tmp_path, monkeypatch):
    benchmark(["bicubic"], data, tmp_path / "out")
    shapes, events = upscaled(monkeypatch), Events()
    results = benchmark(["bicubic", "bicubic-x2"], data, tmp_path / "out", on_progress=events)
    assert len(shapes) == len(events.scored) == 2
    assert [(mean.model, mean.scale) for mean in results.means] == [("bicubic", 4), ("bicubic-x2", 2)]


@pytest.mark.parametrize("change", ["weights", "arguments", "version", "lq", "gt", "result", "cache"])
def test_what_changed_is_done_again(change, data, tmp_path, monkeypatch, rng):
    model = tmp_path / "net.pth"
    net = MSRResNet(num_feat=4, num_block=1)
    save_state(model, net.state_dict())
    described = {
        "type": "EDSR",
        "args": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 4},
    }
    if change == "arguments":
        if find_spec("basicsr") is None:
            pytest.skip("BasicSR is not installed")
        save_state(model, AllParts().network("EDSR")(**described["args"]).state_dict())
        model.with_suffix(".json").write_text(json.dumps({"network": described}))
    for index in (0, 1):
        gt = read_image(data / f"Tiny/HR/{index}.png")
        lq = imresize(gt[: gt.shape[0] // 4 * 4, : gt.shape[1] // 4 * 4], scale=0.25)
        save(data / f"Tiny/LR_bicubic/X4/{index}x4.png", lq)
    before = benchmark([model], data, tmp_path / "out")
    shapes, events = upscaled(monkeypatch), Events()
    noise = rng.integers(0, 256, (16, 12, 3), np.uint8)
    if change == "weights":
        save_state(model, MSRResNet(num_feat=4, num_block=1).state_dict())
    if change == "arguments":
        described["args"]["res_scale"] = 30
        model.with_suffix(".json").write_text(json.dumps({"network": described}))
    if change == "version":
        monkeypatch.setattr(srcx, "__version__", "0.0.0+test")
    if change == "lq":
        write_image(data / "Tiny/LR_bicubic/X4/0x4.png", noise)
    if change == "gt":
        write_image(data / "Tiny/HR/0.png", imresize(noise, scale=4))
    if change == "result":
        write_image(tmp_path / "out/images/net/Tiny/0.png", imresize(noise, scale=4))
    if change == "cache":
        (tmp_path / "out/cache.json").write_text("{")
    after = benchmark([model], data, tmp_path / "out", on_progress=events)
    again = {"weights": 2, "arguments": 2, "version": 2, "lq": 1, "gt": 0, "result": 1, "cache": 2}[change]
    assert len(shapes) == again
    if change in ("result", "cache", "version"):
        assert after.means == before.means
    else:
        assert after.images[0].metrics != before.images[0].metrics
        of_network = change in ("weights", "arguments")
        assert (after.images[1].metrics == before.images[1].metrics) == (not of_network)


def test_two_ground_truths_of_one_name_are_refused(data, tmp_path, rng):
    save(data / "Tiny/HR/0.bmp", rng.integers(0, 256, (64, 48, 3), np.uint8))
    with pytest.raises(DataError, match=r"HR: has both 0\.bmp and 0\.png, .*; keep one or rename one"):
        benchmark(["bicubic"], data, tmp_path / "out")


def test_models_of_one_name_get_names_of_their_own(data, tmp_path):
    for folder in ("a", "b"):
        save_state(tmp_path / folder / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    results = benchmark([tmp_path / "a/net.pth", tmp_path / "b/net.pth"], data, tmp_path / "out")
    names = [model.name for model in results.models]
    assert names == [f"net-{model.sha256[:6]}" for model in results.models]
    assert len(set(names)) == 2


def test_results_say_everything_and_agree(data, tmp_path):
    results = benchmark(["bicubic"], data, tmp_path / "out", metrics=["psnr", "niqe"])
    read = json.loads((tmp_path / "out/results.json").read_text())
    assert read["protocol"]["arguments"] == {"x4": {"psnr": {"crop_px": 4}, "niqe": {"crop_px": 4}}}
    assert read["versions"].keys() >= {"srcx", "python", "torch", "numpy"}
    assert read["sets"] == [{"name": "Tiny", "scale": 4, "images": 2, "lq": BICUBIC_LQ, "degradation": ""}]
    assert read["metrics"] == {"psnr": "higher", "niqe": "lower"}
    one = read["images"][1]
    gt = read_image(data / "Tiny/HR/1.png")[:48, :60]
    assert one["metrics"] == {"psnr": psnr(read_image(tmp_path / "out" / one["sr"]), gt), "niqe": None}
    assert one["reasons"]["niqe"].startswith("niqe: needs")
    with (tmp_path / "out/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0", "1", "mean"]
    assert rows[1]["psnr"] == str(one["metrics"]["psnr"])
    assert rows[2]["psnr"] == str(results.means[0].metrics["psnr"])
    assert rows[2]["niqe"] == ""


def test_damaged_sets_are_scored_on_the_damage_and_done_once(data, tmp_path, monkeypatch):
    first = benchmark(["bicubic"], data, tmp_path / "out", degrade=["web", "old"], seed=7)
    assert [one.label for one in first.sets] == ["Tiny web x4", "Tiny old x4"]
    assert [mean.label for mean in first.means] == ["Tiny web x4", "Tiny old x4"]
    assert first.means[0].metrics != first.means[1].metrics
    read = json.loads((tmp_path / "out/results.json").read_text())
    assert read["seed"] == 7
    assert list(read["degradations"]) == ["web", "old"]
    assert read["degradations"]["web"]["final"]["compression"]["quality"] == [40.0, 84.0]
    with (tmp_path / "out/results.csv").open() as file:
        assert [row["degradation"] for row in csv.DictReader(file)] == ["web"] * 2 + ["old"] * 2 + [
            "web",
            "old",
        ]
    for one in first.images:
        (degradation,) = load_degradations([one.degradation], seed=7)
        gt = read_image(data / f"Tiny/HR/{one.image}.png")
        gt = gt[: gt.shape[0] // 4 * 4, : gt.shape[1] // 4 * 4]
        expected = degrade(gt, degradation.options, scale=4, rng=degradation.rng(one.image))
        assert np.array_equal(read_image(one.lq), expected)
    shapes, events = upscaled(monkeypatch), Events()
    again = benchmark(["bicubic"], data, tmp_path / "out", degrade=["web", "old"], seed=7, on_progress=events)
    assert shapes == events.scored == []
    assert again.images == first.images
    other = benchmark(["bicubic"], data, tmp_path / "out", degrade=["web", "old"], seed=8)
    assert len(shapes) == 4
    assert other.means != first.means


def test_another_degradation_of_the_same_name_is_made_again(data, tmp_path):
    mine = tmp_path / "mine.yml"
    results = []
    for sigma in (5, 50):
        mine.write_text(f"passes: [{{noise: {{gaussian_prob: 1, sigma: [{sigma}, {sigma}]}}}}]\n")
        results.append(benchmark(["bicubic"], data, tmp_path / "out", degrade=[str(mine)]))
    assert results[0].means[0].metrics["psnr"] > results[1].means[0].metrics["psnr"] + 3


def test_the_damage_of_an_image_does_not_depend_on_the_others(data, tmp_path):
    both = benchmark(["bicubic"], data, tmp_path / "both", degrade=["old"])
    (data / "Tiny/HR/0.png").unlink()
    alone = benchmark(["bicubic"], data, tmp_path / "alone", degrade=["old"])
    assert alone.images[0].lq_sha256 == both.images[1].lq_sha256
    assert alone.images[0].metrics == both.images[1].metrics


def test_images_without_ground_truth_are_scored_by_what_needs_none_and_shown(tmp_path, rng):
    colours = imresize(rng.integers(0, 256, (8, 10, 3), np.uint8), size=(56, 80))
    alpha = np.dstack([colours, np.full(colours.shape[:2], 128, np.uint8)])
    for name, image in (("a.png", colours), ("b.png", colours[..., 0]), ("c & d.png", alpha)):
        save(tmp_path / "photos" / name, image)
    results = benchmark(
        ["bicubic"], tmp_path / "photos", tmp_path / "out", metrics=["niqe", "psnr"], without_gt=True
    )
    assert [one.image for one in results.images] == ["a.png", "b.png", "c & d.png"]
    assert all(one.metrics["niqe"] is not None and one.metrics["psnr"] is None for one in results.images)
    assert results.images[0].reasons["psnr"] == (
        "psnr: compares with a ground truth, and there is none; add the ground truth, or leave the metric out"
    )
    assert (results.images[0].gt, results.images[0].gt_sha256) == (None, None)
    assert json.loads((tmp_path / "out/results.json").read_text())["without_gt"] is True
    page = (tmp_path / "out/report.html").read_text()
    assert all(f"photos x4 · {name}" in page for name in ("a.png", "b.png", "c &amp; d.png"))
    assert "ground truth cut" not in page


@pytest.mark.parametrize("change", [{"degrade": ["web"]}, {"sets": ["Tiny"]}, {"every": 0}])
def test_arguments_that_exclude_each_other_are_refused(data, tmp_path, change):
    with pytest.raises(UsageError, match=next(iter(change))):
        benchmark(["bicubic"], data, tmp_path / "out", without_gt=True, **change)


def test_an_interrupted_run_reuses_the_images_it_made(data, tmp_path, monkeypatch):
    def breaks(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(["bicubic"], data, tmp_path / "out", on_progress=breaks)
    assert not (tmp_path / "out/results.json").exists()
    shapes = upscaled(monkeypatch)
    benchmark(["bicubic"], data, tmp_path / "out")
    assert len(shapes) == 1


def test_a_run_reuses_the_images_that_each_rank_made_before_it_was_stopped(data, tmp_path, monkeypatch):
    """Two processes are stopped while both work: the second writes first."""
    ranks = [0]
    monkeypatch.setattr("srcx.evaluation.run.rank", lambda: ranks[-1])
    monkeypatch.setattr("srcx.evaluation.run.world_size", lambda: 2)
    monkeypatch.setattr("srcx.evaluation.run.run_on_main", lambda work: work())

    def breaks(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    def breaks_both(what: str, done: int, total: int) -> None:
        ranks.append(1)
        with pytest.raises(KeyboardInterrupt):
            benchmark(["bicubic"], data, tmp_path / "out", on_progress=breaks)
        ranks.pop()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(["bicubic"], data, tmp_path / "out", on_progress=breaks_both)
    monkeypatch.undo()
    shapes = upscaled(monkeypatch)
    benchmark(["bicubic"], data, tmp_path / "out")
    assert shapes == []
    assert [path.name for path in (tmp_path / "out").glob("cache*")] == ["cache.json"]


def test_grey_ground_truth_takes_a_coloured_result_for_grey(tmp_path, rng):
    sr, gt = rng.integers(0, 256, (24, 24, 3), np.uint8), rng.integers(0, 256, (24, 24), np.uint8)
    save(tmp_path / "sr.png", sr)
    save(tmp_path / "gt.png", gt)
    scores = score_files(ScoreJob(tmp_path / "sr.png", tmp_path / "gt.png", find_metrics(["psnr"], scale=4)))
    assert scores.values == {"psnr": psnr(rgb_to_grey(sr), gt)}


def test_the_ground_truth_may_be_a_little_larger_only_where_it_is_said(tmp_path, rng):
    save(tmp_path / "sr.png", rng.integers(0, 256, (24, 24), np.uint8))
    save(tmp_path / "gt.png", rng.integers(0, 256, (26, 27), np.uint8))
    job = ScoreJob(tmp_path / "sr.png", tmp_path / "gt.png", find_metrics(["psnr"], scale=4), slack_px=3)
    assert score_files(job).values["psnr"] is not None
    strict = ScoreJob(job.sr, job.gt, job.metrics, slack_px=2)
    assert score_files(strict).values["psnr"] is None


def jobs_of(folder: Path, rng: np.random.Generator, names: Sequence[str], count: int = 3) -> list[ScoreJob]:
    for index in range(count):
        for role in ("sr", "gt"):
            save(folder / f"{role}{index}.png", rng.integers(0, 256, (24, 24, 3), np.uint8))
    calls = find_metrics(names, scale=4)
    return [ScoreJob(folder / f"sr{index}.png", folder / f"gt{index}.png", calls) for index in range(count)]


def test_several_processes_give_what_one_gives(tmp_path, rng):
    jobs = jobs_of(tmp_path, rng, ["psnr", "ssim", "niqe"])
    assert list(score_all(jobs, workers=2)) == list(score_all(jobs, workers=0))


def test_a_metric_without_its_weights_is_tried_once_only(tmp_path, rng):
    tried = []

    def fetching(sr: np.ndarray) -> float:
        tried.append(sr.shape)
        raise WeightsError("these weights are not here")

    plain = jobs_of(tmp_path, rng, ["psnr"])
    jobs = [ScoreJob(job.sr, job.gt, (*job.metrics, Metric("ma", fetching, False, True))) for job in plain]
    for some in (jobs, [plain[0], *jobs[1:]]):
        tried.clear()
        scores = list(score_all(some))[-2:]
        assert len(tried) == 1
        assert all(one.values["ma"] is None and one.values["psnr"] for one in scores)
        assert {one.reasons["ma"] for one in scores} == {"these weights are not here"}


def test_no_metric_is_measured_of_no_jobs():
    assert list(score_all([])) == []


def test_rmse_of_a_set_is_pirms():
    rmse = find_metrics(["rmse"], scale=4)
    assert mean_of_set(rmse, [Scores({"rmse": 1.0}), Scores({"rmse": 7.0})]) == Scores({"rmse": 5.0})


def test_a_mean_over_some_images_only_is_none():
    scores = [Scores({"niqe": 4.0}), Scores({"niqe": None}, {"niqe": "too small"})]
    niqe = find_metrics(["niqe"], scale=4)
    assert mean_of_set(niqe, scores) == Scores({"niqe": None}, {"niqe": "1 of 2 images have none: too small"})
    assert mean_of_set(niqe, scores[1:]) == Scores({"niqe": None}, {"niqe": "too small"})


@pytest.mark.parametrize("damaged", ["gt", "gt of made lq", "lq"])
def test_a_damaged_image_is_null_with_a_reason_and_the_others_are_scored(data, tmp_path, damaged):
    if damaged != "gt of made lq":
        for index in range(2):
            gt = read_image(data / f"Tiny/HR/{index}.png")
            save(data / f"Tiny/LR_bicubic/X4/{index}x4.png", imresize(gt[:48, :48], scale=0.25))
            save(data / f"Tiny/HR/{index}.png", gt[:48, :48])
    whole = benchmark(["bicubic"], data, tmp_path / "whole", metrics=("psnr", "niqe"))
    path = data / ("Tiny/LR_bicubic/X4/0x4.png" if damaged == "lq" else "Tiny/HR/0.png")
    path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):  # the second run reads the cache of the first
        results = benchmark(["bicubic"], data, tmp_path / "out", metrics=("psnr", "niqe"))
        bad, good = results.images
        assert bad.metrics["psnr"] is None
        assert f"{path}: is damaged or cut off" in bad.reasons["psnr"]
        assert good.metrics == whole.images[1].metrics
        assert results.means[0].metrics["psnr"] is None
        assert results.means[0].reasons["psnr"].startswith("1 of 2 images have none: ")
    assert bool(bad.sr_sha256) == (damaged == "gt"), "of its lq a result is made all the same"
    assert json.loads((tmp_path / "out/results.json").read_text())["images"][0]["metrics"]["psnr"] is None
    assert (tmp_path / "out/report.html").read_text()


def test_names_that_are_not_utf8_are_escaped(data, tmp_path):
    (data / "Tiny/HR/0.png").rename(data / "Tiny/HR" / os.fsdecode(b"caf\xe9.png"))
    benchmark(["bicubic"], data, tmp_path / "out")
    names = [one["image"] for one in json.loads((tmp_path / "out/results.json").read_text("utf-8"))["images"]]
    assert sorted(names) == ["1", os.fsdecode(b"caf\xe9")]
    assert "caf\\udce9" in (tmp_path / "out/results.csv").read_text("utf-8")
    assert "caf\\udce9" in (tmp_path / "out/report.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_a_name_is_no_formula_in_a_spreadsheet(data, tmp_path, name):
    (data / "Tiny").rename(data / name)
    (data / name / "HR/0.png").rename(data / name / f"HR/{name}.png")
    benchmark(["bicubic"], data, tmp_path / "out")
    with (tmp_path / "out/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["set"] for row in rows} == {f"'{name}"}
    assert f"'{name}" in {row["image"] for row in rows}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        '{"images": {"images/bicubic/Tiny/0.png": 3}, "scores": {}}',
        '{"images": {"images/bicubic/Tiny/0.png": {"made_of": "x"}}, "scores": {}}',
        '{"images": {}, "scores": {"a": [1]}}',
        '{"images": {}, "scores": [[1, 2]]}',
        "[" * 100_000,
        '{"images": {"a": ' + '{"a": ' * 100_000,
    ],
)
def test_a_damaged_cache_is_as_good_as_none(data, tmp_path, content, caplog):
    first = benchmark(["bicubic"], data, tmp_path / "out")
    (tmp_path / "out/cache.json").write_text(content)
    assert benchmark(["bicubic"], data, tmp_path / "out").means == first.means
    assert "cache.json: cannot be read" in caplog.text
