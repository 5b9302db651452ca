import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms

from srcx import load_model, upscale
from srcx.archs import MSRResNet
from srcx.errors import ImageError, UsageError
from srcx.imaging import read_image, write_image
from srcx.inference import Model, Upscaler
from srcx.inference.kinds import take
from srcx.weights import save_state

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 256, (9, 7, 3), np.uint8)


@pytest.fixture
def net(tmp_path):
    """The checkpoint of a small network."""
    path = tmp_path / "net.safetensors"
    save_state(path, MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict())
    return path


def chw(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


def test_bytes_as_a_tensor_are_upscaled_like_the_array(image):
    expected = chw(upscale(image, "bicubic"))
    assert torch.equal(upscale(chw(image), "bicubic"), expected)
    assert torch.equal(upscale(chw(image)[None], "bicubic"), expected[None])
    assert torch.equal(upscale(chw(image)[:1], "bicubic"), expected[:1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_floats_come_back_as_floats_in_0_to_1(image, dtype):
    lq = (chw(image) / 255).to(dtype)
    sr = upscale(torch.stack([lq, lq.flip(-1)]), "bicubic")
    assert (sr.shape, sr.dtype) == ((2, 3, 36, 28), dtype)
    assert 0 <= sr.min() <= sr.max() <= 1
    rounded = 2 / 255 + (1 / 64 if dtype == torch.bfloat16 else 0)
    assert (sr[0].double() - chw(upscale(image, "bicubic")) / 255).abs().max() <= rounded
    assert (sr[1] - sr[0].flip(-1)).abs().max() <= 2e-2


def test_floats_are_finer_than_8_bits(image):
    flat = torch.full((1, 3, 4, 4), 0.5003)
    assert (upscale(flat, "bicubic") - 0.5003).abs().max() < 1e-5


def test_a_tensor_is_computed_by_the_network_that_has_been_loaded(image, net):
    model = load_model(net, precision="fp32", backend="torch")
    assert (model(chw(image) / 255) - chw(model(image)) / 255).abs().max() <= 0.51 / 255


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_pil_image_comes_back_in_its_mode(mode, image, rng):
    alpha = rng.integers(0, 256, (9, 7), np.uint8)
    pixels = {
        "L": image[..., 0],
        "RGB": image,
        "RGBA": np.dstack([image, alpha]),
        "I;16": image[..., 0].astype(np.uint16) * 257,
    }[mode]
    result = upscale(Image.fromarray(pixels), "bicubic")
    assert (result.mode, result.size) == (mode, (28, 36))
    np.testing.assert_array_equal(np.asarray(result), upscale(pixels, "bicubic"))


def test_a_pil_image_of_another_mode_becomes_rgb(image):
    palette = Image.fromarray(image).convert("P")
    np.testing.assert_array_equal(
        np.asarray(upscale(palette, "bicubic")), upscale(np.asarray(palette.convert("RGB")), "bicubic")
    )


def test_a_pil_image_is_turned_upright_and_keeps_its_profile(image):
    turned = Image.fromarray(image)
    turned.info["icc_profile"] = SRGB
    turned.getexif()[ExifTags.Base.Orientation] = 6
    result = upscale(turned, "bicubic")
    assert result.size == (36, 28)
    assert result.info["icc_profile"] == SRGB
    assert not result.getexif()
    turned.info["icc_profile"] = SRGB[:16] + b"CMYK" + SRGB[20:]
    assert "icc_profile" not in upscale(turned, "bicubic").info


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_path_is_read_and_becomes_an_array(image, tmp_path, kind):
    write_image(tmp_path / "x.png", image)
    np.testing.assert_array_equal(upscale(kind(tmp_path / "x.png"), "bicubic"), upscale(image, "bicubic"))


def test_the_file_counts_where_the_model_is_chosen(image, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "srcx.inference.automatic.AutoUpscaler.choose",
        lambda self, image, file=None: seen.append(file) or self.load("bicubic").choose(image),
    )
    write_image(tmp_path / "x.jpg", image)
    upscale(tmp_path / "x.jpg")
    upscale(image)
    assert seen == [tmp_path / "x.jpg", None]


WRONG = [
    (torch.zeros(3, 4), r"expected a tensor \(N, C, H, W\) or \(C, H, W\) of 1 .* got shape \(3, 4\)"),
    (torch.zeros(1, 2, 4, 4), r"got shape \(1, 2, 4, 4\)"),
    (torch.zeros(1, 3, 0, 4), r"got shape \(1, 3, 0, 4\)"),
    (torch.full((3, 4, 4), 255.0), r"float tensor in \[0, 1\]; got values from 255 to 255: divide by"),
    (torch.full((3, 4, 4), float("nan")), "got values from nan to nan"),
    (torch.zeros(3, 4, 4, dtype=torch.int64), r"a uint8 tensor; got torch\.int64"),
    ([[1, 2]], "a tensor, a PIL image or a path; got list"),
    (np.zeros((4, 4), np.float32), r"expected a uint8 or uint16 array, .*; got float32 of shape \(4, 4\)"),
    (Image.new("LAB", (4, 4)), "upscale: has pixels of the kind LAB"),
    (Image.new("F", (4, 4)), "upscale: has pixels of the kind F"),
    ("gone.png", r"gone\.png: this file does not exist"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[sentence[:30] for _, sentence in WRONG])
def test_anything_else_is_one_sentence(wrong, sentence):
    with pytest.raises(ImageError, match=sentence):
        upscale(wrong, "bicubic")


def test_the_scale_is_an_argument_of_upscale(image):
    assert upscale(image, "bicubic", scale=1.5).shape == (14, 11, 3)


def _settings(model: Upscaler) -> str:
    """The text of an upscaler without the engine that it last used."""
    return repr(model).partition(", engine")[0].removesuffix(")")


@pytest.mark.parametrize("name", ["bicubic", "auto", "net"])
def test_an_upscaler_can_be_pickled_and_copied_after_use(name, image, net):
    settings = {"tile": 16, "tta": name != "auto"} if name != "bicubic" else {}
    model = load_model(net if name == "net" else name, scale=3, **settings)
    expected = model(image)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert type(twin) is type(model)
        assert _settings(twin) == _settings(model)
        np.testing.assert_array_equal(twin(image), expected)


def test_the_repr_says_model_settings_and_engine(image, net):
    model = load_model(net, device="cpu", backend="torch", precision="fp32")
    settings = "tile='auto', precision='fp32', device='cpu', scale=2, tta=False, backend='torch'"
    settings += ", lock_color=False"
    assert repr(model) == f"Upscaler('net', {settings})"
    model(image)
    assert repr(model) == f"Upscaler('net', {settings}, engine='torch fp32')"


def test_arguments_of_other_types_are_one_sentence(net):
    with pytest.raises(UsageError, match="expected a Model, as find_model returns it; got str: load_model"):
        Upscaler("bicubic")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tta: expected True or False; got 'yes'"):
        load_model("bicubic", tta="yes")  # type: ignore[arg-type]
    for wrong in (3, load_model("bicubic")):
        with pytest.raises(UsageError, match="model: expected a name, a checkpoint or the folder of a run"):
            upscale(np.zeros((4, 4), np.uint8), wrong)  # type: ignore[call-overload]


def test_threads_share_an_upscaler_that_chooses(rng, monkeypatch):
    """Each model is loaded once."""
    loaded = []

    def find(name: str, *, fidelity: float) -> Model:
        loaded.append(name)
        time.sleep(0.05)
        return load_model("bicubic").model

    monkeypatch.setattr("srcx.inference.automatic.find_model", find)
    images = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(16)]
    model = load_model()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(model, images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result, upscale(image, "bicubic"))
    assert len(loaded) == len(set(loaded))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_pillow_image_without_pixels_is_one_sentence(mode, size):
    with pytest.raises(ImageError, match="upscale: expected an image with pixels; got shape"):
        upscale(Image.new(mode, size), "bicubic")


def test_a_pil_image_of_16_bits_is_read_as_its_file_is(rng, tmp_path):
    pixels = rng.integers(0, 65536, (9, 7), np.uint16)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "see_through.png", transparency=int(pixels[3, 3]))
    tifffile.imwrite(tmp_path / "white_is_zero.tif", pixels, photometric="miniswhite")
    for path in tmp_path.iterdir():
        result = take(Image.open(path)).arrays[0]
        np.testing.assert_array_equal(result, read_image(path), err_msg=path.name)
    assert take(Image.open(tmp_path / "turned.png")).arrays[0].shape == (7, 9)


def test_a_pil_image_of_every_mode_that_is_read_gives_pixels():
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LA", "PA", "La", "RGBa", "RGBX", "I;16"):
        assert take(Image.new(mode, (5, 4))).arrays[0].shape[:2] == (4, 5), mode


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy_are_as_good_as_pythons(net, kind):
    model = load_model(net, scale=kind(2), tile=np.int64(16))
    assert (type(model.scale) in (int, float), model.scale) == (True, 2)
    assert (type(model.tile), model.tile) == (int, 16)
    assert load_model("auto", fidelity=kind(0), scale=kind(4)).scale == 4
