import contextlib
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

from srcx.errors import DataError, ImageError, OutputError
from srcx.imaging import io as io_module
from srcx.imaging.decode import decode_image, read_header
from srcx.imaging.io import IMAGE_SUFFIXES, image_size, list_images, read_image, write_image

RAMP = np.add.outer(np.arange(30) * 7, np.arange(20) * 2).astype(np.uint8)
RGB = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=-1)
RGBA = np.dstack([RGB, RAMP.T.reshape(30, 20)])


def wide(image):
    """16 bits that are not just the 8 bits twice."""
    return image.astype(np.uint16) * 257 ^ 0x5A


def encoded(image, kind, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(rows, depth, color_type, *chunks):
    """A PNG written by hand, for kinds no writer here makes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = rows.shape[:2]
    size = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    raw = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in rows)
    middle = b"".join(chunk(*each) for each in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + middle
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def tiff(image, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def runs_bmp(height, width):
    """A grey BMP of run lengths."""
    runs = b"".join(bytes([width, row, 0, 0]) for row in range(height))
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0) + palette
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(runs), 0, 0, 14 + len(head)) + head + runs


PALETTE = Image.fromarray(RGB).quantize(16)
GREY_ALPHA = np.dstack([RAMP, 255 - RAMP])

# What each kind of file must be read as; None leaves the values open (lossy, or a palette of few colours).
KINDS = {
    "grey.png": (encoded(RAMP, "PNG"), RAMP),
    "rgb.png": (encoded(RGB, "PNG"), RGB),
    "rgba.png": (encoded(RGBA, "PNG"), RGBA),
    "bits.png": (encoded(Image.fromarray(RAMP > 99), "PNG"), np.where(RAMP > 99, 255, 0).astype(np.uint8)),
    "grey16.png": (png(wide(RAMP), 16, 0), wide(RAMP)),
    "rgb16.png": (png(wide(RGB), 16, 2), wide(RGB)),
    "rgba16.png": (png(wide(RGBA), 16, 6), wide(RGBA)),
    "grey_alpha16.png": (png(wide(GREY_ALPHA), 16, 4), wide(GREY_ALPHA)[..., [0, 0, 0, 1]]),
    "grey_alpha.png": (encoded(GREY_ALPHA, "PNG"), GREY_ALPHA[..., [0, 0, 0, 1]]),
    "palette.png": (encoded(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "key.png": (
        png(RGB, 8, 2, (b"tRNS", struct.pack(">3H", *map(int, RGB[0, 0])))),
        np.dstack([RGB, np.where((RGB[0, 0] == RGB).all(axis=2), 0, 255).astype(np.uint8)]),
    ),
    "grey.bmp": (encoded(RAMP, "BMP"), RAMP),
    "rgb.bmp": (encoded(RGB, "BMP"), RGB),
    "rgb.webp": (encoded(RGB, "WEBP", lossless=True), RGB),
    "rgba.webp": (encoded(RGBA, "WEBP", lossless=True, exact=True), RGBA),
    "rgb.avif": (encoded(RGB, "AVIF", quality=100), None),
    "grey.jpg": (encoded(RAMP, "JPEG", quality=100), None),
    "rgb.jpg": (encoded(RGB, "JPEG", quality=100), None),
    "cmyk.jpg": (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=100), None),
    "rgb.tif": (encoded(RGB, "TIFF"), RGB),
    "big.tif": (tiff(RGB, bigtiff=True), RGB),
    "grey16.tif": (tiff(wide(RAMP)), wide(RAMP)),
    "grey16be.tif": (tiff(wide(RAMP), byteorder=">"), wide(RAMP)),
    "rgb16.tif": (tiff(wide(RGB)), wide(RGB)),
    "rgba16.tif": (tiff(wide(RGBA), extrasamples=["unassalpha"]), wide(RGBA)),
}


@pytest.mark.parametrize("name", KINDS)
def test_reads_every_kind_of_file(tmp_path, name, capfd):
    data, expected = KINDS[name]
    (tmp_path / name).write_bytes(data)
    image = read_image(tmp_path / name)
    if expected is None:
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("L" if name.startswith("grey") else "RGB"))
    assert image.dtype == expected.dtype
    assert_array_equal(image, expected)
    assert image_size(tmp_path / name) == image.shape[:2]
    assert capfd.readouterr() == ("", "")


def test_a_palette_with_transparency_has_alpha():
    image = decode_image(encoded(PALETTE, "PNG", transparency=bytes([0, 128] + 14 * [255])), "x")
    assert image.shape == (30, 20, 4)
    assert {0, 128, 255} == set(image[..., 3].flat)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 4000, 3), (4000, 1, 3), (1, 1), (2, 3)])
def test_odd_sizes_come_back(tmp_path, rng, shape):
    image = rng.integers(0, 256, shape, np.uint8)
    for suffix in (".png", ".tif", ".bmp", ".webp"):
        write_image(tmp_path / f"x{suffix}", image)
        read = read_image(tmp_path / f"x{suffix}")
        assert_array_equal(read, image if read.ndim == image.ndim else image[..., None].repeat(3, axis=2))


@given(
    st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda kind: arrays(kind, st.tuples(st.integers(1, 8), st.integers(1, 8), st.sampled_from([3, 4])))
    ),
    st.sampled_from([".png", ".tiff"]),
)
@settings(max_examples=40)
def test_what_is_written_losslessly_is_read_again(tmp_path_factory, image, suffix):
    path = tmp_path_factory.mktemp("io") / f"Bild ä 画{suffix}"
    write_image(path, image)
    read = read_image(path)
    assert read.dtype == image.dtype
    assert_array_equal(read, image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_exactly_once_whatever_the_format(orientation):
    turns = [0, 0, 2, 2, 3, 3, 1, 1][orientation - 1]
    upright = np.rot90(RGB, turns)
    if orientation in (2, 4, 5, 7):
        upright = upright[:, ::-1]
    chunk = (b"eXIf", exif(orientation).tobytes()[6:])
    tag = {"extratags": [(0x0112, 3, 1, orientation, True)]}
    files = {
        "png": encoded(RGB, "PNG", exif=exif(orientation)),
        "webp": encoded(RGB, "WEBP", lossless=True, exif=exif(orientation)),
        "tiff": tiff(RGB, **tag),
        "png16": png(wide(RGB), 16, 2, chunk),
        "tiff16": tiff(wide(RGB), **tag),
    }
    for kind, data in files.items():
        assert_array_equal(decode_image(data, kind), wide(upright) if "16" in kind else upright, err_msg=kind)
    jpeg = decode_image(encoded(RGB, "JPEG", quality=100, subsampling=0, exif=exif(orientation)), "jpeg")
    assert np.abs(jpeg.astype(int) - upright).max() < 12


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_size_is_that_of_the_upright_image(tmp_path, orientation):
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF"):
        (tmp_path / kind).write_bytes(encoded(RGB, kind, exif=exif(orientation)))
        assert image_size(tmp_path / kind) == read_image(tmp_path / kind).shape[:2]


def test_the_content_decides_and_not_the_suffix(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(RGB, "JPEG"))
    assert read_image(path).shape == RGB.shape


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("length", [0, 5, 30, 0.3, 0.7, -9])
def test_a_cut_off_file_is_an_error_that_names_it(name, length, capfd):
    data, _ = KINDS[name]
    cut = data[: int(len(data) * length) if isinstance(length, float) else length]
    with pytest.raises(ImageError, match=rf"^{name}: (is|holds) "):
        decode_image(cut, name)
    assert capfd.readouterr() == ("", "")


STORED = {
    **{name: data for name, (data, _) in KINDS.items()},
    "deflate.tif": tiff(RGB, compression="zlib"),
    "strips.tif": tiff(RGB, rowsperstrip=7),
    "tiles.tif": tiff(RGB, tile=(16, 16), compression="zlib"),
    "planes.tif": tiff(RGB.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
    "runs.bmp": runs_bmp(200, 20),
}


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("length", [0.3, 0.6, 0.95, -9])
def test_a_cut_off_end_is_noticed_when_the_size_is_asked_for(tmp_path, name, length):
    path, data = tmp_path / name, STORED[name]
    path.write_bytes(data)
    assert image_size(path) == read_image(path).shape[:2]
    path.write_bytes(data[: int(len(data) * length) if isinstance(length, float) else length])
    with pytest.raises(ImageError):
        image_size(path)


@pytest.mark.parametrize(
    "name", ["rgb.bmp", "grey.bmp", "rgb.tif", "tiles.tif", "rgb.webp", "rgb.png", "rgb.jpg"]
)
def test_the_size_of_a_whole_file_is_read_without_decoding(name):
    assert read_header(io.BytesIO(STORED[name]), name).looks_whole


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(KINDS["rgb.png"][0])
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        decode_image(bytes(data), "x.png")


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=150)
def test_damage_of_any_kind_gives_pixels_or_a_sentence(name, data):
    file = bytearray(KINDS[name][0])
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, min(len(file), 300) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(file), name, max_pixels=100_000).ndim in (2, 3)


@pytest.mark.parametrize("image", [RAMP, RGB, wide(RAMP), wide(RGB)], ids=["grey", "rgb", "grey16", "rgb16"])
@pytest.mark.parametrize("copies", [1, 3])
def test_thumbnails_in_a_tiff_are_no_pages(image, copies):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in range(copies + 1):
            writer.write(
                image[:: page + 1, :: page + 1],
                photometric="rgb" if image.ndim == 3 else None,
                subfiletype=int(page > 0),
            )
    assert_array_equal(decode_image(file.getvalue(), "x"), image)


@pytest.mark.parametrize("kinds", [(0, 0), (1, 0), (0, 1, 0)])
def test_pages_that_are_no_copies_are_refused(kinds):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for kind in kinds:
            writer.write(RGB, photometric="rgb", subfiletype=kind)
    with pytest.raises(ImageError, match="holds 2 pages"):
        decode_image(file.getvalue(), "x")


MOVES = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello world", "is not an image"),
        (encoded(RGB, "GIF"), "is a GIF file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "is a JPEG XL file"),
        (encoded(RGB, "ICO"), "is an ICO file"),
        (encoded(RGB, "PPM"), "is a PPM file"),
        (encoded(RAMP, "PPM"), "is a PGM file"),
        (encoded(RGB, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "a JPEG of 12 bits"),
        (tiff(wide(RGB)[..., :2], photometric="minisblack", extrasamples=["unassalpha"]), "16-bit grey with"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer file"),
        (encoded(Image.fromarray(RGB), "PNG", **MOVES), "2 frames of an animation"),
        (encoded(Image.fromarray(RGB), "WEBP", **MOVES), "2 frames of an animation"),
        (encoded(Image.fromarray(RGB), "AVIF", **MOVES), "2 frames of an animation"),
        (encoded(Image.fromarray(RGB), "TIFF", **MOVES), "2 pages"),
        (tiff(RAMP.astype(np.float32)), "floating"),
        (tiff(np.full((4, 4, 3), np.nan, np.float32), photometric="rgb"), "floating"),
        (tiff(RAMP.astype(np.int16)), "signed"),
        (tiff(RAMP.astype(np.uint32)), "8 or 16 bits"),
        (
            tiff(wide(RGB).transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
            "layout that is not read",
        ),
        (encoded(Image.fromarray(RGB).convert("LAB"), "TIFF"), "LAB"),
    ],
)
def test_says_why_a_file_is_not_read(data, message):
    with pytest.raises(ImageError, match=f"^some file: .*{message}"):
        decode_image(data, "some file")


def test_a_image_too_large_is_refused_by_its_head_and_says_how_to_raise_the_limit(monkeypatch):
    huge = KINDS["rgb.png"][0].replace(struct.pack(">II", 20, 30), struct.pack(">II", 60000, 60000))
    fixed = huge[:29] + struct.pack(">I", zlib.crc32(huge[12:29])) + huge[33:]
    with pytest.raises(ImageError, match=r"3600 megapixels, and at most 256 .* SRCX_MAX_MEGAPIXELS=3601 "):
        decode_image(fixed, "bomb.png")
    with pytest.raises(ImageError, match=r"at most 0\.000599 are read"):
        decode_image(KINDS["rgb.png"][0], "x", max_pixels=599)
    assert decode_image(KINDS["rgb.png"][0], "x", max_pixels=600).shape == RGB.shape
    monkeypatch.setenv("SRCX_MAX_MEGAPIXELS", "0.0001")
    with pytest.raises(ImageError, match=r"at most 0\.0001"):
        decode_image(KINDS["rgb.png"][0], "x")
    monkeypatch.setenv("SRCX_MAX_MEGAPIXELS", "many")
    with pytest.raises(ImageError, match="expected a number of megapixels; got 'many'"):
        decode_image(KINDS["rgb.png"][0], "x")


def test_opencvs_complaints_are_not_shown_to_the_user(capfd):
    data = bytearray(tiff(wide(RGB), byteorder="<"))
    first = struct.unpack_from("<I", data, 4)[0] + 2
    data[first : first + 24] = (
        data[first + 12 : first + 24] + data[first : first + 12]
    )  # two tags change places
    assert_array_equal(decode_image(bytes(data), "x"), wide(RGB))
    with pytest.raises(ImageError, match="x: holds 16-bit samples in a layout that is not read"):
        decode_image(tiff(np.zeros((1, 1_100_000, 3), np.uint16), photometric="rgb"), "x")
    assert capfd.readouterr() == ("", "")


def test_more_pixels_than_pillows_own_limit_are_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode_image(KINDS["rgb.png"][0], "x").shape == RGB.shape


def test_pillows_warning_about_large_images_stays_quiet(monkeypatch):
    data = io.BytesIO()
    Image.fromarray(RGB).save(data, "TIFF")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.shape[0] * RGB.shape[1] - 1)  # it refuses twice that
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(decode_image(data.getvalue(), "x"), RGB)


def test_says_what_stands_in_place_of_a_file(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: this file does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="device or pipe"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("x.jpg", wide(RGB), "8 bits a sample and the image has 16"),
        ("x.webp", wide(RGB), "8 bits a sample and the image has 16"),
        ("x.avif", wide(RGB), "8 bits a sample and the image has 16"),
        ("x.avif", np.zeros((2, 40000), np.uint8), "holds at most 32768 pixels a side"),
        ("x.bmp", wide(RGB), "8 bits a sample and the image has 16"),
        ("x.jpg", RGBA, "no transparency"),
        ("x.bmp", RGBA, "no transparency"),
        ("x.gif", RGB, r"written as .*\.png.*; got \.gif"),
        ("x", RGB, "got no suffix"),
        ("x.png", RGB.astype(float), "got float64"),
        ("x.png", RGB[..., :2], r"got uint8 \(30, 20, 2\)"),
        ("x.png", RGB[:0], r"got uint8 \(0, 20, 3\)"),
        ("x.webp", np.zeros((2, 20000), np.uint8), "holds at most 16383 pixels a side"),
        ("x.jpg", np.zeros((2, 70000), np.uint8), "holds at most 65500 pixels a side"),
    ],
)
def test_says_what_a_format_cannot_hold_and_writes_nothing(tmp_path, name, image, message, capfd):
    with pytest.raises(ImageError, match=message):
        write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_every_suffix_is_written_and_read(tmp_path):
    for suffix in IMAGE_SUFFIXES:
        write_image(tmp_path / f"x{suffix.upper()}", RGB)
        assert read_image(tmp_path / f"x{suffix.upper()}").shape == RGB.shape


def test_avif_keeps_what_is_seen_and_its_alpha(tmp_path):
    write_image(tmp_path / "x.avif", RGBA)
    image = read_image(tmp_path / "x.avif")
    assert image.shape == RGBA.shape
    assert np.abs(image.astype(int) - RGBA).mean() < 2
    write_image(tmp_path / "grey.avif", RAMP)
    assert np.abs(read_image(tmp_path / "grey.avif").astype(int) - RAMP[..., None]).mean() < 2


@pytest.mark.parametrize("brand", [b"avif", b"mif1", b"msf1"])
def test_avif_is_known_by_any_of_its_brands(brand):
    data = bytearray(encoded(RGBA, "AVIF"))
    data[8:12] = brand
    assert_array_equal(decode_image(bytes(data), "x"), decode_image(encoded(RGBA, "AVIF"), "x"))


def test_avif_pixels_that_cannot_be_decoded_are_one_sentence():
    data = KINDS["rgb.avif"][0]
    at = data.index(b"mdat") + 4
    with pytest.raises(ImageError, match=r"^x\.avif: is damaged or cut off"):
        decode_image(data[:at] + b"\xff" * (len(data) - at), "x.avif")


def test_without_avif_in_pillow_reading_and_writing_are_one_sentence(tmp_path, monkeypatch):
    write_image(tmp_path / "x.avif", RGB)
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(ImageError, match=r"x\.avif: is an AVIF file, which this Pillow was built without"):
        read_image(tmp_path / "x.avif")
    with pytest.raises(ImageError, match=r"y\.avif.*: this Pillow was built without AVIF; choose"):
        write_image(tmp_path / "y.avif", RGB)


def test_a_large_image_is_encoded_without_a_copy_and_given_back_as_it_was(tmp_path, monkeypatch):
    expected = RGB.copy()
    write_image(tmp_path / "small.tif", RGB)
    monkeypatch.setattr(io_module, "LARGE_BYTES", 0)
    monkeypatch.setattr(io_module, "swap_red_and_blue", None)
    mine = RGB.copy()
    write_image(tmp_path / "large.tif", mine)
    assert_array_equal(mine, expected)
    assert (tmp_path / "large.tif").read_bytes() == (tmp_path / "small.tif").read_bytes()


def test_quality_trades_size_for_likeness(tmp_path, rng):
    noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
    for suffix in (".jpg", ".webp", ".avif"):
        sizes, errors = [], []
        for quality in (10, 95):
            write_image(tmp_path / f"x{suffix}", noise, quality=quality)
            sizes.append((tmp_path / f"x{suffix}").stat().st_size)
            errors.append(np.abs(read_image(tmp_path / f"x{suffix}").astype(int) - noise).mean())
        assert sizes[0] < sizes[1]
        assert errors[0] > errors[1] > 0
    with pytest.raises(ImageError, match="quality must be from 1 to 100; got 0"):
        write_image(tmp_path / "x.jpg", noise, quality=0)


def test_a_folder_that_cannot_be_written_is_an_error_and_the_old_file_stays(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "missing" / "x.png", RGB)
    write_image(tmp_path / "x.png", RGB)
    with pytest.raises(ImageError):
        write_image(tmp_path / "x.png", RGB.astype(float))
    assert_array_equal(read_image(tmp_path / "x.png"), RGB)


def test_lists_images_in_natural_order_without_hidden_ones(tmp_path):
    for name in ("a10.png", "a9.PNG", "b.jpeg", ".a1.png", "x.txt", "sub/a2.webp", ".hidden/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a9.PNG", "a10.png", "b.jpeg"]
    found = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path, recursive=True)]
    assert found == ["a9.PNG", "a10.png", "b.jpeg", "sub/a2.webp"]


def test_says_when_there_is_no_such_folder(tmp_path):
    with pytest.raises(DataError, match="this folder does not exist"):
        list_images(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file, and a folder is expected"):
        list_images(tmp_path / "file")
    with pytest.raises(DataError, match="/dev/null: is a device or pipe, and a folder is expected"):
        list_images("/dev/null")


@pytest.mark.parametrize("read", [read_image, image_size])
def test_a_name_that_no_file_can_have_is_one_sentence(read, tmp_path):
    with pytest.raises(ImageError, match=r"n\.png: (cannot be read: .* too long|this file does not)"):
        read(tmp_path / f"{'n' * 300}.png")
