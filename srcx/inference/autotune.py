"""The fastest engine for a network on this machine: measured once, and cached."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

import srcx
from srcx.atomic import atomic_path, make_folder
from srcx.errors import OutputError, UsageError
from srcx.hardware import fast_dtype
from srcx.inference.backends import BACKENDS, DTYPES, EXACT, Backend, Engine, psnr_db
from srcx.inference.models import Model
from srcx.weights.published import cache_folder

__all__ = ["Precision", "cache_engine", "cached_engine", "check_precision", "engines_for", "fastest"]

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

MIN_PSNR_DB = 50.0
"""Least PSNR between an engine's output and that of torch in fp32; 50 dB is about one grey level of 255."""
TIMED_RUNS = 2

log = logging.getLogger(__name__)


def check_precision(precision: str, model: Model) -> None:
    """Refuse a precision that does not exist or in which the network does not work.

    Raises:
        UsageError: one of both.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision: expected one of {', '.join(get_args(Precision))}; got '{precision}'")
    if DTYPES.get(precision, torch.float32) not in model.dtypes:
        raise UsageError(f"{model.name}: a {model.architecture} does not work in {precision}; take fp32")


def engines_for(model: Model, device: torch.device, *, backend: str, precision: str) -> list[Engine]:
    """Return the engines to choose from, the simplest first; at least one.

    Args:
        model: Has a network.
        device: The device that torch runs on.
        backend: Name of a backend, or "auto" for those that are installed and run on this device.
        precision: A precision, or "auto" for fp32, the format this device multiplies fastest, and int8 where
            the model has an 8-bit file.

    Raises:
        UsageError: no such engine runs on this machine.
    """
    if model.backend is not None:
        if backend not in ("auto", model.backend):
            raise UsageError(f"backend: {model.path} is a file for {model.backend}; leave {backend} out")
        backend = model.backend

    def on_device(one: Backend) -> bool:
        return one.runs_on_gpu or device.type == "cpu"

    backends = [
        one
        for one in BACKENDS
        if one.name == backend
        or (backend == "auto" and on_device(one) and (one is EXACT.backend or one.available()))
    ]
    names = {dtype: name for name, dtype in DTYPES.items()}
    fast = names[fast_dtype(device)]
    precisions = (
        list(dict.fromkeys(["fp32", fast, *(["int8"] if model.int8 else [])]))
        if precision == "auto"
        else [precision]
    )
    works = {name for name, dtype in DTYPES.items() if dtype in model.dtypes} | {"int8"}
    engines = [
        Engine(one, each) for one in backends for each in precisions if each in works and each in one.formats
    ]
    if not engines:
        for one in BACKENDS:
            if backend == "auto" and on_device(one) and precision in one.formats:
                one.load()  # its error says what to install
        raise UsageError(f"{backend}: does not run {model.name} in {precision}; take fp32")
    return engines


def fastest(engines: Sequence[Engine], run: Callable[[Engine], Tensor]) -> Engine:
    """Return the engine that takes the least time, of those within `MIN_PSNR_DB` of torch in fp32.

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
            times_s[engine] = min(_time_s(run, engine) for _ in range(TIMED_RUNS))
        except Exception as error:  # noqa: BLE001 - whatever a backend raises: the others are still to be tried
            reasons[engine] = str(error).strip().partition("\n")[0]
            continue
        log.info("%s: %.3f s, %.1f dB from fp32", engine, times_s[engine], near_db)
    for engine, reason in reasons.items():
        log.info("%s is not used: %s", engine, reason)
    if not times_s and EXACT not in engines:
        why = "; ".join(f"{engine}: {reason}" for engine, reason in reasons.items())
        raise UsageError(f"no engine asked for runs this network ({why}); take another backend or precision")
    return min(times_s, key=lambda engine: times_s[engine], default=EXACT)


def _time_s(run: Callable[[Engine], Tensor], engine: Engine) -> float:
    start_s = time.perf_counter()
    run(engine)
    return time.perf_counter() - start_s


def cached_engine(model: Model, engines: Sequence[Engine]) -> Engine | None:
    """Return the engine that was measured before to be the fastest of these, if there is one."""
    name = _read_cache().get(_cache_key(model, engines))
    return next((engine for engine in engines if str(engine) == name), None)


def cache_engine(model: Model, engines: Sequence[Engine], engine: Engine) -> None:
    """Store the fastest of `engines` for later processes, if the user's cache can be written."""
    try:
        path = _cache_file()
        make_folder(path.parent)
        with atomic_path(path) as temporary:
            cache = _read_cache() | {_cache_key(model, engines): str(engine)}
            temporary.write_text(json.dumps(cache, indent=1), "utf-8")
    except OutputError as error:
        log.info("%s", error)


def _cache_file() -> Path:
    return cache_folder().parent / "fastest.json"


def _read_cache() -> dict[str, str]:
    """Return the cache; a damaged one is empty."""
    try:
        cache = json.loads(_cache_file().read_text("utf-8"))
    except (OSError, ValueError, RecursionError, OutputError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _cache_key(model: Model, engines: Sequence[Engine]) -> str:
    """Return everything that the fastest engine depends on: network, machine, versions and the choice."""
    if torch.cuda.is_available():
        processor = torch.cuda.get_device_name()
    else:
        try:
            lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            processor = next(
                line.partition(":")[2].strip() for line in lines if line.startswith("model name")
            )
        except (OSError, StopIteration, ValueError):
            processor = "unknown processor"
        processor = f"{processor} {torch.backends.cpu.get_cpu_capability()}"
    versions = ", ".join(dict.fromkeys(backend.version() for backend in BACKENDS))
    made_by = f"srcx {srcx.__version__}, {versions}"
    choice = ", ".join(map(str, engines))
    return f"{model.sha256}; {processor}, {torch.get_num_threads()} threads; {made_by}; {choice}"
