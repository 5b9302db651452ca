import pickle
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from srcx.config import Options, load_options
from srcx.config.options import Section
from srcx.errors import OptionsError

FOLDERS = [Path(__file__).parent / name for name in ("basicsr", "real_esrgan")]
BASICSR = sorted(path for folder in FOLDERS for path in folder.glob("*.yml"))
FIXES = {"train_RCAN_x2": ["network_g:upscale=2"]}
"""BasicSR's file says scale 2 and upscale 4, which cannot be trained there either."""
Load = Callable[..., Options]


@pytest.fixture(params=BASICSR, ids=lambda path: f"{path.parent.name}-{path.stem}")
def basicsr(request: pytest.FixtureRequest) -> Options:
    return load_options(request.param, overrides=FIXES.get(request.param.stem, ()))


def basicsr_file(stem: str) -> Options:
    return load_options(next(path for path in BASICSR if path.stem == stem))


def test_basicsrs_files_load_and_load_again_from_their_resolved_text(
    basicsr: Options, tmp_path: Path
) -> None:
    (tmp_path / "again.yml").write_text(basicsr.to_yaml(), encoding="utf-8")
    assert load_options(tmp_path / "again.yml") == basicsr


def test_basicsrs_file_of_two_scales_is_refused() -> None:
    with pytest.raises(OptionsError, match=r":42: network_g.upscale: 4 beside scale 2; make both the same"):
        basicsr_file("train_RCAN_x2")


def test_basicsrs_srgan_file_says_what_it_says() -> None:
    options = basicsr_file("train_MSRGAN_x4")
    assert options.train is not None
    assert options.datasets.train is not None
    assert (options.model_type, options.scale, options.num_gpu, options.manual_seed) == (
        "SRGANModel",
        4,
        1,
        0,
    )
    assert options.datasets.train.gt_size == 128
    assert options.datasets.train.dataset_enlarge_ratio == 100
    assert options.network_g.type == "MSRResNet"
    assert options.network_g.args == {
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 64,
        "num_block": 16,
        "upscale": 4,
    }
    assert options.train.optim_g.args == {"lr": 1e-4, "weight_decay": 0.0, "betas": (0.9, 0.99)}
    assert options.train.scheduler.args == {"milestones": (50000, 100000, 200000, 300000), "gamma": 0.5}
    assert list(options.train.losses) == ["pixel", "perceptual", "gan"]
    assert [term.weight for term in options.train.losses.values()] == [0.01, 1.0, 0.005]
    assert options.train.losses["perceptual"].args["perceptual_weight"] == 1.0
    assert options.train.losses["perceptual"].args["layer_weights"] == {"conv5_4": 1}
    assert options.val.val_freq == 5000
    assert options.val.metrics["psnr"].better == "higher"
    assert options.val.metrics["psnr"].args == {"crop_border": 4, "test_y_channel": False}


def test_sets_are_sorted_by_phase_in_the_files_order() -> None:
    assert list(basicsr_file("train_MSRResNet_x4").datasets.val) == ["val", "val_2"]
    assert list(basicsr_file("test_SwinIR_x4").datasets.test) == [f"test_{n}" for n in range(1, 6)]


def test_an_lmdb_file_says_so() -> None:
    train = basicsr_file("train_ECBSR_x4_m4c16_prelu").datasets.train
    assert train is not None
    assert train.io_backend.type == "lmdb"


def test_what_is_left_out_has_its_default(load: Load) -> None:
    options = load()
    assert options.train is not None
    assert options.datasets.train is not None
    assert (options.num_gpu, options.manual_seed, options.network_d) == ("auto", 0, None)
    assert (options.train.warmup_iter, options.train.net_d_iters, options.train.net_d_init_iters) == (
        -1,
        1,
        0,
    )
    assert (options.train.precision, options.train.channels_last) == ("fp32", True)
    assert (options.train.grad_clip, options.train.accumulate) == (None, 1)
    assert (options.datasets.train.filename_tmpl, options.datasets.train.cache_mib) == ("{}", 1024)
    assert (options.logger.keep_last, options.path.experiments_root) == (None, "experiments")


def test_null_leaves_a_section_or_a_term_out(load: Load) -> None:
    options = load(
        {"val:\n": "path: ~\nlogger: ~\ndist_params: ~\nval:\n", "pixel_opt": "gan_opt: ~\n  pixel_opt"}
    )
    assert options.train is not None
    assert list(options.train.losses) == ["pixel"]
    assert options.path.model_dump() == Options.model_fields["path"].default.model_dump()


def test_whole_numbers_may_be_written_with_an_exponent(load: Load) -> None:
    options = load({"100": "!!float 1e2"})
    assert options.train is not None
    assert (type(options.train.total_iter), options.train.total_iter) == (int, 100)


def test_a_list_of_folders_is_kept(load: Load) -> None:
    options = load(
        {
            "type: PairedImageDataset": "type: HighResolutionDataset",
            "gt: gt": "gt: [a, b]",
            "_lq: lq": "_lq: ~",
        }
    )
    assert options.datasets.train is not None
    assert options.datasets.train.dataroot_gt == ("a", "b")


def test_home_folders_are_filled_in(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere/me")
    options = load({"gt: gt": "gt: ~/gt", "lq: lq": "lq: lq~"})
    assert options.datasets.train is not None
    assert (options.datasets.train.dataroot_gt, options.datasets.train.dataroot_lq) == (
        "/nowhere/me/gt",
        "lq~",
    )


def test_nobody_can_change_options(load: Load) -> None:
    options = load({"width: 8": "width: [8]"})
    with pytest.raises(ValidationError, match="frozen"):
        options.scale = 2  # type: ignore[misc]  # what the test is about
    options.network_g.args["width"].append(9)
    options.network_g.args.pop("width")
    assert options.network_g.args == {"width": [8]}


def test_says_where_an_option_stands(load: Load) -> None:
    options = load()
    assert options.where("train.ema_decay") == "x.yml:14"
    assert options.where("train.pixel_opt.type") == "x.yml:17"
    assert options.where("train.accumulate") == "x.yml:12"
    assert options.where("logger.print_freq") == "x.yml:1"


def test_options_are_equal_wherever_they_were_written(load: Load) -> None:
    assert load() == load({"scale: 4\n": "\n\nscale: 4\n"})
    assert load() != load({"scale: 4": "scale: 2"})


def test_options_travel_to_other_processes(load: Load) -> None:
    options = load()
    sent = pickle.loads(pickle.dumps(options))
    assert (sent, sent.where("scale")) == (options, options.where("scale"))


def test_resolved_text_keeps_text_that_looks_like_something_else(load: Load, tmp_path: Path) -> None:
    looks = [
        "1e-4",
        "012",
        "~",
        "true",
        "2020-01-01",
        "<<",
        "=",
        "a: b",
        " x ",
        "#",
        "",
        "yes",
        "1:30",
        "ü\n\té",
        "!!x",
    ]
    text = ", ".join(f"k{n}: {look!r}" for n, look in enumerate(looks) if "\n" not in look)
    options = load({"width: 8": f'width: 8, odd: "ü\\n\\té", {text}, tiny: 1e-300, inf: .inf'})
    (tmp_path / "again.yml").write_text(options.to_yaml(), encoding="utf-8")
    assert load_options(tmp_path / "again.yml") == options


def sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        for inner in inner_sections(field.annotation):
            yield from sections(inner)


def inner_sections(annotation: object) -> list[type[Section]]:
    inner = typing.get_args(annotation)
    if inner:
        return [found for part in inner for found in inner_sections(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Section) else []


@pytest.mark.parametrize("section", sorted(set(sections(Options)), key=lambda section: section.__name__))
def test_every_option_says_what_it_means_in_a_line(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description
        assert field.description.endswith("."), name
