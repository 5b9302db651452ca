from pathlib import Path

import lpips as package
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError
from srcx.features.extractor import FeatureExtractor
from srcx.features.lpips_network import lpips_network
from srcx.imaging.io import read_image
from srcx.metrics import lpips
from srcx.metrics.lpips import copy_on
from srcx.weights.checkpoint import load_state, save_state


@pytest.fixture(scope="module")
def made_up_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_state(folder / "alexnet.safetensors", FeatureExtractor.random("alexnet").state_dict())
    return folder


@pytest.fixture
def made_up(made_up_folder, monkeypatch):
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up_folder))


@pytest.fixture
def real(shared: Path, tmp_path, monkeypatch):
    file = shared / "weights" / "alexnet_features.safetensors"
    (tmp_path / "alexnet.safetensors").symlink_to(file)
    monkeypatch.setenv("SRCX_WEIGHTS", str(tmp_path))
    return load_state(file)


def example(shared: Path, name: str):
    return read_image(shared / "data" / "lpips_examples" / f"{name}.png")


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(("name", "distance"), [("ex_p0", 0.7219), ("ex_p1", 0.1376)])
def test_the_authors_examples_have_their_distances(shared, name, distance):
    assert lpips(example(shared, name), example(shared, "ex_ref")) == pytest.approx(distance, abs=6e-5)


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum")
def test_equals_the_package_with_the_same_weights(real, rng):
    theirs = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for name, weight in theirs.net.state_dict().items():  # slice2.3.weight is features.3.weight
        weight.copy_(real[f"features.{name.split('.', 1)[1]}"])
    one, other = rng.integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    batch = [torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (one, other)]
    wanted = theirs(*batch, normalize=True).item()
    assert lpips(one, other) == pytest.approx(wanted, abs=1e-5)
    assert_close(lpips(*batch), torch.tensor([wanted]), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("made_up")
def test_equal_images_give_zero(photo):
    assert lpips(photo, photo) == 0


@pytest.mark.usefixtures("made_up")
def test_a_batch_scores_as_its_images_do(photo, blurred):
    sr, gt = (torch.from_numpy(image / 255).permute(2, 0, 1).float() for image in (blurred, photo))
    batch = lpips(torch.stack([sr, gt]), torch.stack([gt, gt]))
    assert batch[0].item() == pytest.approx(lpips(blurred, photo), abs=1e-6)
    assert batch[1].item() == 0


@pytest.mark.usefixtures("made_up")
def test_grey_is_seen_as_rgb(photo, blurred):
    one, other = photo[..., 0], blurred[..., 0]
    assert lpips(one, other) == lpips(*(np.stack([image] * 3, axis=2) for image in (one, other)))


@pytest.mark.usefixtures("made_up")
def test_leaves_the_losses_network_alone_and_needs_no_gradient():
    shared_network = lpips_network("alex")
    sr = torch.rand(1, 3, 40, 40, requires_grad=True)
    assert not lpips(sr, torch.rand(1, 3, 40, 40)).requires_grad
    assert copy_on(shared_network, torch.device("cpu")) is not shared_network


@pytest.mark.usefixtures("made_up")
def test_too_small_an_image_is_an_error():
    small = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(ImageError, match="lpips: needs at least 31 x 31 pixels for net 'alex'; got 40 x 30"):
        lpips(small, small)


@pytest.mark.usefixtures("made_up")
def test_nan_is_an_error():
    good = torch.rand(1, 3, 40, 40)
    with pytest.raises(ImageError, match="lpips: gt holds values that are not finite"):
        lpips(good, torch.full_like(good, torch.nan))
