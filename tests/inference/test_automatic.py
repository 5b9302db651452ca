"""The model "auto": each image goes to the model for clean or for damaged images."""

import io
import sys

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import srcx
from srcx.archs import MSRResNet
from srcx.errors import ImageError, UsageError
from srcx.imaging import imresize
from srcx.inference import automatic, bundled, load_model
from srcx.inference.bundled import automatic_models
from srcx.weights import save_state


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of bundled models."""
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    return tmp_path


def bundle(folder, *names: str) -> None:
    """Put small models there, each of other weights; the scale is the name's last figure."""
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        net = MSRResNet(num_feat=4, num_block=1, upscale=int(name.removesuffix(".parent")[-1]))
        save_state(folder / f"{name}.safetensors", net.state_dict(), metadata={"scale": name[-1]})
        (folder / f"{name}.md").write_text(f"# {name}: for tests\n")


@pytest.fixture
def clean() -> np.ndarray:
    return imresize(skimage.data.coffee(), scale=0.25)


@pytest.fixture
def damaged(clean) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(clean).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


TABLE = [
    ((), None, "bicubic", "bicubic"),
    (("srgan-cx-x4",), None, "srgan-cx-x4", "srgan-cx-x4"),
    (("srresnet-x4",), None, "srresnet-x4", "srresnet-x4"),
    (("srgan-cx-x4", "real-x4"), None, "srgan-cx-x4", "real-x4"),
    (("srgan-cx-x4", "real-x4"), 2, "srgan-cx-x4", "real-x4"),
    (("srgan-cx-x4", "real-x2"), None, "srgan-cx-x4", "real-x2"),
    (("srgan-cx-x4", "real-x4", "real-x2"), None, "srgan-cx-x4", "real-x4"),
    (("srgan-cx-x4", "real-x4", "real-x2"), 1, "srgan-cx-x4", "real-x2"),
    (("srgan-cx-x4", "real-x4", "real-x2"), 1.5, "srgan-cx-x4", "real-x2"),
    (("srgan-cx-x4", "real-x4", "real-x2"), 2, "srgan-cx-x4", "real-x2"),
    (("srgan-cx-x4", "real-x4", "real-x2"), 2.01, "srgan-cx-x4", "real-x4"),
    (("srgan-cx-x4", "real-x4", "real-x2"), 8, "srgan-cx-x4", "real-x4"),
]


@pytest.mark.parametrize(("names", "scale", "for_clean", "for_damaged"), TABLE)
def test_models_are_chosen_by_damage_and_scale_from_those_bundled(
    folder, clean, damaged, names, scale, for_clean, for_damaged
):
    bundle(folder, *names)
    assert automatic_models(scale) == (for_clean, for_damaged)
    upscaler = load_model(scale=scale)
    for image, name, words in ((clean, for_clean, "clean"), (damaged, for_damaged, "damaged: JPEG blocks")):
        chosen, reason = upscaler.choose(image)
        assert chosen.model.name == name
        assert reason.startswith(words) if for_clean != for_damaged else not reason
        assert chosen.scale == upscaler.scale == (4 if scale is None else scale), "all results of one size"


def test_the_result_is_that_of_the_chosen_model(folder, clean, damaged):
    bundle(folder, "srgan-cx-x4", "real-x4")
    for image, name in ((clean, "srgan-cx-x4"), (damaged, "real-x4")):
        expected = load_model(name)(image)
        for result in (srcx.upscale(image), srcx.upscale(image, "auto"), load_model(None)(image)):
            np.testing.assert_array_equal(result, expected)
    assert (srcx.upscale(damaged) != srcx.upscale(damaged, "srgan-cx-x4")).any()


def test_progress_is_that_of_the_chosen_model(folder, clean):
    bundle(folder, "srgan-cx-x4", "real-x4")
    steps = []
    load_model("auto")(clean, on_progress=lambda *step: steps.append(step))
    assert steps == [("tile", 1, 1)]


def test_a_model_is_loaded_once_and_only_if_it_is_needed(folder, clean, damaged, monkeypatch):
    bundle(folder, "srgan-cx-x4", "real-x4")
    loaded, real = [], automatic.find_model
    monkeypatch.setattr(
        automatic, "find_model", lambda name, **words: loaded.append(name) or real(name, **words)
    )
    upscaler = load_model()
    for image in (clean, clean, damaged, clean, damaged):
        upscaler(image)
        loaded.append("|")
    assert loaded == ["srgan-cx-x4", "|", "|", "real-x4", "|", "|", "|"]


def test_the_format_of_the_file_counts_too(folder, clean, tmp_path):
    bundle(folder, "srgan-cx-x4", "real-x4")
    Image.fromarray(clean).save(tmp_path / "a.jpg", quality=70)
    chosen, reason = load_model().choose(np.full((16, 16), 90, np.uint8), tmp_path / "a.jpg")
    assert (chosen.model.name, reason) == ("real-x4", "damaged: JPEG of quality 70")


def test_fidelity_goes_to_the_chosen_model(folder, clean, damaged):
    bundle(folder, "srgan-cx-x4", "srgan-cx-x4.parent", "real-x4", "real-x4.parent")
    upscaler = load_model(fidelity=0.5)
    assert upscaler.choose(clean).upscaler.model.name == "srgan-cx-x4-fidelity-0.5"
    np.testing.assert_array_equal(upscaler(damaged), load_model("real-x4", fidelity=0.5)(damaged))


def test_settings_that_one_of_the_models_lacks_are_an_error_before_the_first_image(folder, monkeypatch):
    bundle(folder, "srgan-cx-x4", "srgan-cx-x4.parent", "real-x4")
    with pytest.raises(UsageError, match=r"^real-x4: fidelity needs .* models that have them: srgan-cx-x4$"):
        load_model(fidelity=0.5)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(UsageError, match=r"^int8: needs nncf, which is not installed"):
        load_model(precision="int8")
    for words, complaint in (
        ({"fidelity": 2}, "fidelity: expected"),
        ({"scale": 0.5}, "scale: expected"),
        ({"tile": 3}, "tile: expected"),
        ({"backend": "none"}, "backend: expected"),
        ({"precision": "fp8"}, "precision: expected"),
    ):
        with pytest.raises(UsageError, match=complaint):
            load_model(**words)


def test_anything_but_an_image_is_refused(folder):
    with pytest.raises(ImageError, match="upscale: expected"):
        load_model()(np.zeros((4, 4), np.float32))


def test_auto_of_other_models_has_another_cache_key(folder):
    bundle(folder, "srgan-cx-x4")
    first = load_model().model
    bundle(folder, "srgan-cx-x4", "real-x4")
    second = load_model().model
    assert first.name == second.name == "auto"
    assert first.sha256 != second.sha256
