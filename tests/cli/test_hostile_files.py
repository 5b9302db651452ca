"""Five hundred files of every kind, whole, damaged and lying: upscaled right or refused in one sentence."""

import functools
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from srcx.archs import MSRResNet
from srcx.imaging import read_image, write_image
from srcx.inference import load_model
from srcx.weights import save_state

COUNT = 500
Rng = np.random.Generator
Made = tuple[str, bytes]
"""Suffix and content of a file."""


def saved(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(image: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, color: int, raw: bytes, *extra: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = b"".join(extra) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


def noise(rng: Rng, *channels: int, dtype: type = np.uint8) -> np.ndarray:
    size = tuple(rng.integers(1, 24, 2)) + channels
    return rng.integers(0, np.iinfo(dtype).max, size, dtype, endpoint=True)


def grey_alpha_16(rng: Rng) -> bytes:
    image = noise(rng, 2, dtype=np.uint16).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    return png(image.shape[1], image.shape[0], 16, 4, raw)


@functools.cache
def much_of_nothing() -> bytes:
    return zlib.compress(bytes(10**8), 1)


def frames(rng: Rng, kind: str) -> bytes:
    first, second = (Image.fromarray(rng.integers(0, 256, (6, 7, 3), np.uint8)) for _ in range(2))
    return saved(first, kind, save_all=True, append_images=[second])


def palette(rng: Rng, **options) -> bytes:
    return saved(Image.fromarray(noise(rng, 3)).quantize(5), "PNG", **options)


def oriented(rng: Rng) -> bytes:
    exif = Image.Exif()
    exif[274] = int(rng.integers(0, 12))
    return saved(noise(rng, 3), "JPEG", exif=exif)


WHOLE: dict[str, Callable[[Rng], Made]] = {
    "grey": lambda rng: (".png", saved(noise(rng), "PNG")),
    "colour": lambda rng: (".png", saved(noise(rng, 3), "PNG")),
    "alpha": lambda rng: (".png", saved(noise(rng, 4), "PNG")),
    "grey and alpha": lambda rng: (".png", saved(Image.fromarray(noise(rng)).convert("LA"), "PNG")),
    "text that unpacks to 100 MB": lambda rng: (
        ".png",
        png(2, 2, 8, 0, b"\0" * 6, chunk(b"zTXt", b"a\0\0" + much_of_nothing())),
    ),
    "grey of 16 bits": lambda rng: (".png", saved(noise(rng, dtype=np.uint16), "PNG")),
    "grey and alpha of 16 bits": lambda rng: (".png", grey_alpha_16(rng)),
    "one bit": lambda rng: (".png", saved(Image.fromarray(noise(rng)).convert("1"), "PNG")),
    "palette": lambda rng: (".png", palette(rng)),
    "palette with a hole": lambda rng: (".png", palette(rng, transparency=0)),
    "jpeg": lambda rng: (".jpg", saved(noise(rng, 3), "JPEG", progressive=bool(rng.integers(2)))),
    "grey jpeg": lambda rng: (".jpeg", saved(noise(rng), "JPEG")),
    "ink": lambda rng: (".jpg", saved(Image.fromarray(noise(rng, 3)).convert("CMYK"), "JPEG")),
    "turned": lambda rng: (".JPG", oriented(rng)),
    "webp": lambda rng: (".webp", saved(noise(rng, 4), "WEBP", lossless=True)),
    "avif": lambda rng: (".avif", saved(noise(rng, 4), "AVIF", speed=10)),
    "bmp": lambda rng: (".bmp", saved(noise(rng, 3), "BMP")),
    "tiff": lambda rng: (".tif", saved(noise(rng, 3), "TIFF")),
    "tiff of 16 bits": lambda rng: (".tiff", tiff(noise(rng, 3, dtype=np.uint16), photometric="rgb")),
    "a point": lambda rng: (".png", saved(rng.integers(0, 256, (1, 1), np.uint8), "PNG")),
    "another suffix": lambda rng: (".png", saved(noise(rng, 3), "JPEG")),
}
REFUSED: dict[str, Callable[[Rng], Made]] = {
    "nothing": lambda rng: (".png", b""),
    "one byte": lambda rng: (".jpg", b"\xff"),
    "noise": lambda rng: (".webp", rng.bytes(int(rng.integers(1, 300)))),
    "text": lambda rng: (".tif", b"not an image at all\n" * 9),
    "animation": lambda rng: (".webp", frames(rng, "WEBP")),
    "animated avif": lambda rng: (".avif", frames(rng, "AVIF")),
    "animated png": lambda rng: (".png", frames(rng, "PNG")),
    "gif": lambda rng: (".png", frames(rng, "GIF")),
    "pages": lambda rng: (".tiff", frames(rng, "TIFF")),
    "not a number": lambda rng: (".tif", tiff(np.full((5, 4), np.nan, np.float32))),
    "floating": lambda rng: (".tif", tiff(rng.random((5, 4, 3)).astype(np.float32), photometric="rgb")),
    "head of 3.6 billion pixels": lambda rng: (".png", png(60000, 60000, 8, 2, b"\0" * 99)),
    "nothing wide": lambda rng: (".png", png(0, 9, 8, 2, b"\0" * 99)),
    "alpha in a jpeg's name": lambda rng: (".jpg", saved(noise(rng, 4), "PNG")),
    "16 bits in a bmp's name": lambda rng: (".bmp", saved(noise(rng, dtype=np.uint16), "PNG")),
}
DAMAGED_EITHER_WAY = ("cut off", "bits flipped", "a piece moved")


def damaged(how: str, rng: Rng) -> Made:
    """A whole file made worse; what is left may still be an image."""
    suffix, data = WHOLE[str(rng.choice(list(WHOLE)))](rng)
    at = int(rng.integers(len(data)))
    if how == "cut off":
        return suffix, data[:at]
    if how == "bits flipped":
        return suffix, data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]
    return suffix, data[at:] + data[:at]


def seen(image: np.ndarray) -> np.ndarray:
    """Black where nothing is seen: there WebP keeps no colours."""
    has_alpha = image.ndim == 3 and image.shape[2] == 4
    return image * (image[..., 3:] > 0) if has_alpha else image


@pytest.fixture
def hostile(tmp_path) -> dict[str, str]:
    """A folder of files, and the kind of each by its name."""
    rng = np.random.default_rng(6)
    (tmp_path / "in").mkdir()
    kinds = {}
    every = [*WHOLE, *REFUSED, *(DAMAGED_EITHER_WAY * 4)]
    for index in range(COUNT - 4):
        kind = every[index % len(every)]
        makers = WHOLE | REFUSED
        suffix, data = makers[kind](rng) if kind in makers else damaged(kind, rng)
        name = f"{index:03} {'Ünï' if index % 7 == 0 else 'x'}{suffix}"
        (tmp_path / "in" / name).write_bytes(data)
        kinds[name] = kind
    write_image(tmp_path / "in/496 thin.png", rng.integers(0, 256, (1, 4000, 3), np.uint8))
    write_image(tmp_path / "in/497 tall.webp", rng.integers(0, 256, (4000, 1, 3), np.uint8))
    (tmp_path / "in/498 lost.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "in/499 pipe.png")
    return kinds | {
        "496 thin.png": "thin",
        "497 tall.webp": "thin",
        "498 lost.png": "lost",
        "499 pipe.png": "pipe",
    }


@pytest.mark.parametrize("model", ["bicubic-x2", "net.safetensors"])
def test_every_file_is_upscaled_right_or_refused_in_one_sentence(srcx, hostile, tmp_path, model):
    save_state(tmp_path / "net.safetensors", MSRResNet(num_feat=2, num_block=1, upscale=2).state_dict())
    names = list(hostile) if model == "bicubic-x2" else list(hostile)[:80]
    inputs = ["in"] if model == "bicubic-x2" else [f"in/{name}" for name in names]
    said = srcx("upscale", *inputs, "-o", "out", "--model", model)
    assert said.code == 1
    sentences = [
        line for line in said.sentences if not line[0].isdigit() and "CMYK is converted to sRGB" not in line
    ]
    refused = {line.partition(": ")[0].removeprefix("in/") for line in sentences}
    done = {path.name for path in Path("out").iterdir()}  # hidden leftovers too
    assert len(sentences) == len(refused), "one sentence for each"
    assert done | refused == set(names)
    assert not done & refused
    assert said.out == f"{len(done)} upscaled into out, {len(refused)} failed\n"
    assert len(done) > len(names) * 0.4
    assert not [line for line in sentences if "unexpected" in line], "no surprises"
    assert {hostile[name] for name in done} <= {*WHOLE, *DAMAGED_EITHER_WAY, "thin"}
    assert {hostile[name] for name in refused} <= {*REFUSED, *DAMAGED_EITHER_WAY, "lost", "pipe"}
    upscale = load_model(model)
    for name in done:
        expected, result = upscale(read_image(Path("in", name))), read_image(Path("out", name))
        assert result.shape == expected.shape or hostile[name] == "ink"
        if name.endswith((".png", ".tiff", ".tif", ".bmp", ".webp")):
            np.testing.assert_array_equal(seen(result), seen(expected), err_msg=name)
