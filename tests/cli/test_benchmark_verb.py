import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from srcx.archs import MSRResNet, SRResNet
from srcx.weights import save_state


def test_bicubic_is_scored_and_a_report_written(srcx, benchmark_data, tmp_path):
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out", "--sets", "Tiny", "Bare")
    assert said.code == 0
    assert "report: out/report.html" in said.out
    rows = [[word.strip() for word in line.split("│")[1:-1]] for line in said.out.splitlines() if "│" in line]
    assert [row[:2] for row in rows] == [["Tiny x4", "bicubic"], ["Bare x4", "bicubic"]]
    means = json.loads((tmp_path / "out" / "results.json").read_text())["means"]
    assert [f"{mean['metrics']['psnr']:.4f}" for mean in means] == [row[2] for row in rows]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cache.json", "images", "report.html", "results.csv", "results.json",
    }  # fmt: skip


def test_models_stand_side_by_side(srcx, benchmark_data, tmp_path):
    save_state(tmp_path / "net.pth", MSRResNet(num_feat=4, num_block=1).state_dict())
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out", "--model", "net.pth", "bicubic")
    assert said.code == 0
    rows = re.findall(r"│ (\w+ x4) +│ (net|bicubic) ", said.out)
    assert rows == [("Bare x4", "net"), ("Bare x4", "bicubic"), ("Tiny x4", "net"), ("Tiny x4", "bicubic")]


def test_a_metric_that_cannot_be_had_is_said_and_exits_with_1(srcx, benchmark_data, tmp_path):
    said = srcx(
        "benchmark", "--data", benchmark_data, "--sets", "Tiny", "-o", "out", "--metrics", "psnr", "niqe"
    )
    assert said.code == 1
    assert "no niqe of bicubic on Tiny x4: niqe: needs" in said.out
    mean = json.loads((tmp_path / "out" / "results.json").read_text())["means"][0]
    assert mean["metrics"]["niqe"] is None
    assert mean["metrics"]["psnr"] > 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--data gone", 1, "gone: no such folder of benchmark sets"),
        ("--data sets --sets Tiny Set6", 1, "sets: has no set Set6; the sets there are Bare, Tiny"),
        ("--data sets/Tiny", 1, "sets/Tiny: has no set at all; there is no SET/HR folder in it"),
        ("--data sets --metrics psnr sim", 2, "sim: no such metric; did you mean 'ssim'?"),
        ("--data sets --model bicubicc", 2, "bicubicc: neither a model"),
        ("--data sets --model gone.pth", 1, "gone.pth: there is no such file"),
        ("--data sets --degrade web phon", 2, "unknown degradation 'phon'"),
        ("--images photos --degrade web", 2, "--images: takes the images of a folder as they are; leave out"),
        ("--images photos --data sets --sets Tiny", 2, "--images: takes the images"),
        ("--images gone", 1, "gone: "),
        ("", 1, "datasets/benchmark: no such folder of benchmark sets"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_written(
    srcx, benchmark_data, tmp_path, words, code, sentence
):
    said = srcx("benchmark", "-o", "out", *words.split())
    assert said.code == code
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(sentence)
    assert not (tmp_path / "out").exists()


def test_an_exported_file_scores_as_its_checkpoint_does(srcx, benchmark_data, tmp_path):
    save_state(tmp_path / "net.pth", SRResNet(num_feat=4, num_block=1, upscale=4).state_dict())
    assert srcx("export", "--model", "net.pth", "--format", "onnx", "-o", "mine.onnx").code == 0
    words = ("--data", benchmark_data, "--sets", "Tiny", "--metrics", "psnr", "-o", "out")
    assert srcx("benchmark", "--model", "net.pth", "mine.onnx", *words).code == 0
    means = json.loads((tmp_path / "out/results.json").read_text())["means"]
    one, other = (next(m["metrics"]["psnr"] for m in means if m["model"] == name) for name in ("net", "mine"))
    assert one == pytest.approx(other, abs=0.02)


def test_damaged_sets_stand_under_the_name_of_the_damage(srcx, benchmark_data):
    damage = ("--degrade", "web", "old", "--every", 2)
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out", "--sets", "Tiny", *damage)
    assert said.code == 0
    rows = [[word.strip() for word in line.split("│")[1:-1]] for line in said.out.splitlines() if "│" in line]
    assert [row[0] for row in rows] == ["Tiny web x4", "Tiny old x4"]


def test_a_folder_without_ground_truth_needs_no_ground_truth(srcx, photos, tmp_path):
    said = srcx("benchmark", "--images", photos, "-o", "out", "--metrics", "psnr")
    assert said.code == 0
    assert "no psnr of bicubic on photos x4: psnr: compares with a ground truth" in said.out
    assert "photos x4 · b.jpg" in (tmp_path / "out/report.html").read_text()


def test_warnings_about_images_come_once_whatever_the_number_of_models(srcx, photos):
    for scale in (2, 4):
        net = MSRResNet(num_feat=4, num_block=1, upscale=scale)
        save_state(Path(f"x{scale}.pth"), net.state_dict())
    Image.new("CMYK", (16, 16)).save(photos / "ink.jpg")
    (photos / "f.gif").write_bytes(b"anything")
    words = ("--model", "x2.pth", "x4.pth", "--metrics", "psnr")
    said = srcx("benchmark", "--images", photos, "-o", "out", *words)
    assert said.code == 0
    for warning in ("CMYK is converted to sRGB", "files are left out"):
        assert len([line for line in said.sentences if warning in line]) == 1


def test_one_image_that_cannot_be_read_stops_no_other(srcx, benchmark_data, photos, tmp_path):
    data = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(data[: len(data) // 2])
    (photos / "gone.png").symlink_to("nowhere.png")
    said = srcx("benchmark", "--images", photos, "-o", "out", "--metrics", "niqe")
    assert said.code == 0
    assert "photos x4 · a.png" in (tmp_path / "out/report.html").read_text()
    (benchmark_data / "Bare/HR/gone.png").symlink_to("nowhere.png")
    assert srcx("benchmark", "--data", benchmark_data, "--sets", "Bare", "-o", "of_set").code == 1
    results = json.loads((tmp_path / "of_set/results.json").read_text())
    known = {one["image"]: one["metrics"]["psnr"] is not None for one in results["images"]}
    assert known == {"0": True, "gone": False}


def test_a_name_too_long_for_a_result_stops_no_other_image(srcx, photos, tmp_path):
    long = "n" * 250
    shutil.copy(photos / "b.jpg", photos / f"{long}.jpg")
    said = srcx("benchmark", "--images", photos, "-o", "out", "--metrics", "psnr")
    assert said.code == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    reasons = {one["image"]: one["reasons"]["psnr"] for one in results["images"]}
    sentence = f"out/images/bicubic/photos/{long}.jpg.png: cannot be written: File name too long; choose"
    assert reasons[f"{long}.jpg"].startswith(sentence)
    assert reasons["a.png"].startswith("psnr: compares with a ground truth")
    assert "photos x4 · a.png" in (tmp_path / "out/report.html").read_text()


def test_an_output_that_is_a_file_is_one_sentence(srcx, benchmark_data, tmp_path):
    (tmp_path / "out").write_text("")
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out")
    assert said.code == 1
    assert said.sentences == [
        "out: cannot make this folder: out is there and is no folder; choose another name"
    ]


def test_a_set_that_lacks_low_resolution_images_names_them(srcx, benchmark_data):
    (benchmark_data / "Tiny/LR_bicubic/X4/1x4.png").unlink()
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out")
    assert said.code == 1
    assert "has no image for 1 of 2 in HR (1); add them, or remove the folder to have them made" in said.err


def test_low_resolution_images_of_another_scale_are_found_before_the_work(srcx, benchmark_data):
    shutil.copy(benchmark_data / "Tiny/HR/0.png", benchmark_data / "Tiny/LR_bicubic/X4/0x4.png")
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out")
    assert said.code == 1
    assert "1 image not 1/4 the size of the ground truth: 0 (48 x 64 for 48 x 64)" in said.err


def test_ctrl_c_says_where_the_images_are(srcx, benchmark_data, tmp_path, monkeypatch):
    def interrupted(jobs, workers):
        raise KeyboardInterrupt

    monkeypatch.setattr("srcx.evaluation.run.score_all", interrupted)
    said = srcx("benchmark", "--data", benchmark_data, "-o", "out")
    assert said.code == 130
    assert said.sentences[-1].startswith("stopped; the images and scores so far are in out")
    assert (tmp_path / "out/images/bicubic/Tiny/0.png").exists()
    assert not (tmp_path / "out/results.json").exists()


PUBLISHED = {"Set5": (28.418, 0.8101), "Set14": (25.993, 0.7023), "BSD100": (25.957, 0.6672)}
"""PSNR and SSIM of bicubic x4 as MATLAB tables print them (SelfExSR's quant_eval, and others)."""


@pytest.mark.parametrize(
    ("sets", "stored"),
    [
        (["Set5", "Set14"], True),
        (["Set5", "Set14"], False),
        pytest.param(["BSD100"], True, marks=pytest.mark.slow),
    ],
)
def test_bicubic_gives_the_published_figures(srcx, shared, tmp_path, sets, stored):
    data = shared / "data/benchmark"
    if not stored:
        for name in sets:
            (tmp_path / "data" / name).mkdir(parents=True)
            (tmp_path / "data" / name / "HR").symlink_to(data / name / "HR")
        data = tmp_path / "data"
    said = srcx("benchmark", "--data", data, "--sets", *sets, "-o", "out")
    rows = [[word.strip() for word in line.split("│")[1:-1]] for line in said.out.splitlines() if "│" in line]
    assert [row[0] for row in rows] == [f"{name} x4" for name in sets]
    for name, row in zip(sets, rows, strict=True):
        psnr, ssim = PUBLISHED[name]
        assert float(row[2]) == pytest.approx(psnr, abs=0.0006)
        assert float(row[3]) == pytest.approx(ssim, abs=0.00006)
