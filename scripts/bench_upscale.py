"""Time the ways of running MSRResNet 64 x 16 on a 320 x 180 picture, and a small picture from start to file.

The ways take their turns, so that whatever else the machine does meets all of them; each is given with the
middle of its times, its ratio to eager fp32 and its PSNR against it. int8 is OpenVINO's, calibrated with NNCF
on the pictures of --calibration. Ways whose package is not installed are left out, and so is bf16 where the
processor does not multiply it. Run it on an idle machine.

    python scripts/bench_upscale.py --threads 2 --runs 7 --picture photo.png
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srcx.archs import MSRResNet
from srcx.errors import SrcxError
from srcx.imaging import imresize, list_pictures, read_picture, to_tensor, write_picture
from srcx.inference import Model, find_model
from srcx.inference.backends import Run, Way, installed, openvino_run, to_onnx
from srcx.inference.export import photograph
from srcx.inference.precision import likeness_db
from srcx.inference.runner import Runner
from srcx.processor import fast_dtype

HEIGHT, WIDTH = 180, 320
CALIBRATION_PX, CALIBRATION_PICTURES = 96, 100


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of each way (2)")
    parser.add_argument("--runs", type=int, default=7, help="turns timed (7)")
    parser.add_argument("--picture", type=Path, help="a photograph; one of scikit-image's without it")
    parser.add_argument("--model", help="NAME or FILE; fresh weights of MSRResNet 64 x 16 without it")
    parser.add_argument("--calibration", type=Path, help="folder of pictures to calibrate int8 on")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net = find_model(args.model).net if args.model else MSRResNet().eval()
    if net is None:
        sys.exit(f"{args.model}: has no network")
    lq = picture_of(args.picture or photograph())
    print(f"{args.threads} threads, {args.runs} turns, load before {os.getloadavg()[0]:.2f}")
    compare(ways(net, lq, args.calibration), lq, args.runs)
    start_to_file(args.model, args.runs, args.threads)


def picture_of(path: Path) -> Tensor:
    """A photograph at 320 x 180, (1, 3, 180, 320)."""
    return to_tensor(imresize(read_picture(path)[..., :3], size=(HEIGHT, WIDTH)))


def ways(net: nn.Module, lq: Tensor, calibration: Path | None) -> dict[str, Run]:
    """What is compared, by its name; the first is what the others are measured against."""
    model = Model("bench", 4, "MSRResNet", "0", net=net)
    found: dict[str, Run] = {"torch fp32, NCHW": net}
    cpu = torch.device("cpu")
    for way in (Way(), Way("torch", "bf16"), Way("onnx"), Way("openvino"), Way("openvino", "bf16")):
        if installed(way.backend) and (way.precision == "fp32" or fast_dtype(cpu) == torch.bfloat16):
            found[f"srcx {way}"] = Runner(model, way, cpu)
    if calibration and installed("openvino"):
        found["OpenVINO int8"] = int8(net, calibration)
    return found


def int8(net: nn.Module, folder: Path) -> Run:
    """OpenVINO on weights and activations of 8 bits, with scales found on pieces of pictures."""
    import nncf
    import openvino

    pieces = [
        to_tensor(read_picture(path)[:CALIBRATION_PX, :CALIBRATION_PX, :3]).numpy()
        for path in list_pictures(folder, recursive=True)[:CALIBRATION_PICTURES]
    ]
    exact = openvino.Core().read_model(to_onnx(net, channels=3, multiple_of=1))
    small: Any = nncf.quantize(exact, nncf.Dataset(pieces), subset_size=len(pieces))
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "int8.xml"
        openvino.save_model(small, str(file))
        return openvino_run(openvino, str(file))


@torch.inference_mode()
def compare(found: dict[str, Run], lq: Tensor, runs: int) -> None:
    """Print a line for each way."""
    outputs = {name: run(lq).float().clamp(0, 1) for name, run in found.items()}  # and warm up
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(runs):
        for name, run in found.items():
            times[name].append(seconds(lambda run=run: run(lq)))  # type: ignore[misc]
    plain, *_ = found
    for name in found:
        median = statistics.median(times[name])
        ratio = statistics.median(times[plain]) / median
        print(
            f"{name:20} {median:6.3f} s  {ratio:5.2f} x  {likeness_db(outputs[name], outputs[plain]):6.1f} dB"
        )


def start_to_file(model: str | None, runs: int, threads: int) -> None:
    """Time `srcx upscale` of a 64 x 48 picture, from the start of the process to its end."""
    with tempfile.TemporaryDirectory() as temporary:
        small, large = Path(temporary) / "small.png", Path(temporary) / "large.png"
        write_picture(small, imresize(read_picture(photograph()), size=(48, 64)))
        command = [sys.executable, "-m", "srcx", "upscale", str(small), "-o", str(large), "--overwrite"]
        command += ["--model", model] if model else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        times = [
            seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))
            for _ in range(runs)
        ]
    name, median = "start to file, 64 x 48", statistics.median(times)
    print(f"{name:20} {median:6.3f} s  ({min(times):.3f} to {max(times):.3f})")


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    try:
        main()
    except SrcxError as error:
        sys.exit(str(error))
