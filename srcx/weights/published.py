"""The published weights: where each file comes from, and the copy on this machine. It needs no torch."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from srcx.digest import Digest
from srcx.errors import OutputError, WeightsError
from srcx.nearest import did_you_mean

__all__ = [
    "BUNDLED",
    "PUBLISHED",
    "KnownWeights",
    "Published",
    "cache_folder",
    "known",
    "local_file",
    "published",
]

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
"""NAME.safetensors, in half precision, which names its network and scale; NAME.md, its card; for some models
NAME.parent.safetensors, the faithful weights that the sharp ones were trained from."""


@dataclass(frozen=True)
class Published:
    """A published file; `size` in bytes is exact where known, else a maximum."""

    what: str
    url: str
    digest: Digest
    size: int
    own_name: str

    @property
    def file_names(self) -> tuple[str, ...]:
        """Possible file names: srcx's own in the cache, then the publisher's."""
        return self.own_name, self.url.rsplit("/", 1)[-1]


# torchvision prints the first 8 digits of each sha256 in the file's name; all 64 are from several public
# manifests that agree with each other and with those 8.
PUBLISHED = {
    "vgg19": Published(
        "features for contextual and perceptual losses (torchvision, BSD-3-Clause)",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        Digest("sha256", "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
        574_673_361,
        "vgg19.safetensors",
    ),
    "vgg16": Published(
        "features for losses, LPIPS and DISTS (torchvision, BSD-3-Clause)",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        Digest("sha256", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
        553_433_881,
        "vgg16.safetensors",
    ),
    "alexnet": Published(
        "features for LPIPS (torchvision, BSD-3-Clause)",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        Digest("sha256", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
        244_408_911,
        "alexnet.safetensors",
    ),
    "ma": Published(
        "forests of the no-reference metric of Ma et al. 2017, for ma and pi (from its author)",
        "https://raw.githubusercontent.com/chaoma99/sr-metric/master/model.mat",
        Digest("git", "a852aefb6a49e52703044fee4fa60c3f5b8d5adc"),
        64 << 20,
        "ma.mat",
    ),
}


@dataclass(frozen=True)
class KnownWeights:
    """A row of `srcx weights list`; `path` is None where there is no local file."""

    name: str
    what: str
    url: str
    path: Path | None


def known() -> list[KnownWeights]:
    """Return all known weights with their local files; nothing is downloaded."""
    return [KnownWeights(name, one.what, one.url, local_file(name)) for name, one in PUBLISHED.items()]


def cache_folder() -> Path:
    """Return the user's own folder for weights; it need not exist yet.

    Raises:
        OutputError: this user has no home folder, as in containers that run under a number alone.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        base = Path(os.environ["LOCALAPPDATA"])
    else:
        places = {"win32": "AppData/Local", "darwin": "Library/Caches"}
        base = _home() / places.get(sys.platform, ".cache")
    return base / "srcx" / "weights"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise OutputError(
            "this user has no home folder to keep files in; set XDG_CACHE_HOME to a writable folder"
        ) from error


def published(name: str) -> Published:
    """Return the weights of this name.

    Raises:
        WeightsError: srcx knows no such weights.
    """
    if name not in PUBLISHED:
        raise WeightsError(f"{name}: srcx knows no such weights; {did_you_mean(name, PUBLISHED)}")
    return PUBLISHED[name]


def local_file(name: str) -> Path | None:
    """Return the file of these weights in $SRCX_WEIGHTS or the cache; None where there is none.

    Raises:
        WeightsError: $SRCX_WEIGHTS is no folder.
    """
    try:
        folders = [cache_folder()]
    except OutputError:
        folders = []
    if os.environ.get("SRCX_WEIGHTS"):
        folders.insert(0, Path(os.environ["SRCX_WEIGHTS"]))
        if not folders[0].is_dir():
            raise WeightsError(
                f"$SRCX_WEIGHTS: {folders[0]} is no folder; set it to the folder with your weights"
            )
    files = (folder / file_name for folder in folders for file_name in PUBLISHED[name].file_names)
    return next((file for file in files if file.is_file()), None)
