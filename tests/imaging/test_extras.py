import io
import logging
import math
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from srcx.imaging import image_size, read_image, read_with_extras, write_image
from srcx.imaging.decode import decode_image

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
def test_profile_and_exif_are_copied_from_every_format_into_every_format(tmp_path, source, target):
    Image.fromarray(RGB).save(tmp_path / f"in.{source}", icc_profile=SRGB, exif=camera_exif())
    pixels, extras = read_with_extras(tmp_path / f"in.{source}")
    assert pixels.shape == (10, 12, 3), "upright"
    write_image(tmp_path / f"out.{target}", pixels, extras=extras)
    np.testing.assert_allclose(read_image(tmp_path / f"out.{target}").astype(int), pixels, atol=3)
    with Image.open(tmp_path / f"out.{target}") as copied:
        assert copied.info["icc_profile"] == SRGB
        exif = copied.getexif()
        shot, place = (dict(exif.get_ifd(part)) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    assert exif[BASE.Make] == "Camera"
    assert exif.get(BASE.Orientation, 1) == 1, "the pixels are upright already"
    assert shot[BASE.FNumber] == pytest.approx(2.8)
    assert BASE.ExifImageWidth not in shot, "the size of the small image"
    assert place[ExifTags.GPS.GPSLatitudeRef] == "N"


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_keep_their_profile(tmp_path, suffix, channels):
    write_image(tmp_path / "in.png", RGB, extras=read_with_extras(saved(tmp_path, icc_profile=SRGB))[1])
    _, extras = read_with_extras(tmp_path / "in.png")
    fine = (np.dstack([RGB, RGB])[..., :channels].astype(np.uint16) * 257) ^ 0x5A
    write_image(tmp_path / f"out.{suffix}", fine, extras=extras)
    again, copied = read_with_extras(tmp_path / f"out.{suffix}")
    np.testing.assert_array_equal(again, fine)
    assert copied.icc == SRGB


def saved(folder, image=RGB, name="x.jpg", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def test_a_profile_of_other_colours_is_left_out(tmp_path):
    path = saved(tmp_path, RGB[..., 0], icc_profile=SRGB)
    assert read_with_extras(path)[1].icc == b""


@pytest.mark.parametrize(
    "damage", [{"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}, {"icc_profile": b"no profile"}]
)
def test_damaged_extras_are_left_out_and_the_image_is_read(tmp_path, damage):
    pixels, extras = read_with_extras(saved(tmp_path, **damage))
    assert pixels.shape == (12, 10, 3)
    assert not any(extras)


def test_warnings_of_pillow_stay_quiet_after_a_program_has_added_a_filter(tmp_path):
    path = saved(tmp_path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    for _ in range(2):
        warnings.filterwarnings("error")
        assert not any(read_with_extras(path)[1])


def test_a_image_without_extras_has_none(tmp_path):
    assert not any(read_with_extras(saved(tmp_path))[1])


def test_cmyk_becomes_rgb_with_a_word(tmp_path, caplog):
    path = saved(tmp_path, Image.fromarray(RGB).convert("CMYK"), quality=100)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # the second time without the word
            pixels = read_image(path)
    np.testing.assert_allclose(pixels.astype(int), RGB, atol=4)
    assert caplog.messages == [
        f"{path}: CMYK is converted to sRGB: it has no colour profile, so a simple formula is used and "
        "colours may be off"
    ]


def test_cmyk_of_16_bits_warns_of_8_bits(caplog):
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((8, 8, 4), 30000, np.uint16), photometric="separated")
    assert decode_image(file.getvalue(), "x").dtype == np.uint8
    assert caplog.messages[0].endswith("colours may be off; its 16 bits per sample are reduced to 8")


def test_cmyk_with_a_profile_is_converted_by_it(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(
        ImageCms,
        "profileToProfile",
        lambda image, *profiles, outputMode: Image.new(outputMode, image.size, "red"),
    )
    path = saved(tmp_path, Image.fromarray(RGB).convert("CMYK"), icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:])
    pixels, extras = read_with_extras(path)
    assert (pixels == (255, 0, 0)).all()
    assert extras.icc == b""
    assert "converted to sRGB: by its own colour profile" in caplog.text


@pytest.mark.parametrize("target", ["jpg", "jfif", "png", "webp", "avif", "tiff", "bmp"])
@pytest.mark.parametrize("source", ["jpg", "png", "tiff", "bmp"])
def test_resolution_is_copied(tmp_path, source, target):
    Image.fromarray(RGB).save(tmp_path / f"in.{source}", dpi=(300, 150))
    pixels, extras = read_with_extras(tmp_path / f"in.{source}")
    write_image(tmp_path / f"out.{target}", pixels, extras=extras)
    assert read_with_extras(tmp_path / f"out.{target}")[1].dpi == pytest.approx((300, 150), abs=0.1)


def test_resolution_of_16_bit_colours_is_copied(tmp_path):
    _, extras = read_with_extras(saved(tmp_path, dpi=(300, 300)))
    write_image(tmp_path / "out.tif", RGB.astype(np.uint16), extras=extras)
    assert read_with_extras(tmp_path / "out.tif")[1].dpi == pytest.approx((300, 300))


def test_resolution_and_exif_data_share_a_webp(tmp_path):
    _, extras = read_with_extras(saved(tmp_path, exif=camera_exif(), dpi=(300, 300)))
    write_image(tmp_path / "out.webp", RGB, extras=extras)
    with Image.open(tmp_path / "out.webp") as copied:
        exif = copied.getexif()
        assert (exif[BASE.Make], exif[BASE.XResolution]) == ("Camera", 300)
        assert exif.get_ifd(ExifTags.IFD.Exif)[BASE.FNumber] == pytest.approx(2.8)


def test_a_resolution_that_says_nothing_is_left_out(tmp_path):
    for name, options in {"no.jpg": {}, "no.png": {}, "zero.bmp": {"dpi": (0, 0)}}.items():
        assert read_with_extras(saved(tmp_path, name=name, **options))[1].dpi is None


def by_hand(entries):
    """EXIF data with a maker, an orientation and, in its Exif part, entries (tag, type, count, 8 bytes)."""
    first = struct.pack("<H", 3) + struct.pack("<HHI4s", 0x010F, 2, 4, b"abc\0")
    first += struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x8769, 4, 1, 50) + bytes(4)
    values_at = 50 + 2 + 12 * len(entries) + 4
    part = struct.pack("<H", len(entries))
    for place, (tag, kind, count, _) in enumerate(entries):
        part += struct.pack("<HHII", tag, kind, count, values_at + 8 * place)
    values = b"".join(value for *_, value in entries)
    return b"II*\0\x08\0\0\0" + first + part + bytes(4) + values


@pytest.mark.parametrize("value", [(-2, 0), (-7, 3)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_entry_that_cannot_be_written_is_left_out_alone(tmp_path, kind, value):
    exposure, aperture = (
        (0x829A, 10, 1, struct.pack("<ii", *value)),
        (0x829D, 5, 1, struct.pack("<II", 28, 10)),
    )
    data = by_hand([exposure, aperture])
    path = tmp_path / "x"
    if kind == "TIFF":  # an image whose own tags are such
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + by_hand([aperture]))
        Image.fromarray(RGB).save(path, kind, exif=exif)
        path.write_bytes(path.read_bytes().replace(struct.pack("<II", 28, 10), struct.pack("<ii", *value)))
    else:
        file = io.BytesIO()
        Image.fromarray(RGB).save(file, kind, exif=b"Exif\0\0" + data)
        path.write_bytes(file.getvalue())
    pixels, extras = read_with_extras(path)
    assert pixels.shape == (10, 12, 3), "upright"
    assert image_size(path) == (10, 12)
    write_image(tmp_path / "out.png", pixels, extras=extras)
    with Image.open(tmp_path / "out.png") as copied:
        assert copied.getexif()[BASE.Make] == "abc"
        if kind != "TIFF":
            shot = dict(copied.getexif().get_ifd(ExifTags.IFD.Exif))
            assert shot.pop(0x829D) == pytest.approx(2.8)
            if value == (-2, 0):
                assert math.isnan(shot.pop(0x829A, math.nan)), "Pillow 13 writes what it cannot say as nan"
            assert shot == ({} if value == (-2, 0) else {0x829A: pytest.approx(-7 / 3)})


def test_an_orientation_of_another_type_counts_as_none(tmp_path):
    data = by_hand([]).replace(
        struct.pack("<HHII", 0x0112, 3, 1, 6), struct.pack("<HHI4s", 0x0112, 2, 4, b"6\0\0\0")
    )
    path = saved(tmp_path, exif=b"Exif\0\0" + data)
    assert image_size(path) == read_image(path).shape[:2] == (12, 10)


def test_exif_data_too_long_for_jpeg_is_left_out_with_a_word(tmp_path, caplog):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[BASE.UserComment] = b"ASCII\0\0\0" + b"x" * 70_000
    exif[ExifTags.IFD.Exif] = exif.get_ifd(ExifTags.IFD.Exif)
    pixels, extras = read_with_extras(saved(tmp_path, name="x.png", exif=exif))
    for name in ("out.jpg", "out.jpeg", "out.jfif", "out.webp", "out.png"):
        write_image(tmp_path / name, pixels, extras=extras)
        long = len(read_with_extras(tmp_path / name)[1].exif) > 70_000
        assert long == (name in ("out.webp", "out.png"))
    assert [message.split(": ")[1] for message in caplog.messages] == [
        f"{suffix} holds 64 KiB of EXIF data and there are 68; it is left out"
        for suffix in (".jpg", ".jpeg", ".jfif")
    ]
    longest = extras._replace(exif=extras.exif[: 65_533 - 6])
    write_image(tmp_path / "longest.jpg", pixels, extras=longest)


def png_with(*chunks):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    plain = file.getvalue()
    return plain[:33] + b"".join(chunk(*each) for each in chunks) + plain[33:]


LARGE_ICC = struct.pack(">I", 3_000_000) + SRGB[4:] + os.urandom(3_000_000 - len(SRGB))
LARGE_CHUNKS = {
    "profile": (b"iCCP", b"x\0\0" + zlib.compress(LARGE_ICC)),
    "endless profile": (b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 25))),
    "xmp": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/> " * 600_000)),
    "plain xmp": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/> " * 600_000),
    "text": (b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"00 " * 900_000)),
}


@pytest.mark.parametrize("name", LARGE_CHUNKS)
def test_a_png_with_a_large_profile_or_text_is_read(tmp_path, name):
    (tmp_path / "x.png").write_bytes(png_with(LARGE_CHUNKS[name]))
    assert image_size(tmp_path / "x.png") == (12, 10)
    pixels, extras = read_with_extras(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels, RGB)
    assert extras.icc == (LARGE_ICC if name == "profile" else b"")


def test_many_texts_are_read(tmp_path):
    text = (b"zTXt", b"x\0\0" + zlib.compress(bytes([65]) * (1 << 20)))
    (tmp_path / "x.png").write_bytes(png_with(*[text] * 70))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), RGB)


def test_srcx_reads_the_png_it_writes_with_a_large_profile(tmp_path):
    pixels, extras = read_with_extras(saved(tmp_path, icc_profile=LARGE_ICC))
    write_image(tmp_path / "out.png", pixels, extras=extras)
    assert read_with_extras(tmp_path / "out.png")[1].icc == LARGE_ICC


COLOURS = {
    "linear": ((b"gAMA", struct.pack(">I", 100_000)),),
    "wide": (
        (b"gAMA", struct.pack(">I", 45_455)),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)),
    ),
    "hdr": ((b"cICP", bytes([9, 16, 0, 1])),),
    "srgb": ((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45_455))),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colour_chunks_stay_in_png_and_are_named_where_another_format_drops_them(tmp_path, name, caplog):
    (tmp_path / "x.png").write_bytes(png_with(*COLOURS[name]))
    pixels, extras = read_with_extras(tmp_path / "x.png")
    write_image(tmp_path / "out.png", pixels, extras=extras)
    assert read_with_extras(tmp_path / "out.png")[1].colours == COLOURS[name]
    assert caplog.messages == []
    write_image(tmp_path / "out.jpg", pixels, extras=extras)
    names = ", ".join(name.decode() for name, _ in COLOURS[name])
    dropped = f"out.jpg: .jpg cannot hold the colours of the PNG ({names}); choose .png to keep them"
    assert caplog.messages == ([] if name == "srgb" else [f"{tmp_path}/{dropped}"])


@pytest.mark.parametrize("target", ["webp", "avif"])
def test_a_grey_profile_does_not_stay_on_rgb(tmp_path, target):
    grey_icc = SRGB[:16] + b"GRAY" + SRGB[20:]
    pixels, extras = read_with_extras(saved(tmp_path, RGB[..., 0], icc_profile=grey_icc))
    assert extras.icc == grey_icc
    write_image(tmp_path / f"out.{target}", pixels, extras=extras)
    with Image.open(tmp_path / f"out.{target}") as copied:
        assert (copied.mode, copied.info.get("icc_profile")) == ("RGB", None)
