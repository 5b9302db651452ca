"""The losses can be imported, and the contextual ones used, where torch is the only package there is."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ALONE = '''
import importlib.metadata as metadata, re, sys
from importlib.machinery import PathFinder

def needed_by(package, found):
    """Distributions that `package` needs."""
    for line in metadata.requires(package) or []:
        name = re.match(r"[\\w.-]+", line)[0].lower().replace("_", "-")
        if "extra ==" not in line and name not in found:
            found.add(name)
            try:
                needed_by(name, found)
            except metadata.PackageNotFoundError:
                pass
    return found

of_torch = needed_by("torch", {"torch"})
others = {
    module
    for module, owners in metadata.packages_distributions().items()
    if not any(owner.lower().replace("_", "-") in of_torch for owner in owners)
} - {"srcx"}
assert {"numpy", "cv2", "safetensors", "PIL"} <= others, others

class TorchAlone:
    """Finds no module of any other package."""
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in others else PathFinder.find_spec(name, path, target)

sys.meta_path = [TorchAlone() if finder is PathFinder else finder for finder in sys.meta_path]
import warnings
warnings.simplefilter("ignore")  # torch says that there is no NumPy
import torch
import srcx.losses
for name in set(srcx.losses.__all__) - {"AESOPLoss", "DISTSLoss"}:  # these are a network of ours
    getattr(srcx.losses, name)
sr, gt = torch.rand(2, 3, 12, 12, requires_grad=True), torch.rand(2, 3, 12, 16)
mask = torch.rand(2, 12, 16) < 0.8
for loss in (
    srcx.losses.ContextualLoss(features=torch.nn.AvgPool2d(2), bandwidth=0.5),
    srcx.losses.ContextualBilateralLoss("patches", patch_size=4),
):
    loss(sr, gt, y_mask=mask).backward()
srcx.losses.CharbonnierLoss()(sr, gt[..., :12]).backward()
srcx.losses.LowFrequencyLoss(kernel_size=5)(sr, gt[..., :12]).backward()
assert sr.grad.isfinite().all()
assert not others & {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
try:
    srcx.losses.ContextualLoss()
except ModuleNotFoundError as error:
    print("needs", error.name)
'''


def test_the_losses_need_torch_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("needs ")  # networks of ours have more: the block is in force
