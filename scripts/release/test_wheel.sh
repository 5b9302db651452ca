#!/usr/bin/env bash
# Build the sdist and the wheel, install the wheel into an empty environment, and use srcx from another folder.
# Needs the package index and some 6 GB of disk for torch; everything lies in a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=$PWD
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/build"
"$work/build/bin/pip" install --quiet build
# Of the tracked files alone: what lies about in a checkout must not help. The wheel is built from the sdist.
mkdir "$work/source"
git ls-files -z | xargs -0 cp --parents --target-directory "$work/source"
"$work/build/bin/python" -m build --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }

{ git ls-files srcx; git ls-files options | sed 's,^,srcx/,'; } | sort >"$work/tracked"
"$work/build/bin/python" -m zipfile --list "$work"/dist/*.whl | awk '/^srcx\// {print $1}' | sort >"$work/packed"
diff "$work/tracked" "$work/packed" || { echo "the wheel's files are not those of srcx/ and options/: see [tool.setuptools.package-data] and setup.py"; exit 1; }

python3 -m venv "$work/empty"
"$work/empty/bin/pip" install --quiet "$work"/dist/*.whl
mkdir "$work/elsewhere" && cd "$work/elsewhere"
export PATH="$work/empty/bin:$PATH"
python -c "import skimage; skimage.io.imsave('photo.jpg', skimage.data.astronaut()[:112, 200:328])"
case $(python -c "import srcx; print(srcx.__file__)") in "$repository"/*) echo "the checkout is imported, not the wheel"; exit 1 ;; esac
srcx --help >/dev/null
srcx models
srcx upscale photo.jpg -o out/
python - <<'END'
from PIL import Image

(file,) = __import__("pathlib").Path("out").iterdir()
size = Image.open(file).size
assert size == (512, 448), size
END
# The degradations, manifests, metrics' tables and the report's page are read from the package, too.
mkdir -p sets/Tiny/HR && cp photo.jpg sets/Tiny/HR/
srcx benchmark --data sets --metrics psnr ssim --degrade web -o report
test -s report/report.html
srcx data degrade --help >/dev/null
# A training without a checkout, from one's own images.
mkdir photos
python -c "
import skimage
for n in range(4):
    skimage.io.imsave(f'photos/{n}.png', skimage.data.astronaut()[100 * n :, 150:350], check_contrast=False)
"
srcx new --list
srcx new first --data photos --minutes 0.1
srcx train -opt first.yml --force_yml train:total_iter=2
test -s "$(sed -n 's,.*$schema=file://,,p' first.yml)"
srcx upscale photo.jpg -o large.png --model experiments/first
test -s large.png
echo "the wheel works"
