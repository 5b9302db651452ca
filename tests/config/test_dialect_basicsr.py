from collections.abc import Callable

from srcx.config import Options

Load = Callable[..., Options]


def test_keys_at_the_old_place_count_at_the_new_one(load: Load) -> None:
    options = load({"scale: 4": "scale: 4\nsuffix: end\nsave_img: true\ncrop_border: ~"})
    assert (options.val.suffix, options.val.save_img) == ("end", True)
    assert options.where("val.save_img") == "x.yml:5"


def test_the_new_place_wins(load: Load) -> None:
    assert (
        load({"scale: 4": "scale: 4\nsave_img: true", "val:\n": "val:\n  save_img: false\n"}).val.save_img
        is False
    )


def test_the_old_place_works_without_a_val_section(load: Load) -> None:
    val = "val:\n  metrics:\n    psnr: {type: calculate_psnr, crop_border: 4}\n"
    assert load({val: "save_img: true\n"}).val.save_img is True


def test_a_crop_border_at_the_old_place_must_be_null(complaints: Callable[..., list[str]]) -> None:
    (line,) = complaints({"scale: 4": "scale: 4\ncrop_border: 4"})
    assert line.startswith("x.yml:4: crop_border: unknown option")


def test_a_wrong_value_keeps_its_old_line(complaints: Callable[..., list[str]]) -> None:
    (line,) = complaints({"scale: 4": "scale: 4\nsave_img: 3"})
    assert line == "x.yml:4: save_img: expected true or false, got 3"


def test_use_grad_clip_is_the_norm_the_forks_of_basicsr_clip_at(load: Load) -> None:
    for given, norm in [("true", 0.01), ("false", None)]:
        options = load({"0.9\n": f"0.9\n  use_grad_clip: {given}\n"})
        assert options.train is not None
        assert options.train.grad_clip == norm
    options = load({"0.9\n": "0.9\n  use_grad_clip: true\n  grad_clip: 0.5\n"})
    assert options.train is not None
    assert options.train.grad_clip == 0.5
