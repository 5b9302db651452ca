"""Real-ESRGAN's words become srcx's own, and what is wrong with them is said in the words of the file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srcx.config import LossTerm, Options, load_options
from srcx.config.yaml_io import read_value, to_text
from srcx.errors import OptionsError

HERE = Path(__file__).parent
GAN = HERE / "real_esrgan/train_realesrgan_x4plus.yml"
NET = HERE / "real_esrgan/train_realesrnet_x4plus.yml"
PAIRS = HERE / "real_esrgan/finetune_realesrgan_x4plus_pairdata.yml"
LDL = HERE / "basicsr/train_LDL_Real_x4.yml"

Write = Callable[[str], Path]
Complaints = Callable[..., list[str]]


@pytest.fixture
def load(write: Write) -> Callable[..., Options]:
    """Load a file with pieces of its text replaced."""

    def load_changed(path: Path, changes: dict[str, str] | None = None, *overrides: str) -> Options:
        text = path.read_text()
        for old, new in (changes or {}).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return load_options(write(text), overrides=overrides)

    return load_changed


@pytest.fixture
def complaints(load: Callable[..., Options]) -> Complaints:
    """The lines of the error the changed file gives."""

    def complain(path: Path, changes: dict[str, str] | None = None, *overrides: str) -> list[str]:
        with pytest.raises(OptionsError) as caught:
            load(path, changes, *overrides)
        return caught.value.problems

    return complain


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if line.strip().startswith(text))


def terms(options: Options) -> dict[str, LossTerm]:
    assert options.train is not None
    return options.train.losses


def test_every_old_word_arrives_at_its_place() -> None:
    options = load_options(GAN)
    train = options.datasets.train
    assert train is not None
    assert (options.model_type, train.type, train.gt_size) == ("SRGANModel", "HighResolutionDataset", 256)
    assert train.meta_info_file == "datasets/DF2K/meta_info/meta_info_DF2Kmultiscale+OST_sub.txt"
    assert train.degradation is not None
    first, second = train.degradation.passes
    assert (train.degradation.sharpen_gt, train.degradation.clean_prob) == (True, 0)
    for one, prob, sigma in ((first, 1, (0.2, 3)), (second, 0.8, (0.2, 1.5))):
        assert one.prob == 1
        assert one.blur is not None
        assert one.blur.kernels.as_dict() == pytest.approx(
            {
                "iso": 0.405,
                "aniso": 0.225,
                "generalized_iso": 0.108,
                "generalized_aniso": 0.027,
                "plateau_iso": 0.108,
                "plateau_aniso": 0.027,
                "sinc": 0.1,
            }
        )
        assert (one.blur.prob, one.blur.size_px, one.blur.sigma) == (prob, (7, 21), sigma)
        assert (one.blur.beta_generalized, one.blur.beta_plateau) == ((0.5, 4), (1, 2))
    for resize, wanted in (
        (first.resize, ("gt", 0.2, 0.7, (0.15, 1.5))),
        (second.resize, ("lq", 0.3, 0.4, (0.3, 1.2))),
    ):
        assert resize is not None
        assert (resize.of, resize.up_prob, resize.down_prob, resize.factor) == wanted
        assert max(resize.filters.as_dict().values()) == pytest.approx(1 / 3, abs=1e-3)
    for noise, sigma, scale in ((first.noise, (1, 30), (0.05, 3)), (second.noise, (1, 25), (0.05, 2.5))):
        assert noise is not None
        assert (noise.prob, noise.gaussian_prob, noise.grey_prob) == (1, 0.5, 0.4)
        assert (noise.sigma, noise.poisson_scale) == (sigma, scale)
    assert first.compression is not None
    assert second.compression is None
    final = train.degradation.final
    assert final.compression is not None
    for compression in (first.compression, final.compression):
        assert (compression.prob, compression.quality) == (1, (30, 95))
        assert (compression.webp_prob, compression.subsampling_prob, compression.twice_prob) == (0, 1, 0)
    assert (final.sinc_prob, final.sinc_size_px, final.compression_first_prob) == (0.8, (7, 21), 0.5)
    assert final.filters.bicubic_antialiased == 0


def test_words_of_the_two_passes_are_not_mixed_up(load: Callable[..., Options]) -> None:
    options = load(
        GAN,
        {
            "gray_noise_prob: 0.4": "gray_noise_prob: 0.1",
            "gaussian_noise_prob2: 0.5": "gaussian_noise_prob2: 0.6",
            "jpeg_range: [30, 95]": "jpeg_range: [31, 95]",
            "jpeg_range2: [30, 95]": "jpeg_range2: [32, 95]",
            "sinc_prob2: 0.1": "sinc_prob2: 0.2",
            "betag_range2: [0.5, 4]": "betag_range2: [0.6, 4]",
            "betap_range2: [1, 2]": "betap_range2: [1, 3]",
        },
    )
    assert options.datasets.train is not None
    assert options.datasets.train.degradation is not None
    first, second = options.datasets.train.degradation.passes
    final = options.datasets.train.degradation.final
    assert first.noise is not None
    assert second.noise is not None
    assert (first.noise.grey_prob, second.noise.grey_prob) == (0.1, 0.4)
    assert (first.noise.gaussian_prob, second.noise.gaussian_prob) == (0.5, 0.6)
    assert first.compression is not None
    assert final.compression is not None
    assert (first.compression.quality, final.compression.quality) == ((31, 95), (32, 95))
    assert first.blur is not None
    assert second.blur is not None
    assert (first.blur.kernels.sinc, second.blur.kernels.sinc) == (0.1, 0.2)
    assert (first.blur.beta_generalized, second.blur.beta_generalized) == ((0.5, 4), (0.6, 4))
    assert (first.blur.beta_plateau, second.blur.beta_plateau) == ((1, 2), (1, 3))


@pytest.mark.parametrize(
    ("changes", "sharp"),
    [
        ({}, {"pixel", "perceptual"}),
        ({"gan_gt_usm: False": "gan_gt_usm: True"}, {"pixel", "perceptual", "gan"}),
        ({"l1_gt_usm: True": "l1_gt_usm: False"}, {"perceptual"}),
        ({"percep_gt_usm: True": "percep_gt_usm: False"}, {"pixel"}),
    ],
)
def test_flags_say_which_terms_compare_with_sharpened_gt(
    load: Callable[..., Options], changes: dict[str, str], sharp: set[str]
) -> None:
    for path in (GAN, PAIRS, LDL):
        options = load(path, changes)
        assert {name for name, term in terms(options).items() if term.against == "gt_sharp"} == sharp
        assert options.where("train.gan_opt.against").startswith("x.yml:")


def test_realesrnet_sharpens_gt_before_it_is_degraded(load: Callable[..., Options]) -> None:
    for flag, sharp in (("True", True), ("False", False)):
        options = load(NET, {"gt_usm: True": f"gt_usm: {flag}"})
        assert options.model_type == "SRModel"
        assert options.datasets.train is not None
        assert options.datasets.train.degradation is not None
        assert options.datasets.train.degradation.sharpen_gt == sharp
        assert terms(options)["pixel"].against == ("gt_sharp" if sharp else "gt")


def test_ldl_weighs_its_l1_loss_by_artifacts() -> None:
    ldl = terms(load_options(LDL))["ldl"]
    assert (ldl.type, ldl.against, ldl.weight, ldl.args) == ("LDLLoss", "gt", 1, {"reduction": "mean"})


def test_without_degradations_pairs_are_read() -> None:
    train = load_options(PAIRS).datasets.train
    assert train is not None
    assert (train.type, train.degradation) == ("PairedImageDataset", None)
    assert train.meta_info == "datasets/DF2K/meta_info/meta_info_DIV2K_sub_pair.txt"
    assert train.meta_info_file is None


def test_the_crop_may_stand_at_the_top_alone(load: Callable[..., Options], complaints: Complaints) -> None:
    options = load(GAN, {"    gt_size: 256\n": ""})
    assert options.datasets.train is not None
    assert options.datasets.train.gt_size == 256
    (line,) = complaints(GAN, {"    gt_size: 256\n": "    gt_size: 128\n"})
    said = "gt_size: is 256, and datasets.train.gt_size is 128; give both the same"
    assert line == f"x.yml:{line_of(GAN, 'gt_size')}: {said}"
    (line,) = complaints(GAN, {"    gt_size: 256\n": "", "gt_size: 256\nqueue": "gt_size: 30\nqueue"})
    assert line == f"x.yml:{line_of(GAN, 'gt_size')}: gt_size: 30 is no multiple of the scale 4; write 28"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "jpeg_range: [30, 95]",
            "jpeg_range: [95, 30]",
            "expected a range [low, high] with low at most high",
        ),
        ("jpeg_range2: [30, 95]", "jpeg_range2: [0, 95]", "expected a range [low, high] from 1 to 100"),
        ("noise_range: [1, 30]", "noise_range: [1, 300]", "expected a range [low, high] from 0 to 255"),
        ("blur_sigma2: [0.2, 1.5]", "blur_sigma2: [0, 1]", "expected a range [low, high] from 0.01 on"),
        ("resize_range: [0.15, 1.5]", "resize_range: [0.2, 0.8]", "expected a range from at most 1 to at"),
        ("resize_prob: [0.2, 0.7, 0.1]", "resize_prob: [1, 1, 1]", "the probabilities add up to 3, not to 1"),
        (
            "resize_prob2: [0.3, 0.4, 0.3]",
            "resize_prob2: [1]",
            "1 probabilities for 3 kinds (up, down, keep)",
        ),
        ("second_blur_prob: 0.8", "second_blur_prob: 8", "expected a number up to 1, got 8"),
        ("sinc_prob: 0.1", "sinc_prob: x", "expected a number, got 'x'"),
        ("queue_size: 180", "queue_size: 0", "expected a number from 1 on, got 0"),
        ("l1_gt_usm: True", "l1_gt_usm: 1", "expected true or false, got 1"),
        ("final_sinc_prob: 0.8", "final_sinc_prop: 0.8", "unknown option; did you mean 'final_sinc_prob'?"),
        (
            "poisson_scale_range2: [0.05, 2.5]",
            "poisson_scale2: [1, 2]",
            "did you mean 'poisson_scale_range2'?",
        ),
        ("RealESRGANModel", "RealESRGANModle", "did you mean 'RealESRGANModel'?"),
        (
            "RealESRGANDataset",
            "RealESRGANDatset",
            "unknown type 'RealESRGANDatset'; did you mean 'RealESRGAND",
        ),
        (
            "RealESRGANModel",
            "SRGANModel",
            ".type: RealESRGANDataset needs model_type RealESRNetModel or RealE",
        ),
        (
            "RealESRGANDataset",
            "RealESRGANPairedDataset",
            "expected RealESRGANDataset, as high_order_degradation",
        ),
        (
            "queue_size: 180",
            "high_order_degradation: false",
            "expected RealESRGANPairedDataset, as high_order",
        ),
        (
            "final_sinc_prob: 0.8",
            "final_sinc_prob: 0.8\n    degradation: {}",
            "has options of its own; remove",
        ),
        ("meta_info: datasets", "meta_info: 3 #", "meta_info: expected text, got 3; put it in quotes"),
    ],
)
def test_a_mistake_is_named_by_its_line_and_the_word_of_the_file(
    complaints: Complaints, old: str, new: str, complaint: str
) -> None:
    line = next(line for line in complaints(GAN, {old: new}) if complaint in line)
    word = new.splitlines()[-1].strip().split(":")[0]
    if word.startswith(("RealESRGAN", "SRGAN")):
        word = "type"
    elif word == "high_order_degradation":
        word = "type: RealESRGANDataset"
    place = int(line.split(":")[1])
    text = Path("x.yml").read_text().splitlines()[place - 1]
    assert word in text
    assert word.split(":")[0] in line.split(": ")[1]


def test_an_unknown_model_is_the_one_mistake_whatever_its_options_are(complaints: Complaints) -> None:
    (line,) = complaints(GAN, {"RealESRGANModel": "MyModel"})
    assert "unknown model_type 'MyModel'; srcx has SRModel, " in line


def test_pairs_where_two_passes_are_asked_for_are_the_one_mistake(complaints: Complaints) -> None:
    (line,) = complaints(PAIRS, {"high_order_degradation: False": "high_order_degradation: True"})
    assert (
        "expected RealESRGANDataset, as high_order_degradation is true; got RealESRGANPairedDataset" in line
    )


def test_an_option_of_the_other_section_is_pointed_there(complaints: Complaints) -> None:
    lines = complaints(
        GAN,
        {
            "gt_size: 256\nqueue": "blur_sigma: [1, 2]\ngt_size: 256\nqueue",
            "    gt_size": "    gt_usm: true\n    gt_size",
        },
    )
    assert [line.split(": ", 1)[1] for line in lines] == [
        "blur_sigma: unknown option here; it belongs under 'datasets.train'",
        "datasets.train.gt_usm: unknown option here; it belongs at the top of the file",
    ]


def test_an_unknown_kernel_is_named_with_the_nearest(complaints: Complaints) -> None:
    changes = {"    kernel_list: ['iso', 'aniso'": "    kernel_list: ['iso', 'ansio'"}
    (line,) = complaints(GAN, changes)
    assert line.startswith(
        f"x.yml:{line_of(GAN, 'kernel_list:')}: datasets.train.kernel_list[1]: expected one"
    )
    assert line.endswith("got 'ansio'; did you mean 'aniso'?")
    (line,) = complaints(GAN, {"    kernel_list: ['iso', ": "    kernel_list: ["})
    assert "datasets.train.kernel_prob: 6 probabilities for 5 kinds (aniso, gen" in line


def test_all_mistakes_come_at_once_in_their_order(complaints: Complaints) -> None:
    lines = complaints(
        GAN,
        {
            "\nresize_prob: [0.2, 0.7, 0.1]\n": "\nresize_prob: [0.2, 0.7, 0.2]\n",
            "\njpeg_range: [30, 95]\n": "\njpeg_rnage: [30, 95]\n",
            "    kernel_prob: [0.45": "    kernel_prob: [0.4",
            "    blur_sigma: [0.2, 3]": "    blur_sigma: [3, 0.2]",
            "    kernel_list2: ['iso'": "    kernel_list2: ['skew'",
            "ema_decay": "ema_decy",
        },
        "noise_range2=[1]",
    )
    assert [line.split(": ")[1] for line in lines] == [
        "jpeg_range",
        "resize_prob",
        "jpeg_rnage",
        "datasets.train.kernel_prob",
        "datasets.train.blur_sigma",
        "datasets.train.kernel_list2[0]",
        "train.ema_decy",
        "noise_range2",
    ]
    assert lines[0] == "x.yml:1: jpeg_range: this option is required and missing"
    assert lines[-1].startswith("--force_yml: noise_range2: expected a range")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "{passes: [{blur: {sigma: [3, 1]}}]}",
            "passes[0].blur.sigma: expected a range [low, high] with low",
        ),
        ("{passes: [{blur: {kernels: {iso: 0.5}}}]}", "kernels: the shares add up to 0.5, not to 1"),
        ("{passes: [{blur: {kernels: {isso: 1}}}]}", "kernels.isso: unknown option; did you mean 'iso'?"),
        ("{passes: [{resize: {up_prob: 0.9}}]}", "resize: up_prob and down_prob add up to 1.6, more than 1"),
        (
            "{passes: [{noise: {sigma: [-1, 300]}}]}",
            "noise.sigma: expected a range [low, high] from 0 to 255",
        ),
        ("{final: {filters: {bicubik: 1}}}", "filters.bicubik: unknown option; did you mean 'bicubic'?"),
        ("{clean_prob: 2}", "clean_prob: expected a number up to 1, got 2"),
    ],
)
def test_mistakes_in_own_words_are_named_too(
    write: Write, small_text: str, text: str, complaint: str
) -> None:
    text = small_text.replace("gt_size: 32", f"gt_size: 32\n    degradation: {text}")
    text = text.replace("PairedImageDataset", "HighResolutionDataset").replace("    dataroot_lq: lq\n", "")
    with pytest.raises(OptionsError) as caught:
        load_options(write(text))
    assert any(
        line.startswith("x.yml:10: datasets.train.degradation.") and complaint in line
        for line in caught.value.problems
    ), caught.value.problems


def test_a_file_to_test_with_needs_no_words_of_training(load: Callable[..., Options]) -> None:
    text = GAN.read_text()
    train = text[text.index("  train:\n") : text.index("network_g")]
    changes = {train: "  test_1: {name: A, type: SingleImageDataset, dataroot_lq: a}\n"}
    words = text[text.index("l1_gt_usm") : text.index("datasets:")]
    optimisation = text[text.index("train:\n  ema") : text.index("logger:")]
    assert load(GAN, changes | {words: "", optimisation: ""}).model_type == "SRGANModel"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["iso", "RealESRGANDataset", "RealESRNetModel", "L1Loss", "", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "gt_size"]), inner),
    max_leaves=4,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), path=st.sampled_from([GAN, NET, PAIRS, LDL]))
def test_any_value_of_any_word_is_taken_or_refused_in_one_way(
    write: Write, data: st.DataObject, path: Path
) -> None:
    content = read_value(path.read_text())
    section = data.draw(
        st.sampled_from([content, content["datasets"], content["datasets"]["train"], content["train"]])
    )
    section[data.draw(st.sampled_from(sorted(section)))] = data.draw(VALUES)
    file = write(to_text(content))
    said = problems_of(file)
    assert all(line.startswith("x.yml:") and "\n" not in line for line in said)


def problems_of(path: Path) -> list[str]:
    """The complaints about a file; none if it loads and its resolved text loads to the same."""
    try:
        options = load_options(path)
    except OptionsError as error:
        return error.problems or ["an error without a problem"]
    again = path.with_name("again.yml")
    again.write_text(options.to_yaml(), encoding="utf-8")
    assert load_options(again) == options
    return []
