"""Write a benchmark set's manifest anew from a whole copy of it, laid out as `srcx data fetch` does.

    python scripts/release/make_manifest.py datasets/benchmark/Set5 > srcx/benchmarks/manifests/Set5.json

The names at the source are those of the manifest that is there; what can be known of the files is filled in.
Where the manifest already has a digest, a file that differs from it stops the script.
"""

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path

from srcx.benchmarks.layout import gt_files, lq_files
from srcx.benchmarks.manifest import KnownFile, known_set, pixel_sha256
from srcx.imaging import read_image
from srcx.imaging.resize import crop_to_multiple

SCALE = 4


def main() -> None:
    """Print the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="the set's folder, named as the set")
    folder = parser.parse_args().folder
    known = known_set(folder.name)
    high, low = gt_files(folder, SCALE), lq_files(folder, SCALE)
    if high is None or low is None:
        parser.error(f"{folder}: has no HR or no LR_bicubic/X{SCALE} in it")
    gts, lqs = dict(high[1]), dict(low[1])
    lines = []
    for image in known.images:
        hr, lr = seen(image.hr, gts[image.name], mod12=True), seen(image.lr, lqs[image.name])
        lines.append(json.dumps({"name": image.name, "hr": hr, "lr": lr}))
    head = {name: getattr(known, name) for name in ("name", "folder", "about", "licence", "url")}
    print(json.dumps(head, indent=1)[:-2] + ',\n "images": [\n  ' + ",\n  ".join(lines) + "\n ]\n}")


def seen(known: KnownFile, path: Path, *, mod12: bool = False) -> dict[str, str | int]:
    """A file's entry, filled in."""
    content, image = path.read_bytes(), read_image(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if known.sha256 not in (None, sha256):
        raise SystemExit(f"{path}: expected the sha256 {known.sha256}, got {sha256}")
    entry = KnownFile(
        file=known.file,
        bytes=len(content),
        sha256=sha256,
        width=image.shape[1],
        height=image.shape[0],
        channels=1 if image.ndim == 2 else image.shape[2],
        pixels=pixel_sha256(image),
        pixels_mod12=pixel_sha256(crop_to_multiple(image, 12)) if mod12 else None,
    )
    return {name: value for name, value in dataclasses.asdict(entry).items() if value is not None}


if __name__ == "__main__":
    main()
