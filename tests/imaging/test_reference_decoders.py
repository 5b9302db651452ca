"""Images of many layouts, written sample by sample or by another library, must be read as those samples."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image

from srcx.errors import ImageError
from srcx.imaging.decode import decode_image

HEIGHT, WIDTH = 11, 13
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def packed(samples: np.ndarray, bits: int, *, order: str = ">") -> np.ndarray:
    """Return rows (H, bytes) of samples (H, W, C), the first sample in the highest bits."""
    rows = samples.reshape(len(samples), -1)
    if bits >= 8 and bits != 12:
        return rows.astype(f"{order}u{bits // 8}").view(np.uint8)
    places = np.arange(bits)[::-1]
    return np.packbits((rows[..., None] >> places & 1).astype(np.uint8).reshape(len(rows), -1), axis=1)


def png(samples: np.ndarray, bits: int, kind: int, chunks: dict[bytes, bytes], *, interlaced: bool) -> bytes:
    height, width = samples.shape[:2]
    parts = [samples[top::down, left::right] for left, top, right, down in ADAM7] if interlaced else [samples]
    rows = [b"\0" + row.tobytes() for part in parts if part.size for row in packed(part, bits)]
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    everything = {b"IHDR": head, **chunks, b"IDAT": zlib.compress(b"".join(rows)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in everything.items()
    )


def tiff(samples: np.ndarray, bits: int, photometric: int, order: str) -> bytes:
    """Return a grey TIFF of one strip."""
    data = packed(samples, bits, order=order).tobytes()
    height, width = samples.shape[:2]
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data)}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(data)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def full_range(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return samples of `bits` bits as uint8, or as uint16 where 8 bits cannot hold them."""
    wide = np.uint8 if bits <= 8 else np.uint16
    return np.round(samples * (np.iinfo(wide).max / (2**bits - 1))).astype(wide)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(("kind", "bits"), [(kind, bits) for kind in PNG_DEPTHS for bits in PNG_DEPTHS[kind]])
def test_png(rng, kind, bits, keyed, interlaced):
    samples = rng.integers(0, 2**bits, (HEIGHT, WIDTH, PNG_CHANNELS[kind]))
    key = samples[2, 3]
    samples[4:7, 5:9] = key
    palette = rng.integers(0, 256, (2**bits, 3))
    chunks = {b"PLTE": palette.astype(np.uint8).tobytes()} if kind == 3 else {}
    expected = full_range(samples, bits)
    if kind == 3:
        expected = palette[samples[..., 0]].astype(np.uint8)
    if kind == 4:
        expected = expected[..., [0, 0, 0, 1]]
    if keyed and kind in (0, 2, 3):
        shown = np.iinfo(expected.dtype).max
        colours = expected if expected.shape[2] == 3 else expected.repeat(3, axis=2)
        alpha = np.where((samples == key).all(axis=2), 0, shown).astype(expected.dtype)
        expected = np.dstack([colours, alpha])
        opacity = np.where(np.arange(2**bits) == key[0], 0, 255).astype(np.uint8).tobytes()
        chunks[b"tRNS"] = opacity if kind == 3 else struct.pack(f">{key.size}H", *key)
    found = decode_image(png(samples, bits, kind, chunks, interlaced=interlaced), "x.png")
    assert_array_equal(found, expected[..., 0] if expected.shape[2] == 1 else expected)


def pixels_or_refused(data: bytes, expected: np.ndarray, *, tolerance: int = 0) -> bool:
    """Whether the file is read; where it is, its pixels must be the right ones."""
    try:
        found = decode_image(data, "x.tif")
    except ImageError:
        return False
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=tolerance)
    return True


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_tiff(rng, bits, white_is_zero, order):
    samples = rng.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
    data = tiff(2**bits - 1 - samples if white_is_zero else samples, bits, int(not white_is_zero), order)
    read = pixels_or_refused(data, full_range(samples[..., 0], bits), tolerance=int(bits == 12))
    assert read == (
        (bits, white_is_zero, order) not in {(12, True, "<"), (16, True, ">")} and (bits, order) != (12, ">")
    )


TIFFS = [
    {"photometric": photometric, "byteorder": order, **compression, **layout}
    for photometric, order, compression, layout in itertools.product(
        ("minisblack", "miniswhite", "rgb", "rgba"),
        ("<", ">"),
        ({}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}),
        ({}, {"tile": (16, 16)}, {"rowsperstrip": 3}, {"planarconfig": "separate"}),
    )
]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("settings", TIFFS, ids=lambda one: "-".join(map(str, one.values())))
def test_tiff(rng, settings, dtype):
    settings = dict(settings)
    photometric = settings.pop("photometric")
    channels = {"rgb": (3,), "rgba": (4,)}.get(photometric, ())
    if not channels and "planarconfig" in settings:
        return
    expected = rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, *channels), dtype, endpoint=True)
    samples = np.iinfo(dtype).max - expected if photometric == "miniswhite" else expected
    if "planarconfig" in settings:
        samples = np.moveaxis(samples, 2, 0)
    if photometric == "rgba":
        settings |= {"extrasamples": ["unassalpha"]}
    file = io.BytesIO()
    tifffile.imwrite(
        file, samples, photometric=photometric.removesuffix("a") if channels else photometric, **settings
    )
    assert_array_equal(tifffile.imread(io.BytesIO(file.getvalue())), samples)
    read = pixels_or_refused(file.getvalue(), expected)
    assert read or dtype == np.uint16, "8 bits are read in every layout"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_channel_is_alpha_only_where_the_file_says_so(rng, dtype):
    samples = rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, 4), dtype, endpoint=True)
    for meaning, channels in (("unspecified", 3), ("unassalpha", 4)):
        file = io.BytesIO()
        tifffile.imwrite(file, samples, photometric="rgb", extrasamples=[meaning])
        assert_array_equal(decode_image(file.getvalue(), "x"), samples[..., :channels])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "AVIF"])
def test_by_pillow_and_opencv(rng, kind, mode):
    channels = len(mode)
    coarse = rng.integers(0, 256, (4, 4, channels), np.uint8)
    samples = np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    if (kind, mode) in {("JPEG", "RGBA"), ("BMP", "RGBA")}:
        return
    file = io.BytesIO()
    Image.fromarray(samples).save(file, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    found = decode_image(file.getvalue(), "x")
    by_opencv = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    if by_opencv is not None:  # OpenCV may be built without AVIF
        if found.ndim == 3:
            by_opencv = by_opencv[..., [2, 1, 0, 3][: by_opencv.shape[2]]]
        else:
            by_opencv = by_opencv.reshape(HEIGHT, WIDTH, -1)[..., 0]
        np.testing.assert_allclose(found.astype(int), by_opencv.astype(int), atol=0 if kind != "AVIF" else 4)
    if kind in ("WEBP", "BMP"):
        assert_array_equal(
            found, samples if found.ndim == samples.ndim else samples[..., None].repeat(3, axis=2)
        )
