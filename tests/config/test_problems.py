from collections.abc import Callable

import pytest

from srcx.config import TrainOptions, problems
from srcx.config.options import LoggerOptions

Complaints = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("ema_decay", "ema_decy", "x.yml:14: train.ema_decy: unknown option; did you mean 'ema_decay'?"),
        ("gt_size", "gt_siz", "x.yml:10: datasets.train.gt_siz: unknown option; did you mean 'gt_size'?"),
        (
            "val:\n",
            "val:\n  save_image: true\n",
            "x.yml:19: val.save_image: unknown option; did you mean 'save_img'?",
        ),
        ("  pixel_opt", "  perceptul_otp: {}\n  pixel_opt", "did you mean 'perceptual_opt'?"),
        (
            "scale: 4\n",
            "scale: 4\nema_decay: 0.9\n",
            "x.yml:4: ema_decay: unknown option here; it belongs under 'train'",
        ),
        (
            "    gt_size",
            "    scale: 4\n    gt_size",
            "unknown option here; it belongs at the top of the file",
        ),
        (
            "scale: 4\n",
            "scale: 4\nzzz: 1\n",
            "x.yml:4: zzz: unknown option; known here: name, model_type, scale",
        ),
        ("val:\n", "path: {pretrain_model_g: a}\nval:\n", "did you mean 'pretrain_network_g'?"),
        (
            "32\n",
            "32\n    use_flip: true\n",
            "x.yml:11: datasets.train.use_flip: unknown option; did you mean 'use_hflip'?",
        ),
        ("32\n", "32\n  vall: {}\n", "x.yml:11: datasets.vall: unknown option; did you mean 'val'?"),
        (
            "total_iter: 100",
            "total_iter: 1.5",
            "x.yml:13: train.total_iter: expected a whole number, got 1.5",
        ),
        (
            "total_iter: 100",
            "total_iter: '100'",
            "expected a whole number, got '100'; write it without quotes",
        ),
        (
            "total_iter: 100",
            "total_iter: many",
            "x.yml:13: train.total_iter: expected a whole number, got 'many'",
        ),
        (
            "total_iter: 100",
            "total_iter: true",
            "x.yml:13: train.total_iter: expected a whole number, got true",
        ),
        ("total_iter: 100", "total_iter: ~", "x.yml:13: train.total_iter: expected a whole number, got null"),
        (
            "total_iter: 100",
            "total_iter: [1]",
            "x.yml:13: train.total_iter: expected a whole number, got [1]",
        ),
        ("total_iter: 100", "total_iter: {a: 1}", "train.total_iter: expected a whole number, got a section"),
        (
            "total_iter: 100",
            "total_iter: 0",
            "x.yml:13: train.total_iter: expected a number from 1 on, got 0",
        ),
        (
            "total_iter: 100",
            "total_iter: -5",
            "x.yml:13: train.total_iter: expected a number from 1 on, got -5",
        ),
        (
            "total_iter: 100",
            "total_iter: 1e300",
            "train.total_iter: expected a number up to 9007199254740992",
        ),
        (
            "total_iter: 100",
            "total_iter: .inf",
            "x.yml:13: train.total_iter: expected a whole number, got inf",
        ),
        ("  total_iter: 100\n", "", "x.yml:12: train.total_iter: this option is required and missing"),
        ("0.9", "1", "x.yml:14: train.ema_decay: expected a number below 1, got 1"),
        ("0.9", "-0.1", "x.yml:14: train.ema_decay: expected a number from 0 on, got -0.1"),
        ("0.9", ".nan", "x.yml:14: train.ema_decay: expected a number below 1, got nan"),
        ("1e-4", "0", "x.yml:15: train.optim_g.lr: expected a number above 0, got 0"),
        ("1e-4", "-.inf", "x.yml:15: train.optim_g.lr: expected"),
        ("lr: 1e-4", "betas: [0.9]", "x.yml:15: train.optim_g.lr: this option is required and missing"),
        (
            "lr: 1e-4",
            "lr: 1, betas: [0.9, 1]",
            "x.yml:15: train.optim_g.betas[1]: expected a number below 1, got 1",
        ),
        ("lr: 1e-4", "lr: 1, betas: 0.9", "x.yml:15: train.optim_g.betas: expected a list, got 0.9"),
        (
            "milestones: [50]",
            "milestones: [50], periods: [50]",
            "train.scheduler.periods: MultiStepLR has no such option, CosineAnnealingRestartLR has it",
        ),
        ("milestones: [50]", "gama: 1", "train.scheduler.gama: unknown option; did you mean 'gamma'?"),
        (
            "milestones: [50]",
            "gamma: 1",
            "train.scheduler.milestones: MultiStepLR requires this option and it is missing",
        ),
        ("MultiStepLR", "MultistepLR", "got 'MultistepLR'; did you mean 'MultiStepLR'?"),
        ("[50]", "[a]", "x.yml:16: train.scheduler.milestones[0]: expected a whole number, got 'a'"),
        (
            "{type: L1Loss}",
            "{loss_weight: 1}",
            "x.yml:17: train.pixel_opt.type: this option is required and missing",
        ),
        (
            "{type: L1Loss}",
            "L1Loss",
            "x.yml:17: train.pixel_opt: expected a section of 'key: value' lines, got 'L1Loss'",
        ),
        (
            "{type: L1Loss}",
            "{type: L1Loss, loss_weight: .inf}",
            "train.pixel_opt.loss_weight: expected a finite number",
        ),
        (
            "{type: Net, width: 8}",
            "Net",
            "x.yml:11: network_g: expected a section of 'key: value' lines, got 'Net'",
        ),
        (
            "type: calculate_psnr",
            "type: 3",
            "x.yml:20: val.metrics.psnr.type: expected text, got 3; put it in quotes",
        ),
        ("crop_border", "better: up, crop_border", "expected one of 'higher' or 'lower', got 'up'"),
        (
            "SRModel",
            "SRGANModl",
            "x.yml:2: model_type: expected one of 'SRModel', 'SRGANModel', 'ESRGANModel', 'Swi",
        ),
        ("SRModel", "SRGANModl", "got 'SRGANModl'; did you mean 'SRGANModel'?"),
        (
            "32",
            "32\n    io_backend: {type: memcached}",
            "expected one of 'disk', 'lmdb' or 'webdataset', got",
        ),
        (
            "32",
            "32\n    prefetch_mode: gpu",
            "x.yml:11: datasets.train.prefetch_mode: expected one of 'cpu' or 'cuda'",
        ),
        (
            "32\n",
            "32\n  val_1: {name: V, type: T, color: 3}\n",
            "x.yml:11: datasets.val_1.color: expected one of 'y', got 3",
        ),
        ("32", "32\n    color: rgb", "x.yml:11: datasets.train.color: expected one of 'y', got 'rgb'"),
        (
            "32",
            "32\n    filename_tmpl: x4",
            "expected text with one '{}' where the file's name goes, such as '{}x4', got",
        ),
        ("32", "32\n    filename_tmpl: '{}{0}'", "expected text with one '{}' where the file's name goes"),
        ("32", "32\n    mean: 0.5", "x.yml:11: datasets.train.mean: expected a list, got 0.5"),
        (
            "PairedImageDataset\n    dataroot_gt: gt",
            "HighResolutionDataset\n    dataroot_gt: [a, 3]",
            "x.yml:8: datasets.train.dataroot_gt: expected a folder, or a list of folders",
        ),
        (
            "PairedImageDataset\n    dataroot_gt: gt",
            "HighResolutionDataset\n    dataroot_gt: []",
            "x.yml:8: datasets.train.dataroot_gt: expected a folder, or a list of folders, got []",
        ),
        ("_lq: lq", "_lq: ''", "x.yml:9: datasets.train.dataroot_lq: expected a path, got ''"),
        ("_lq: lq", '_lq: "a\\0"', "x.yml:9: datasets.train.dataroot_lq: expected a path"),
        ("_lq: lq", "_lq: ~nobody_at_all/x", "expected a path whose '~' names a known user"),
        (
            "name: tiny",
            "name: a/b",
            "x.yml:1: name: expected a name that can be a folder's name, without '/', got 'a/b'",
        ),
        ("name: tiny", "name: ..", "x.yml:1: name: expected a name that can be a folder's name"),
        ("name: tiny", "name: 12", "x.yml:1: name: expected text, got 12; put it in quotes"),
        ("name: tiny\n", "", "x.yml:1: name: this option is required and missing"),
        (
            "scale: 4",
            "scale: 4\nnum_gpu: all",
            "x.yml:4: num_gpu: expected 'auto', or a number of GPUs from 0 on, got 'all'",
        ),
        ("scale: 4", "scale: 4\nnum_gpu: true", "x.yml:4: num_gpu: expected 'auto', or a number of GPUs"),
        ("scale: 4", "scale: 4\nmanual_seed: 4294967296", "manual_seed: expected a number up to 4294967295"),
        (
            "0.9\n",
            "0.9\n  precision: fp8\n",
            "x.yml:15: train.precision: expected one of 'auto', 'fp32', 'bf16' or 'fp16', got 'fp8'",
        ),
        ("0.9\n", "0.9\n  grad_clip: 0\n", "x.yml:15: train.grad_clip: expected a number above 0, got 0"),
        (
            "0.9\n",
            "0.9\n  warmup_iter: -2\n",
            "x.yml:15: train.warmup_iter: expected a number from -1 on, got -2",
        ),
        (
            "val:\n",
            "val:\n  save_img: 'true'\n",
            "val.save_img: expected true or false, got 'true'; write it without",
        ),
        ("val:\n", "val:\n  save_img: 1\n", "x.yml:19: val.save_img: expected true or false, got 1"),
    ],
)
def test_names_place_option_and_what_was_expected(
    complaints: Complaints, old: str, new: str, complaint: str
) -> None:
    lines = complaints({old: new})
    assert any(complaint in line for line in lines), lines
    assert all(line.startswith("x.yml:") for line in lines)


def test_one_mistake_gives_one_line(complaints: Complaints) -> None:
    assert complaints({"ema_decay": "ema_decy"}) == [
        "x.yml:14: train.ema_decy: unknown option; did you mean 'ema_decay'?"
    ]


def test_all_mistakes_come_at_once_in_the_files_order(complaints: Complaints) -> None:
    lines = complaints(
        {"scale: 4": "scal: 4", "32": "a", "0.9": "7", "1e-4": "'1e-4'", "L1Loss": "3"}
        | {"{type: calculate_psnr, crop_border: 4}": "{type: calculate_psnr, better: 1}"}
    )
    assert [line.split(":")[1] for line in lines] == ["3", "10", "14", "15", "17", "20"]


def test_long_values_are_cut(complaints: Complaints) -> None:
    (line,) = complaints({"100": "a" * 500})
    assert len(line) < 140


def test_a_misspelt_option_is_not_also_called_missing(complaints):
    lines = complaints({"total_iter: 100": "total_itr: 100", "name: tiny\n": "nmae: tiny\n"})
    assert [line.split(": ", 1)[1] for line in lines] == [
        "nmae: unknown option; did you mean 'name'?",
        "train.total_itr: unknown option; did you mean 'total_iter'?",
    ]


@pytest.mark.parametrize(
    ("model", "work"),
    [
        ("EDVRModel", "video"),
        ("VideoRecurrentModel", "video"),
        ("StyleGAN2Model", "making or restoring faces"),
        ("HiFaceGANModel", "making or restoring faces"),
    ],
)
def test_a_file_for_other_work_gets_one_line_whatever_else_is_in_it(complaints, model, work):
    lines = complaints({"SRModel": model, "total_iter: 100": "tsa_iter: 100", "name: tiny\n": ""})
    assert len(lines) == 1
    assert lines[0].endswith(f": model_type: {model} is for {work}, and srcx upscales single images")


@pytest.mark.parametrize(
    ("changes", "project"),
    [
        ({"SRModel": "default"}, "neosr"),
        ({"SRModel": "otf", "32": "a"}, "neosr"),
        (
            {"model_type: SRModel\n": "", "pixel_opt: {type: L1Loss}": "losses: [{type: l1loss}]"},
            "traiNNer-redux",
        ),
    ],
)
def test_a_file_in_the_words_of_another_project_gets_one_line(complaints, changes, project):
    (line,) = complaints(changes)
    assert f": this is an option file of {project}, whose options are not BasicSR's; start from" in line


def test_the_known_options_of_a_section_are_listed_once(complaints):
    lines = complaints({"32\n": "32\n    qqq: 1\n    zzz: 2\n", "val:\n": "val:\n  yyy: 3\n"})
    assert ["; known here: " in line for line in lines] == [True, False, True]
    assert lines[1] == "x.yml:12: datasets.train.zzz: unknown option"


@pytest.mark.parametrize("key", ["use_amp", "use_fp16"])
def test_the_word_of_a_fork_is_answered_with_that_of_srcx(complaints, key):
    (line,) = complaints({"scale: 4\n": f"scale: 4\n{key}: true\n"})
    assert line == f"x.yml:4: {key}: unknown option; srcx has 'train.precision' for this"


def test_the_words_of_forks_name_options_of_srcx(small_text):
    known = {key for section in (TrainOptions, LoggerOptions) for key in section.model_fields}
    assert {word.split(".")[1] for word in problems.WORDS_OF_FORKS.values()} <= known


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PairedImageDataset", "ImageNetPairedDataset"),
        ("PairedImageDataset", "MicroscopyPairedDataset"),
        ("SRModel", "ImageCleanModel"),
        ("SRModel", "CRAFT_Model"),
    ],
)
def test_a_name_that_only_ends_alike_is_no_hint(complaints, old, new):
    line = next(line for line in complaints({old: new}) if new in line)
    assert "did you mean" not in line
    assert old in line


def test_of_an_unknown_model_all_are_named_and_how_to_go_on(complaints):
    (line,) = complaints({"SRModel": "CRAFT_Model"})
    assert line == (
        "x.yml:2: model_type: unknown model_type 'CRAFT_Model'; srcx has SRModel, SRGANModel, ESRGANModel, "
        "SwinIRModel, CycleGANModel, RealESRNetModel, RealESRGANModel; if it trains as one of these does, "
        "write that name"
    )


@pytest.mark.parametrize("key", ["num_frame", "interpolate_to"])
def test_an_option_that_is_like_none_gets_no_wrong_hint(complaints, key):
    (line,) = complaints({"32\n": f"32\n    {key}: 5\n"})
    assert "unknown option; known here: " in line
