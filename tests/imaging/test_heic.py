"""HEIC, by the package of the extra `heic`."""

import io
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from srcx.errors import ImageError
from srcx.imaging import decode_image, image_size, list_images, read_image, read_with_extras, write_image

pillow_heif = pytest.importorskip("pillow_heif")

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def image(rng) -> np.ndarray:
    """Smooth, so that it is stored nearly as it is."""
    ramp = np.linspace(0, 255, 24)
    return np.stack([np.tile(ramp, (16, 1)), np.tile(ramp[::-1], (16, 1)), np.full((16, 24), 90)], 2).astype(
        np.uint8
    )


def heic(*images: np.ndarray, **settings) -> bytes:
    """A file of one or several images."""
    pillow_heif.register_heif_opener()
    first, *others = map(Image.fromarray, images)
    file = io.BytesIO()
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(file, "HEIF", quality=-1, chroma=444, **more, **settings)
    return file.getvalue()


def test_colours_alpha_and_grey_are_read(image):
    assert np.abs(decode_image(heic(image), "x").astype(int) - image).max() <= 2
    alpha = np.dstack([image, image[..., :1]])
    assert np.abs(decode_image(heic(alpha), "x").astype(int) - alpha).max() <= 2
    assert np.abs(decode_image(heic(image[..., 0]), "x").astype(int) - image[..., 0]).max() <= 2


def test_it_is_upright_and_keeps_profile_and_exif(image, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "A phone"
    (tmp_path / "x.heic").write_bytes(heic(image, exif=exif.tobytes(), icc_profile=SRGB))
    pixels, extras = read_with_extras(tmp_path / "x.heic")
    assert np.abs(pixels.astype(int) - np.rot90(image, -1)).max() <= 2
    assert image_size(tmp_path / "x.heic") == pixels.shape[:2]
    assert extras.icc == SRGB
    write_image(tmp_path / "x.jpg", pixels, extras=extras)
    with Image.open(tmp_path / "x.jpg") as written:
        copied = written.getexif()
    assert copied[ExifTags.Base.Make] == "A phone"
    assert ExifTags.Base.Orientation not in copied


def test_of_several_images_the_one_to_show_is_read(image):
    pixels = decode_image(heic(255 - image, image, primary_index=1), "x")
    assert np.abs(pixels.astype(int) - image).max() <= 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_damaged_file_is_one_sentence(image, share, tmp_path):
    data = heic(image)
    (tmp_path / "x.heic").write_bytes(data[: int(len(data) * share)])
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"x\.heic: is damaged or cut off"):
            read(tmp_path / "x.heic")


def test_too_large_an_image_is_refused_before_it_is_decoded(image):
    with pytest.raises(ImageError, match="has 24 x 16 pixels"):
        decode_image(heic(image), "x", max_pixels=100)


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_without_the_package_the_message_says_what_to_install(monkeypatch, brand):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"is a HEIC file, which is not read .* pip install 'srcx\[heic\]'"):
        decode_image(HEAD.replace(b"ftypheic", b"ftyp" + brand) + bytes(50), "x")


def test_a_folder_lists_heic_and_names_the_rest(tmp_path, caplog):
    for name in ("a.HEIC", "b.heif", "c.png", "d.jxl"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.HEIC", "b.heif", "c.png"]
    assert caplog.messages == [f"{tmp_path}: 1 files are left out, srcx does not read their format: d.jxl"]
