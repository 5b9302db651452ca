import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from srcx.config import DegradationOptions, degradation_names, load_degradation
from srcx.config.degradation import Filters, Kernels
from srcx.errors import OptionsError


def problems(write, text):
    with pytest.raises(OptionsError) as raised:
        load_degradation(write(text))
    return raised.value.problems


@pytest.mark.parametrize("name", degradation_names())
def test_every_preset_is_right_and_does_something(name):
    assert load_degradation(name).final.compression is not None


def test_the_presets_are_those_of_the_documentation():
    assert degradation_names() == ["old", "phone", "web"]


def test_an_empty_description_is_matlabs_bicubic_alone():
    options = DegradationOptions()
    assert options.passes == ()
    assert options.final.filters == Filters(bicubic_antialiased=1)
    assert (options.final.sinc_prob, options.final.compression, options.clean_prob) == (0, None, 0)


def test_a_stage_left_out_is_none_and_an_empty_one_has_its_defaults(write):
    options = load_degradation(write("passes: [{noise: {}, blur: null}]\n"))
    (one,) = options.passes
    assert (one.blur, one.resize, one.compression) == (None, None, None)
    assert one.noise.sigma == (1, 30)


def test_all_mistakes_are_said_at_once_each_with_its_line_and_the_nearest_word(write):
    text = """\
clean_prob: 1.5
sharpn_gt: true
passes:
  - blur: {kernels: {iso: 0.5, anisoo: 0.5}, size_px: [8, 21], sigma: [3, 1]}
    resize: {up_prob: 0.7, down_prob: 0.7}
    noise: {sigma: [1, 300], grey_prob: -1}
    compression: {quality: [0, 90]}
  - resize: {factor: [0.2, 0.9]}
final:
  filters: {bicubic: 0.4, area: 0.4}
  compression: {webp_prob: x}
"""
    assert problems(write, text) == [
        "x.yml:1: clean_prob: expected a number up to 1, got 1.5",
        "x.yml:2: sharpn_gt: unknown option; did you mean 'sharpen_gt'?",
        "x.yml:4: passes[0].blur.kernels.anisoo: unknown option; did you mean 'aniso'?",
        "x.yml:4: passes[0].blur.size_px: expected a range [low, high] of odd kernel sizes from 3 to 255, "
        "got [8, 21]",
        "x.yml:4: passes[0].blur.sigma: expected a range [low, high] with low at most high, got [3, 1]",
        "x.yml:5: passes[0].resize: up_prob and down_prob add up to 1.4, more than 1",
        "x.yml:6: passes[0].noise.sigma: expected a range [low, high] from 0 to 255, got [1, 300]",
        "x.yml:6: passes[0].noise.grey_prob: expected a number from 0 on, got -1",
        "x.yml:7: passes[0].compression.quality: expected a range [low, high] from 1 to 100, got [0, 90]",
        "x.yml:8: passes[1].resize: factor must be a range from at most 1 to at least 1",
        "x.yml:10: final.filters: the shares add up to 0.8, not to 1",
        "x.yml:11: final.compression.webp_prob: expected a number, got 'x'",
    ]


@pytest.mark.parametrize(
    ("stage", "wrong", "expected"),
    [
        ("blur", "size_px: [1, 3]", "a range [low, high] of odd kernel sizes from 3 to 255"),
        ("blur", "size_px: [9, 7]", "a range [low, high] of odd kernel sizes from 3 to 255"),
        ("blur", "size_px: [7, 9, 11]", "a range [low, high] of odd kernel sizes from 3 to 255"),
        ("blur", "size_px: [253, 257]", "a range [low, high] of odd kernel sizes from 3 to 255"),
        ("blur", "size_px: 7", "a list"),
        ("blur", "sigma: [0, 1]", "a range [low, high] from 0.01 on"),
        ("blur", "sigma: [1]", "a range [low, high] with low at most high"),
        ("blur", "beta_generalized: [0, 1]", "a range [low, high] from 0.01 on"),
        ("blur", "beta_plateau: [2, 1]", "a range [low, high] with low at most high"),
        ("resize", "factor: [0, 1]", "a range [low, high] from 0.05 to 8"),
        ("resize", "factor: [1, 9]", "a range [low, high] from 0.05 to 8"),
        ("resize", "of: gtt", "one of 'gt' or 'lq'"),
        ("noise", "sigma: [-1, 1]", "a range [low, high] from 0 to 255"),
        ("noise", "poisson_scale: [-1, 1]", "a range [low, high] from 0 on"),
        ("noise", "poisson_scale: [.nan, 1]", "a finite number"),
        ("noise", "prob: 2", "a number up to 1"),
        ("compression", "quality: [30, 101]", "a range [low, high] from 1 to 100"),
        ("compression", "twice_prob: [0, 1]", "a number"),
    ],
)
def test_a_wrong_value_says_what_was_expected(write, stage, wrong, expected):
    (problem,) = problems(write, f"passes: [{{{stage}: {{{wrong}}}}}]\n")
    assert f": expected {expected}, got " in problem


def test_the_largest_kernel_is_possible(write):
    (blur,) = (
        one.blur for one in load_degradation(write("passes: [{blur: {size_px: [255, 255]}}]\n")).passes
    )
    assert blur.size_px == (255, 255)


@pytest.mark.parametrize("kind", [Kernels, Filters])
def test_shares_add_up_to_1_as_near_as_people_write_thirds(kind):
    first, second, third = list(kind.model_fields)[:3]
    assert kind(**{first: 0.33, second: 0.33, third: 0.33}).as_dict()[third] == 0.33
    assert kind(**{first: 1.0}).as_dict()[second] == 0
    for wrong in ({first: 0.5, second: 0.48}, {first: 0.6, second: 0.42}, {}):
        with pytest.raises(ValidationError, match="the shares add up to "):
            kind(**wrong)


@pytest.mark.parametrize(
    ("up", "down", "factor"), [(0, 0.5, [0.5, 0.9]), (0.5, 0, [1.1, 2]), (0, 0, [2, 3]), (0.5, 0.5, [1, 1])]
)
def test_the_factor_needs_to_reach_only_where_it_is_used(write, up, down, factor):
    text = f"passes: [{{resize: {{up_prob: {up}, down_prob: {down}, factor: {factor}}}}}]\n"
    assert load_degradation(write(text)).passes[0].resize.factor == tuple(factor)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wob", "unknown degradation 'wob'; known are old, phone, web; did you mean 'web'?"),
        ("1/2", "unknown degradation '1/2'; known are old, phone, web; a file's name ends in .yml"),
        ("gone.yml", "gone.yml: cannot read this option file: No such file or directory"),
    ],
)
def test_an_unknown_name_and_a_missing_file_are_said(name, sentence):
    with pytest.raises(OptionsError) as raised:
        load_degradation(name)
    assert str(raised.value) == sentence


def test_a_preset_s_name_is_no_file_of_the_current_folder(write):
    write("clean_prob: 1\n")
    Path("x.yml").rename("web")
    assert load_degradation("web").clean_prob == 0


def test_only_the_data_set_that_makes_lq_takes_a_degradation(complaints):
    (problem,) = complaints({"    gt_size: 32": "    gt_size: 32\n    degradation: {clean_prob: 1}"})
    assert problem == (
        "x.yml:11: datasets.train.degradation: PairedImageDataset has no such option, "
        "HighResolutionDataset has it; remove this"
    )


def test_mistakes_of_a_degradation_in_an_option_file_are_said_too(complaints):
    changes = {
        "PairedImageDataset": "HighResolutionDataset",
        "    dataroot_lq: lq\n": "",
        "    gt_size: 32": "    gt_size: 32\n    degradation: {clean_prop: 1, passes: [{noise: {sigma: 3}}]}",
    }
    assert sorted(complaints(changes)) == [
        "x.yml:10: datasets.train.degradation.clean_prop: unknown option; did you mean 'clean_prob'?",
        "x.yml:10: datasets.train.degradation.passes[0].noise.sigma: expected a list, got 3",
    ]


def test_the_example_of_the_documentation_is_right(write):
    page = (Path(__file__).parents[2] / "docs/degradation.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0].split("    degradation:\n")[1]
    options = load_degradation(write(textwrap.dedent(example)))
    assert options.clean_prob == 0.2
    assert options.final.compression.twice_prob == 0.2
