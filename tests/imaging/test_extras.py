import logging

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from srcx.imaging import read_picture, read_with_extras, write_picture

RGB = np.add.outer(np.arange(12) * 9, np.arange(10) * 5).astype(np.uint8)[..., None].repeat(3, 2)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BASE = ExifTags.Base


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[BASE.Make], exif[BASE.Orientation], exif[BASE.ImageWidth] = "Camera", 6, 10
    exif.get_ifd(ExifTags.IFD.Exif).update({BASE.FNumber: 2.8, BASE.ExifImageWidth: 10})
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    exif[ExifTags.IFD.Exif] = exif.get_ifd(ExifTags.IFD.Exif)
    exif[ExifTags.IFD.GPSInfo] = exif.get_ifd(ExifTags.IFD.GPSInfo)
    return exif


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "avif", "tiff"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif", "tiff"])
def test_profile_and_exif_are_kept_from_every_format_into_every_format(tmp_path, source, target):
    Image.fromarray(RGB).save(tmp_path / f"in.{source}", icc_profile=SRGB, exif=camera_exif())
    pixels, extras = read_with_extras(tmp_path / f"in.{source}")
    assert pixels.shape == (10, 12, 3), "upright"
    write_picture(tmp_path / f"out.{target}", pixels, extras=extras)
    np.testing.assert_allclose(read_picture(tmp_path / f"out.{target}").astype(int), pixels, atol=3)
    with Image.open(tmp_path / f"out.{target}") as kept:
        assert kept.info["icc_profile"] == SRGB
        exif = kept.getexif()
        shot, place = (dict(exif.get_ifd(part)) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    assert exif[BASE.Make] == "Camera"
    assert exif.get(BASE.Orientation, 1) == 1, "the pixels are upright already"
    assert shot[BASE.FNumber] == pytest.approx(2.8)
    assert BASE.ExifImageWidth not in shot, "the size of the small picture"
    assert place[ExifTags.GPS.GPSLatitudeRef] == "N"


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_keep_their_profile(tmp_path, suffix, channels):
    write_picture(tmp_path / "in.png", RGB, extras=read_with_extras(saved(tmp_path, icc_profile=SRGB))[1])
    _, extras = read_with_extras(tmp_path / "in.png")
    fine = (np.dstack([RGB, RGB])[..., :channels].astype(np.uint16) * 257) ^ 0x5A
    write_picture(tmp_path / f"out.{suffix}", fine, extras=extras)
    again, kept = read_with_extras(tmp_path / f"out.{suffix}")
    np.testing.assert_array_equal(again, fine)
    assert kept.icc == SRGB


def saved(folder, picture=RGB, name="x.jpg", **options):
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(folder / name, **options)
    return folder / name


def test_a_profile_of_other_colours_is_left_out(tmp_path):
    path = saved(tmp_path, RGB[..., 0], icc_profile=SRGB)
    assert read_with_extras(path)[1].icc == b""


@pytest.mark.parametrize(
    "damage", [{"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}, {"icc_profile": b"no profile"}]
)
def test_damaged_extras_are_left_out_and_the_picture_is_read(tmp_path, damage):
    pixels, extras = read_with_extras(saved(tmp_path, **damage))
    assert pixels.shape == (12, 10, 3)
    assert not any(extras)


def test_a_picture_without_extras_has_none(tmp_path):
    assert not any(read_with_extras(saved(tmp_path))[1])


def test_cmyk_becomes_rgb_with_a_word(tmp_path, caplog):
    path = saved(tmp_path, Image.fromarray(RGB).convert("CMYK"), quality=100)
    with caplog.at_level(logging.WARNING):
        pixels = read_picture(path)
    np.testing.assert_allclose(pixels.astype(int), RGB, atol=4)
    assert caplog.messages == [f"{path}: CMYK is made RGB without a colour profile, so by the plain formula"]


def test_cmyk_with_a_profile_is_converted_by_it(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(
        ImageCms,
        "profileToProfile",
        lambda picture, *profiles, outputMode: Image.new(outputMode, picture.size, "red"),
    )
    path = saved(tmp_path, Image.fromarray(RGB).convert("CMYK"), icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:])
    pixels, extras = read_with_extras(path)
    assert (pixels == (255, 0, 0)).all()
    assert extras.icc == b""
    assert "by its own colour profile, into sRGB" in caplog.text
