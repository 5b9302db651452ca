"""The network of a checkpoint: as a file beside it describes it, or as its weights show."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srcx.archs.community import arguments_of, recognise
from srcx.atomic import real_path
from srcx.config.part_options import SPANDREL
from srcx.errors import CheckpointError, SrcxError
from srcx.inference.models import ALL_PRECISIONS, NetworkPart
from srcx.inference.network_sizes import size_multiple
from srcx.inference.own_generators import OWN, own_generator
from srcx.inference.tiling import NoSizeError
from srcx.weights.files import read_metadata
from srcx.weights.fit import load_into

__all__ = [
    "NORMALISATION",
    "LoadedNetwork",
    "NormalisedNet",
    "network_of",
]

log = logging.getLogger(__name__)

CHANNEL_ARGUMENTS = ("num_in_ch", "in_chans", "in_channels")
"""Names that constructors give the channels of the input."""

NORMALISATION = "normalisation"
"""Name among the metadata of a safetensors file of [mean, std], as JSON."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, and the sizes and formats it works in."""

    net: nn.Module
    architecture: str
    scale: int
    channels: int = 3
    multiple_of: int = 1
    precisions: frozenset[str] = ALL_PRECISIONS
    part: NetworkPart | None = None
    """Its type and arguments, where they are known."""


def network_of(path: Path, state: Mapping[str, Tensor]) -> LoadedNetwork:
    """Build the network of a checkpoint and load its weights; torch's random state stays as it was.

    The network is found by the first of these:

    1. NAME.json beside the file: {"network": {"type": ..., "args": {...}}};
    2. the metadata of a safetensors file: the same type and args under "network";
    3. the option file of the run folder that the checkpoint is in;
    4. the names and shapes of the weights, for srcx's own generators;
    5. spandrel, which recognises the community's networks by their weights.

    A .json or .yml file that describes no network is ignored; a run's option file also where the weights do
    not fit it.

    The networks of a run with `mean` and `std` of the training set take and make images in [0, 1] here: both
    are read from the option file of the run folder, or from the metadata that `srcx export` writes.

    Args:
        path: The file of the weights.
        state: The weights.

    Raises:
        CheckpointError: the weights are not finite, do not fit the network that the file or NAME.json
            describes, or belong to no known network.
    """
    broken = [name for name, weight in state.items() if not weight.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path}: {len(broken)} of {len(state)} weights hold NaN or infinite numbers, such as "
            f"'{broken[0]}'; download it again, or take an earlier checkpoint"
        )
    with torch.random.fork_rng(devices=[]):
        found = find_network(path, state)
    mean, std = mean_and_std(path)
    if mean is None and std is None:
        return found
    try:
        return replace(found, net=NormalisedNet(found.net, found.channels, mean, std))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: the mean and std of its training images are {mean!r} and {std!r}; expected lists of 1 "
            f"number, or of {found.channels}"
        ) from error


def find_network(path: Path, state: Mapping[str, Tensor]) -> LoadedNetwork:
    """Do what `network_of` does, whatever `mean` and `std` the network was trained with."""
    part = described(path)
    if part is not None:
        return load_network(path, part, state)
    of_run = option_file_part(path)
    if of_run is not None:
        try:
            return load_network(path, of_run, state)
        except CheckpointError as error:
            misfit = error
            log.info("%s", error)
    own = own_generator(state)
    try:
        return from_spandrel(path, state) if own is None else load_network(path, own, state)
    except CheckpointError:
        if of_run is not None:
            raise misfit from None
        raise


def load_network(path: Path, part: NetworkPart, state: Mapping[str, Tensor]) -> LoadedNetwork:
    """Build the network of `part`, load the weights and find out which sizes it takes.

    Raises:
        CheckpointError: there is no such network, the weights do not fit, or its channels are not 1 or 3.
    """
    if part.type.startswith(SPANDREL):
        return from_spandrel(path, state, part)
    net = OWN[part.type](**part.args) if part == own_generator(state) else build(part, source=path)
    load_into(net, state, source=path)
    net.eval().requires_grad_(False)
    first = next((parameter for parameter in net.parameters() if parameter.ndim == 4), None)
    channels = next(
        (part.args[name] for name in CHANNEL_ARGUMENTS if isinstance(part.args.get(name), int)),
        1 if first is not None and first.shape[1] == 1 else 3,
    )
    check_channels(path, part.type, channels)
    try:
        multiple_of, scale = size_multiple(net, channels)
    except NoSizeError as error:
        raise CheckpointError(f"{path}: this {part.type} cannot be used to upscale: {error}") from error
    return LoadedNetwork(net, part.type, scale, channels, multiple_of, part=part)


def check_channels(path: Path, architecture: str, channels: int) -> None:
    """Refuse a network for images of neither 1 nor 3 channels."""
    if channels not in (1, 3):
        raise CheckpointError(
            f"{path}: this {architecture} takes images of {channels} channels; "
            "srcx upscales by networks of 1 or 3"
        )


def described(path: Path) -> NetworkPart | None:
    """Return the network that NAME.json beside the checkpoint or its metadata describes, if one does."""
    beside = path.with_suffix(".json")
    texts = [(beside, beside.read_text("utf-8", errors="replace"))] if beside.is_file() else []
    metadata = read_metadata(path).get("network")
    texts += [(path, f'{{"network": {metadata}}}')] if metadata else []
    for source, text in texts:
        part = parse_description(text)
        if part is not None:
            return part
        log.warning("%s: does not describe a network and is ignored", source)
    return None


def option_file_part(path: Path) -> NetworkPart | None:
    """Return the generator of the option file of the checkpoint's run folder, if there is one."""
    for file in option_files(path):
        try:
            return read_network_g(file)
        except SrcxError as error:
            log.info("%s", error)
    return None


def mean_and_std(path: Path) -> tuple[Any, Any]:
    """Return the `mean` and `std` of the images that a checkpoint was trained on; None for one not used."""
    from srcx.config.yaml_io import read_file

    metadata = read_metadata(path)
    if NORMALISATION in metadata:
        try:
            mean, std = json.loads(metadata[NORMALISATION])
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: expected [mean, std] as its {NORMALISATION}; got {metadata[NORMALISATION]}"
            ) from error
        return mean, std
    for file in option_files(path):
        with suppress(SrcxError):  # the log has the error of the first reading
            options = read_file(file)
            mean, std = (options.get(("datasets", "train", key)) for key in ("mean", "std"))
            return mean, std
    return None, None


def option_files(path: Path) -> list[Path]:
    """Return the option files in the run folder of a checkpoint, the run's own first."""
    folder = real_path(path).parent
    if folder.name != "models":
        return []
    run = folder.parent
    files = dict.fromkeys([run / f"{run.name}.yml", *sorted(run.glob("*.yml"))])
    return [file for file in files if file.is_file()]


def read_network_g(path: Path) -> NetworkPart:
    """Return type and arguments of the generator of an option file; the rest of the file may be anything.

    Raises:
        OptionsError: the file cannot be read.
        CheckpointError: it describes no generator.
    """
    from srcx.config.yaml_io import read_file

    part = read_file(path).get(("network_g",))
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise CheckpointError(
            f"{path}: expected a network_g with a type, to know the network of the run's weights"
        )
    return NetworkPart(part["type"], {name: value for name, value in part.items() if name != "type"})


def parse_description(text: str) -> NetworkPart | None:
    """Return the network that {"network": {"type": ..., "args": {...}}} describes; None for other text.

    Example:
        >>> parse_description('{"network": {"type": "SRResNet", "args": {"num_feat": 8}}}')
        NetworkPart(type='SRResNet', args={'num_feat': 8})
    """
    try:
        network = json.loads(text)["network"]
        part = NetworkPart(network["type"], dict(network.get("args", {})))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return part if isinstance(part.type, str) else None


def build(part: NetworkPart, *, source: Path) -> nn.Module:
    """Build one of the generators that a checkpoint may name, with fresh weights.

    A checkpoint is not trusted: the constructors of other networks may open files that their arguments name.

    Raises:
        CheckpointError: there is no such generator, or it does not take these arguments.
    """
    from srcx.basicsr_compat.parts import GENERATORS, AllParts  # loads every part there is: half a second

    if not part.type.startswith(SPANDREL) and part.type.rpartition(".")[2] not in GENERATORS:
        raise CheckpointError(
            f"{source}: '{part.type}' is not a network that upscales single images; a checkpoint may name "
            f"{', '.join(sorted(GENERATORS))}, or one of spandrel as {SPANDREL}NAME"
        )
    parts = AllParts()
    problems = parts.problems("network", part.type, part.args)
    if problems:
        raise CheckpointError(f"{source}: {'; '.join(message for _, message in problems)}")
    try:
        return parts.network(part.type)(**part.args)
    except Exception as error:
        raise CheckpointError(
            f"{source}: a {part.type} cannot be built with these arguments: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


class NormalisedNet(nn.Module):
    """A network for images whose channels have `mean` subtracted and are divided by `std`, as one in [0, 1].

    Args:
        model: The network.
        channels: Of the images.
        mean: One number, or one for each channel; None subtracts nothing.
        std: Likewise; None divides by nothing.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: nn.Module, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
    ) -> None:
        super().__init__()
        self.model = model
        for name, given in {"mean": mean or [0.0], "std": std or [1.0]}.items():
            numbers = torch.tensor(given, dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, numbers.expand(1, channels, 1, 1).clone())

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"

    def forward(self, lq: Tensor) -> Tensor:
        sr: Tensor = self.model((lq - self.mean) / self.std)
        return sr * self.std + self.mean


class SpandrelNet(nn.Module):
    """A network called through spandrel, with the padding and clamping that its architecture needs."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.model = descriptor.model
        self.descriptor = descriptor

    def forward(self, lq: Tensor) -> Tensor:
        return self.descriptor(lq)


def from_spandrel(path: Path, state: Mapping[str, Tensor], part: NetworkPart | None = None) -> LoadedNetwork:
    """Load a network of spandrel.

    Args:
        path: The file, for messages.
        state: The weights.
        part: Its type and arguments; None lets spandrel find them by the weights, which do not show all.
    """
    import spandrel

    try:
        descriptor = recognise(state)
    except Exception as error:
        raise CheckpointError(
            f"{path}: no known network has weights of these names and shapes; put the option file's network "
            f'beside it as {path.with_suffix(".json").name}: {{"network": {{"type": ..., "args": {{...}}}}}}'
        ) from error
    kind = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise CheckpointError(f"{path}: a {kind} network, which does not make an image from an image")
    if part is not None:
        net = build(part, source=path)
        load_into(net, descriptor.model.state_dict(), source=path)
        descriptor._model = net
    check_channels(path, kind, descriptor.input_channels)
    if descriptor.output_channels != descriptor.input_channels:
        raise CheckpointError(
            f"{path}: this {kind} takes images of {descriptor.input_channels} channels and makes images of "
            f"{descriptor.output_channels}; srcx upscales by networks with as many channels out as in"
        )
    descriptor.model.eval().requires_grad_(False)
    supported = {"fp32": True, "bf16": descriptor.supports_bfloat16, "fp16": descriptor.supports_half}
    precisions = frozenset(name for name, works in supported.items() if works)
    multiple_of = descriptor.size_requirements.multiple_of
    if part is None and (known := arguments_of(descriptor.model)) is not None:
        part = NetworkPart(*known)
    return LoadedNetwork(
        SpandrelNet(descriptor),
        kind,
        descriptor.scale,
        descriptor.input_channels,
        multiple_of,
        precisions,
        part,
    )
