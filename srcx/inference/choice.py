"""Which way of running a network is the fastest on this machine: measured once, and remembered."""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

import srcx
from srcx.atomic import atomic_path, make_folder
from srcx.errors import OutputError, UsageError
from srcx.inference.backends import BACKENDS, FORMATS, Backend, Way, installed
from srcx.inference.model import Model
from srcx.inference.precision import DTYPES, LEAST_DB, NAMES, likeness_db
from srcx.processor import fast_dtype
from srcx.weights.fixed import cache_folder

__all__ = ["EXACT", "fastest", "recalled", "remember", "ways_of"]

EXACT = Way()
"""torch in fp32: what all others are compared with."""

TIMED_RUNS = 2

log = logging.getLogger(__name__)


def ways_of(model: Model, device: torch.device, *, backend: str, precision: str) -> list[Way]:
    """The ways worth trying, the plainest first; never empty.

    Args:
        model: It has to have a network.
        device: Where torch would run.
        backend: A backend, or "auto" for those that are installed.
        precision: A precision, or "auto" for fp32, the format this device multiplies fastest, and int8 where
            the model has an 8-bit file.

    Raises:
        UsageError: the backend does not run in this precision.
    """
    on_cpu = device.type == "cpu"
    backends: list[Backend] = [
        one
        for one in BACKENDS
        if backend == one or (backend == "auto" and (one == "torch" or (on_cpu and installed(one))))
    ]
    fast = fast_dtype(device)
    known = {name for name, dtype in DTYPES.items() if dtype in model.dtypes} | {"int8"}
    worth_it = ["fp32", *({NAMES[fast]} & {"bf16", "fp16"}), *(["int8"] if model.int8 else [])]
    precisions = worth_it if precision == "auto" else [precision]
    ways = [
        Way(one, each) for one in backends for each in precisions if each in known and each in FORMATS[one]
    ]
    if not ways:
        raise UsageError(f"{backend}: does not run {model.name} in {precision}; take fp32")
    return ways


def fastest(ways: Sequence[Way], run: Callable[[Way], Tensor]) -> Way:
    """The way that takes the least time, of those whose output is within `LEAST_DB` of the exact one.

    Args:
        ways: What to try.
        run: Gives the output of a way for one and the same piece of an image.

    Raises:
        UsageError: none of the ways runs this network within `LEAST_DB`, and torch in fp32 is none of them.
    """
    exact = run(EXACT)
    times_s: dict[Way, float] = {}
    reasons: dict[Way, str] = {}
    for way in ways:
        try:
            likeness = likeness_db(run(way), exact)
            times_s[way] = (
                min(_time_s(run, way) for _ in range(TIMED_RUNS)) if likeness >= LEAST_DB else math.inf
            )
        except Exception as error:  # noqa: BLE001 - whatever a backend raises: it is not taken, and the work goes on
            log.info("%s does not run this network: %s", way, error)
            reasons[way] = str(error).strip().partition("\n")[0]
            continue
        log.info("%s: %.3f s, %.1f dB from fp32", way, times_s[way], likeness)
        if math.isinf(times_s[way]):
            reasons[way] = f"its output is {likeness:.1f} dB from torch's in fp32, less than {LEAST_DB:g}"
            del times_s[way]
    if not times_s and EXACT not in ways:
        why = "; ".join(f"{way}: {reason}" for way, reason in reasons.items())
        raise UsageError(
            f"none of the ways asked for runs this network ({why}); take another backend or precision"
        )
    return min(times_s, key=lambda way: times_s[way], default=EXACT)


def _time_s(run: Callable[[Way], Tensor], way: Way) -> float:
    began_s = time.perf_counter()
    run(way)
    return time.perf_counter() - began_s


def recalled(model: Model, ways: Sequence[Way]) -> Way | None:
    """The way that was measured to be the fastest of these before, if any was."""
    known = _read().get(_key(model, ways))
    return next((way for way in ways if str(way) == known), None)


def remember(model: Model, ways: Sequence[Way], way: Way) -> None:
    """Keep what was measured for later processes, as far as the user's cache can be written."""
    try:
        path = _file()
        make_folder(path.parent)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(_read() | {_key(model, ways): str(way)}, indent=1), "utf-8")
    except OutputError as error:
        log.info("%s", error)


def _file() -> Path:
    return cache_folder().parent / "fastest.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError, RecursionError, OutputError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(model: Model, ways: Sequence[Way]) -> str:
    """What the fastest way depends on: the network, the machine, and what there is to choose from."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "onnxruntime", "openvino", "ncnn"))
    threads = torch.get_num_threads()
    made_by = f"srcx {srcx.__version__}, {versions}"
    return f"{model.sha256}; {_processor()}, {threads} threads; {made_by}; {', '.join(map(str, ways))}"


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, ValueError):
        name = "unknown processor"
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
