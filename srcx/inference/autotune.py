"""The engine for a network on this machine: expected from the processor, or measured if that repays."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import srcx
from srcx.atomic import atomic_path, make_folder
from srcx.errors import OutputError, UsageError
from srcx.hardware import cores, processor, threads
from srcx.imaging.planes import Planes
from srcx.inference.backends import BACKENDS, EXACT, Backend, Engine, psnr_db
from srcx.inference.models import Model
from srcx.weights.published import cache_folder

__all__ = [
    "TIMED_RUNS",
    "Precision",
    "cache_times",
    "cached_times",
    "check_precision",
    "engines_for",
    "expected_order",
    "fastest",
    "measure",
]

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

MIN_PSNR_DB = 50.0
"""Least PSNR between an engine's output and that of torch in fp32; 50 dB is about one grey level of 255."""
TIMED_RUNS = 5
HOPELESS = 3.0
"""An engine that takes so many times the least time of the first turn is not run again."""

EXPECTED = {
    "amx_bf16": ("openvino int8", "openvino bf16", "torch bf16", "ncnn fp32", "openvino fp32", "onnx fp32"),
    "": ("openvino int8", "ncnn fp32", "openvino fp32", "onnx fp32"),
}
"""The fastest first, on processors with this instruction and on all; the times are in docs/performance.md.
That a processor has bf16 in AVX-512 does not tell whether it is fast (docs/training_log.md)."""

Times = Mapping[Engine, float | None]
"""Seconds of an engine for one piece of an image; None where it does not run, or not within `MIN_PSNR_DB`."""

log = logging.getLogger(__name__)


class Expected(NamedTuple):
    """The engines in the order in which they are expected to be fast, and why."""

    engines: list[Engine]
    reason: str


def check_precision(precision: str, model: Model) -> None:
    """Refuse a precision that does not exist or in which the network does not work.

    Raises:
        UsageError: one of both.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision: expected one of {', '.join(get_args(Precision))}; got '{precision}'")
    if precision not in {"auto", "int8"} | model.precisions:
        raise UsageError(f"{model.name}: a {model.architecture} does not work in {precision}; take fp32")


def engines_for(model: Model, device: str, *, backend: str, precision: str) -> list[Engine]:
    """Return the engines to choose from, the simplest first; at least one.

    Args:
        model: Has a network.
        device: The device that torch runs on.
        backend: Name of a backend, or "auto" for those that are installed and run on this device.
        precision: A precision, or "auto" for fp32, the half precision that this device has instructions for,
            and int8 where the model has an 8-bit file.

    Raises:
        UsageError: no such engine runs on this machine.
    """
    if model.backend is not None:
        if backend not in ("auto", model.backend):
            raise UsageError(f"backend: {model.path} is a file for {model.backend}; leave {backend} out")
        backend = model.backend

    def on_device(one: Backend) -> bool:
        return one.runs_on_gpu or device == "cpu"

    backends = [
        one
        for one in BACKENDS
        if one.name == backend
        or (backend == "auto" and on_device(one) and (one is EXACT.backend or one.available()))
    ]
    precisions = (
        ["fp32", *_half_precisions(device), *(["int8"] if model.int8 else [])]
        if precision == "auto"
        else [precision]
    )
    works = model.precisions | {"int8"}
    engines = [
        Engine(one, each) for one in backends for each in precisions if each in works and each in one.formats
    ]
    if not engines:
        for one in BACKENDS:
            if backend == "auto" and on_device(one) and precision in one.formats:
                one.load()  # its error says what to install
        raise UsageError(f"{backend}: does not run {model.name} in {precision}; take fp32")
    return engines


def _half_precisions(device: str) -> list[str]:
    if device.startswith("cuda"):
        return ["fp16"]
    return ["bf16"] if device == "cpu" and processor()[1] & {"avx512_bf16", "amx_bf16"} else []


def expected_order(model: Model, engines: Sequence[Engine]) -> Expected:
    """Return the engines with those first that are expected to be the fastest; nothing is measured.

    Only the models that come with srcx are known to be the same in every engine, and how they bear half
    precision. For others, their order stays: torch in fp32 comes first.

    Args:
        model: The model.
        engines: From `engines_for`.
    """
    if model.store is None:
        return Expected(list(engines), "as nothing was measured")
    flags = processor()[1]
    instruction = next(name for name in EXPECTED if not name or name in flags)
    by_name = {str(engine): engine for engine in engines}
    first = [by_name[name] for name in EXPECTED[instruction] if name in by_name]
    kind = "with AMX" if instruction else "without AMX"
    return Expected(
        [*first, *(engine for engine in engines if engine not in first)],
        f"expected to be the fastest of {len(engines)} on a processor {kind}",
    )


def measure(engines: Sequence[Engine], run: Callable[[Engine], Planes]) -> dict[Engine, float | None]:
    """Return the least time of each engine over five turns; in a turn, each runs once.

    Args:
        engines: The engines to try.
        run: Returns the output of an engine for one and the same piece of an image.

    Raises:
        UsageError: no engine runs this network within `MIN_PSNR_DB`, and torch in fp32 is not one of them.
    """
    exact = run(EXACT)
    times_s: dict[Engine, float] = {}
    reasons: dict[Engine, str] = {}
    for engine in engines:
        try:
            near_db = psnr_db(run(engine), exact)
            if not near_db >= MIN_PSNR_DB:  # nor NaN
                reasons[engine] = (
                    f"its output is {near_db:.1f} dB from torch's in fp32, less than {MIN_PSNR_DB:g}"
                )
                continue
            times_s[engine] = _time_s(run, engine)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises: the others are still to be tried
            reasons[engine] = str(error).strip().partition("\n")[0]
            continue
        log.info("%s: %.1f dB from fp32", engine, near_db)
    for engine, reason in reasons.items():
        log.info("%s is not used: %s", engine, reason)
    if not times_s and EXACT not in engines:
        why = "; ".join(f"{engine}: {reason}" for engine, reason in reasons.items())
        raise UsageError(f"no engine asked for runs this network ({why}); take another backend or precision")
    limit_s = HOPELESS * min(times_s.values(), default=0)
    for _ in range(TIMED_RUNS - 1):
        for engine in [one for one, time_s in times_s.items() if time_s <= limit_s]:
            times_s[engine] = min(times_s[engine], _time_s(run, engine))
    for engine, time_s in times_s.items():
        log.info("%s: %.3f s", engine, time_s)
    return {engine: times_s.get(engine) for engine in engines}


def _time_s(run: Callable[[Engine], Planes], engine: Engine) -> float:
    start_s = time.perf_counter()
    run(engine)
    return time.perf_counter() - start_s


def fastest(times: Times) -> Engine:
    """Return the engine of the least time; torch in fp32 where none has a time."""
    known = {engine: time_s for engine, time_s in times.items() if time_s is not None}
    return min(known, key=lambda engine: known[engine], default=EXACT)


def cached_times(
    model: Model, engines: Sequence[Engine], device: str = "cpu"
) -> dict[Engine, float | None] | None:
    """Return the times of these engines that were measured before; None unless all of them were."""
    known = _read_cache().get(_cache_key(model, device), {})
    if not isinstance(known, dict) or not all(
        isinstance(known.get(str(one), ""), float | None) for one in engines
    ):
        return None
    return {engine: known[str(engine)] for engine in engines}


def cache_times(model: Model, times: Times, device: str = "cpu") -> None:
    """Store times for later processes, if the user's cache can be written."""
    try:
        path = _cache_file()
        make_folder(path.parent)
        with atomic_path(path) as temporary:
            cache, key = _read_cache(), _cache_key(model, device)
            known = cache.get(key)
            new = {str(engine): time_s for engine, time_s in times.items()}
            cache[key] = known | new if isinstance(known, dict) else new
            temporary.write_text(json.dumps(cache, indent=1), "utf-8")
    except OutputError as error:
        log.info("%s", error)


def _cache_file() -> Path:
    return cache_folder().parent / "times.json"


def _read_cache() -> dict[str, Any]:
    """Return the cache; a damaged one is empty."""
    try:
        cache = json.loads(_cache_file().read_text("utf-8"))
    except (OSError, ValueError, RecursionError, OutputError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _cache_key(model: Model, device: str) -> str:
    """Return everything that times depend on: network, device, threads and versions."""
    if device.startswith("cuda"):
        import torch

        processors = torch.cuda.get_device_name(device)
    else:
        name, flags = processor()
        processors = f"{name} {' '.join(sorted(flags))}, {cores()} cores, {threads()} threads"
    versions = ", ".join(dict.fromkeys(backend.version() for backend in BACKENDS))
    return f"{model.sha256}; {processors}; srcx {srcx.__version__}, {versions}"
