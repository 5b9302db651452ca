import csv
import re
import shlex
from pathlib import Path

import pytest

from srcx.imaging import read_image
from srcx.inference import bundled

SHIPPED = bundled.BUNDLED


@pytest.fixture
def option_files(tmp_path: Path, benchmark_data: Path) -> Path:
    """A training file of three steps and a file that tests what it makes."""
    pairs = (
        f"type: PairedImageDataset, dataroot_gt: {benchmark_data}/Tiny/HR, "
        f"dataroot_lq: {benchmark_data}/Tiny/LR_bicubic/X4, filename_tmpl: '{{}}x4'"
    )
    common = "model_type: SRModel\nscale: 4\nnum_gpu: 0\nmanual_seed: 0\n"
    network = "network_g: {type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4}\n"
    (tmp_path / "train.yml").write_text(
        f"name: tiny\n{common}{network}"
        f"datasets:\n  train: {{name: t, {pairs}, gt_size: 16, batch_size_per_gpu: 1, "
        "num_worker_per_gpu: 0}\n"
        "train:\n  optim_g: {type: Adam, lr: 1e-4}\n  scheduler: {type: MultiStepLR, milestones: [9]}\n"
        "  total_iter: 3\n  pixel_opt: {type: L1Loss}\n"
        "logger: {print_freq: 1, save_checkpoint_freq: 9}\n"
    )
    (tmp_path / "test.yml").write_text(
        f"name: tiny_test\n{common}{network}"
        f"datasets:\n  test_1: {{name: Tiny, {pairs}}}\n"
        "path: {pretrain_network_g: experiments/tiny/models/net_g_latest.pth}\n"
        "val:\n  save_img: true\n  metrics:\n"
        "    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: true}\n    ssim: {type: ssim}\n"
    )
    return tmp_path


def test_train_then_test_then_upscale(srcx, option_files, photos):
    trained = srcx("train", "-opt", "train.yml", "--force_yml", "train:total_iter=2", "logger:print_freq=1")
    assert trained.code == 0
    assert [line for line in trained.sentences if line.startswith("iteration 2 of 2")]
    tested = srcx("test", "-opt", "test.yml")
    assert tested.code == 0
    assert tested.out.startswith("Tiny: psnr ")
    images = option_files / "results/tiny_test/visualization/Tiny"
    assert sorted(path.name for path in images.iterdir()) == ["0_tiny_test.png", "1_tiny_test.png"]
    assert read_image(images / "0_tiny_test.png").shape == (64, 48, 3)
    with (option_files / "results/tiny_test/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    figures = ", ".join(f"{row['metric']} {float(row['value']):.4f}" for row in rows)
    assert tested.out == f"Tiny: {figures}\n"
    upscaled = srcx(
        "upscale", "photos/a.png", "-o", "a.png", "--model", "experiments/tiny/models/net_g_latest.pth"
    )
    assert (upscaled.code, read_image(option_files / "a.png").shape) == (0, (48, 64, 3))


def test_a_second_test_of_the_name_archives_the_first(srcx, option_files):
    srcx("train", "-opt", "train.yml")
    srcx("test", "-opt", "test.yml")
    srcx("test", "-opt", "test.yml", "--force_yml", "val:save_img=false")
    names = sorted(path.name for path in (option_files / "results").iterdir())
    assert names[0] == "tiny_test"
    assert names[1].startswith("tiny_test_archived_")
    assert not (option_files / "results/tiny_test/visualization").exists()


def test_a_metric_without_a_value_makes_the_exit_code_1(srcx, option_files, photos):
    assert srcx("train", "-opt", "train.yml").code == 0
    alone = "datasets:test_1={name: Alone, type: SingleImageDataset, dataroot_lq: photos}"
    said = srcx("test", "-opt", "test.yml", "--force_yml", alone)
    assert (said.code, said.out) == (1, "Alone: psnr none, ssim none\n")


def test_a_state_of_another_run_begins_a_run(srcx, option_files):
    for name in ("tiny", "other"):
        assert srcx("train", "-opt", "train.yml", "--force_yml", f"name={name}").code == 0
    runs = option_files / "experiments"
    of_tiny = "path:resume_state=experiments/tiny/training_states/3.state"
    more = ("train:total_iter=4", "name=other", of_tiny)
    assert srcx("train", "-opt", "train.yml", "--force_yml", *more).code == 0
    assert [path.name for path in sorted((runs / "other/training_states").iterdir())] == ["4.state"]
    assert len(list(runs.glob("other_archived_*/training_states/3.state"))) == 1
    more = ("train:total_iter=5", "name=other", of_tiny)
    said = srcx("train", "-opt", "train.yml", "--auto_resume", "--force_yml", *more)
    assert "other/training_states/4.state: going on after iteration 4" in said.err
    own = ("train:total_iter=6", "name=other", "path:resume_state=experiments/other/training_states/5.state")
    assert srcx("train", "-opt", "train.yml", "--force_yml", *own).code == 0
    assert len(list(runs.glob("*_archived_*"))) == 1


def test_a_test_looks_at_its_own_sets_alone(srcx, option_files):
    assert srcx("train", "-opt", "train.yml").code == 0
    val = "  val: {name: v, type: PairedImageDataset, dataroot_gt: nowhere, dataroot_lq: nowhere}\n"
    words = (option_files / "test.yml").read_text().replace("datasets:\n", f"datasets:\n{val}")
    (option_files / "test.yml").write_text(words)
    said = srcx("test", "-opt", "test.yml")
    assert said.code == 0, said.err


@pytest.mark.parametrize("other", ["--check", "--auto_resume"])
def test_profile_is_refused_beside_what_it_would_ignore(srcx, option_files, other):
    said = srcx("train", "-opt", "train.yml", "--profile", other)
    assert said.code == 2
    assert said.sentences[0].startswith(f"{other}")


def test_profile_says_where_the_time_goes_and_writes_the_trace_alone(srcx, option_files):
    said = srcx("train", "-opt", "train.yml", "--profile")
    assert said.code == 0
    assert said.out.startswith("# 50 steps with crops of ")
    assert "\n  generator (net_g) " in said.out
    assert said.out.endswith("\n  experiments/tiny_profile.json.gz\n")
    assert [path.name for path in Path("experiments").iterdir()] == ["tiny_profile.json.gz"]


def test_check_says_what_would_be_and_writes_a_contact_sheet_alone(srcx, option_files):
    said = srcx("train", "-opt", "train.yml", "--check")
    assert said.code == 0
    assert said.out.endswith(
        "\n# the first 12 crops of the training, lq beside gt\n  experiments/tiny_check.png\n"
        "nothing was trained, and nothing else was written\n"
    )
    assert [path.name for path in (option_files / "experiments").iterdir()] == ["tiny_check.png"]


def test_check_reads_the_training_set_once(srcx, option_files, benchmark_data):
    shrunk = (
        f"datasets:train={{name: t, type: HighResolutionDataset, dataroot_gt: {benchmark_data}/Tiny/HR, "
        "gt_size: 16, gt_scales: [1, 0.25]}"
    )
    said = srcx("train", "-opt", "train.yml", "--check", "--force_yml", shrunk)
    assert said.code == 0
    assert said.err.count("2 of 4 images are smaller than a crop (gt_size 16) and left out") == 1


def test_every_mistake_of_an_option_file_is_a_line_and_nothing_is_written(srcx, option_files):
    text = (
        (option_files / "train.yml")
        .read_text()
        .replace("total_iter", "total_iters")
        .replace("lr: 1e-4", "lr: x")
    )
    (option_files / "train.yml").write_text(text)
    said = srcx("train", "-opt", "train.yml")
    assert said.code == 2
    assert len(said.sentences) >= 2
    assert all(line.startswith("train.yml:") for line in said.sentences)
    assert not (option_files / "experiments").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("train -opt gone.yml", 2, "gone.yml"),
        ("train -opt test.yml", 2, "test.yml: no `train`"),
        ("test -opt train.yml", 2, "train.yml: no `datasets.test`, so there is nothing to test on; add one"),
        (
            "test -opt test.yml",
            1,
            "test.yml:9: path.pretrain_network_g: experiments/tiny/models/net_g_latest.pth: this file does",
        ),
        (
            "test -opt test.yml --force_yml path:pretrain_network_g=~",
            2,
            "test.yml: no `path.pretrain_network_g`: name the checkpoint to test",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence(srcx, option_files, words, code, sentence):
    said = srcx(*words.split())
    assert said.code == code
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(sentence)
    assert not (option_files / "results").exists()
    assert not (option_files / "experiments").exists()


def test_the_option_file_may_stand_without_opt(srcx, option_files):
    trained = srcx("train", "train.yml", "--force_yml", "train:total_iter=1")
    assert trained.code == 0
    assert srcx("test", "test.yml").code == 0


def test_the_end_of_a_training_names_its_files_and_the_next_command(srcx, option_files, photos):
    val = "datasets:val={name: Tiny, type: HighResolutionDataset, dataroot_gt: sets/Tiny/HR}"
    set_to = [val, "val:metrics={psnr: {type: psnr}}", "name=it's tiny"]
    said = srcx("train", "-opt", "train.yml", "--force_yml", *set_to)
    *files, last = said.sentences[-5:]
    names = [line.partition(": ")[0] for line in files]
    assert names == ["weights", "best of Tiny", "figures", "log"]
    assert all(Path(line.partition(": ")[2].partition(" (")[0]).exists() for line in files)
    assert re.search(r"\(iteration 3, psnr [\d.]+\)$", files[1])
    command = last.removeprefix("next: srcx ").replace("IMAGE", "photos/a.png").replace("OUT", "big.png")
    assert srcx(*shlex.split(command)).code == 0
    assert read_image(option_files / "big.png").shape == (48, 64, 3)


def test_a_finished_run_says_so_and_how_to_train_on(srcx, option_files):
    srcx("train", "-opt", "train.yml")
    said = srcx("train", "-opt", "train.yml", "--auto_resume")
    assert said.code == 0
    assert "tiny is finished: 3 of 3 iterations; a larger train.total_iter trains on" in said.sentences
    assert "from iteration" not in said.err
    more = srcx("train", "-opt", "train.yml", "--auto_resume", "--force_yml", "train:total_iter=4")
    assert any(line.startswith("tiny from iteration 4 on: ") for line in more.sentences)


def test_a_state_of_another_network_names_weights_with_both_shapes(srcx, option_files):
    srcx("train", "-opt", "train.yml")
    changed = ("network_g:num_feat=8", "train:total_iter=4")
    said = srcx("train", "-opt", "train.yml", "--auto_resume", "--force_yml", *changed)
    assert said.code == 1
    assert (
        "(weights of net_g: of another shape: conv_first.weight (4, 3, 3, 3), expected (8, 3, 3, 3), "
        in said.sentences[-1]
    )
    assert "not in it" not in said.sentences[-1]
    assert "state_dict" not in said.err


@pytest.mark.parametrize("verb", ["train", "test"])
def test_every_missing_folder_is_a_line_before_anything_is_read(srcx, option_files, verb):
    text = (option_files / f"{verb}.yml").read_text()
    text = text.replace("/Tiny/HR", "/gone/HR").replace("/LR_bicubic/X4", "/gone/X4")
    (option_files / f"{verb}.yml").write_text(text)
    said = srcx(verb, "-opt", f"{verb}.yml")
    assert said.code == 1
    assert len(said.sentences) == 2
    for line, name in zip(said.sentences, ("gt", "lq"), strict=True):
        assert line.startswith(f"{verb}.yml:")
        assert f".dataroot_{name}: " in line
        assert line.endswith(": this file or folder does not exist; check the path")
    assert not (option_files / "experiments").exists()


@pytest.mark.parametrize(
    "words", ["train -opt train.yml", "train -opt train.yml --check", "test -opt test.yml"]
)
def test_a_misspelt_model_is_named_with_its_option_and_the_nearest(srcx, option_files, monkeypatch, words):
    monkeypatch.setattr(bundled, "BUNDLED", SHIPPED)
    answer = srcx(*words.split(), "--force_yml", "path:pretrain_network_g=srresnet-x5")
    assert answer.code == 1
    assert answer.sentences == [
        "--force_yml: path.pretrain_network_g: srresnet-x5: neither a model that comes with srcx nor a file; "
        "did you mean 'srresnet-x4'?"
    ]


@pytest.mark.parametrize("check", [[], ["--check"]])
@pytest.mark.parametrize("option", ["pretrain_network_g=gone.pth", "resume_state=gone.state"])
def test_a_missing_file_of_path_is_one_line_before_anything_is_read(srcx, option_files, option, check):
    answer = srcx("train", "-opt", "train.yml", *check, "--force_yml", f"path:{option}")
    key, _, name = option.partition("=")
    assert answer.code == 1
    assert answer.sentences == [f"--force_yml: path.{key}: {name}: this file does not exist; check the path"]
    assert not (option_files / "experiments").exists()


def test_a_run_that_resumes_needs_no_weights_to_start_from(srcx, option_files):
    assert srcx("train", "-opt", "train.yml").code == 0
    start = "path:pretrain_network_g=gone.pth"
    assert (
        srcx("train", "-opt", "train.yml", "--auto_resume", "--force_yml", "train:total_iter=4", start).code
        == 0
    )


def test_what_is_no_training_state_is_named_once(srcx, option_files):
    (option_files / "text.pth").write_text("text")
    answer = srcx("train", "-opt", "train.yml", "--force_yml", "path:resume_state=text.pth")
    assert answer.code == 1
    assert (
        len([line for line in answer.sentences if line.startswith("text.pth: this is no training state")])
        == 1
    )


def test_a_model_that_comes_with_srcx_is_tested_by_its_name(srcx, option_files, monkeypatch):
    monkeypatch.setattr(bundled, "BUNDLED", SHIPPED)
    network = ("network_g:num_feat=64", "network_g:num_block=16")
    answer = srcx("test", "-opt", "test.yml", "--force_yml", "path:pretrain_network_g=srresnet-x4", *network)
    assert answer.code == 0, answer.err
