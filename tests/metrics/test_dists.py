from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch.nn.functional import conv2d
from torch.testing import assert_close

from srcx.errors import ImageError
from srcx.features.dists_network import channel_weights
from srcx.features.extractor import FeatureExtractor
from srcx.metrics import dists
from srcx.weights.checkpoint import save_state


@pytest.fixture(scope="module")
def made_up_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_state(folder / "vgg16.safetensors", FeatureExtractor.random("vgg16").state_dict())
    return folder


@pytest.fixture(autouse=True)
def _made_up(made_up_folder, monkeypatch):
    monkeypatch.setenv("SRCX_WEIGHTS", str(made_up_folder))


@pytest.fixture
def authors_dists(monkeypatch):
    """The authors' network with the same made-up VGG16; the package would fetch the trained one itself."""
    package = pytest.importorskip("DISTS_pytorch.DISTS_pt")
    import torchvision

    with torch.device("meta"):
        features = torchvision.models.vgg16(weights=None).features
    state = FeatureExtractor.random("vgg16").state_dict()
    features.load_state_dict({k.removeprefix("features."): v for k, v in state.items()}, assign=True)
    monkeypatch.setattr(package.models, "vgg16", lambda pretrained: SimpleNamespace(features=features))
    theirs = package.DISTS(load_weights=False)
    weights = torch.load(package.__file__.replace("DISTS_pt.py", "weights.pt"), weights_only=True)
    theirs.alpha.data, theirs.beta.data = weights["alpha"], weights["beta"]
    return theirs


@pytest.mark.parametrize("size", [(16, 16), (64, 80), (61, 77)])
def test_equals_the_authors_package_on_random_images(authors_dists, size):
    sr, gt = torch.rand(2, 3, *size), torch.rand(2, 3, *size)
    near = (gt + 0.1 * sr).clamp(0, 1)
    assert_close(dists(sr, gt), authors_dists(sr, gt), rtol=0, atol=1e-5)
    assert_close(dists(near, gt), authors_dists(near, gt), rtol=0, atol=1e-5)


def test_the_channel_weights_are_the_authors(authors_dists):
    total = authors_dists.alpha.sum() + authors_dists.beta.sum()
    for ours, theirs in zip(channel_weights(), (authors_dists.alpha, authors_dists.beta), strict=True):
        assert_close(torch.cat(ours), (theirs / total).detach().flatten(), rtol=1e-6, atol=0)


def slow_stages(image):
    """The stages one image gives, in numpy but for the 3 x 3 convolutions: five blocks of VGG16."""
    network = FeatureExtractor.random("vgg16")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    stages = [image]
    x = (image - mean[:, None, None]) / std[:, None, None]
    places = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
    window = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        if block:
            squares = np.stack([convolve2d(channel**2, window, mode="same") for channel in x])
            x = np.sqrt(squares[:, ::2, ::2] + 1e-12)
        for _ in range(convolutions):
            layer = network.features[next(places)]
            batch = torch.from_numpy(x)[None]
            x = conv2d(batch, layer.weight.double(), layer.bias.double(), padding=1)[0].numpy().clip(min=0)
        stages.append(x)
    return stages


def test_equals_the_formula_written_out_slowly(rng):
    one, other = rng.integers(0, 256, (2, 37, 48, 3), np.uint8)
    alphas, betas = channel_weights()
    similarity = 0.0
    stages = zip(*(slow_stages(image.transpose(2, 0, 1) / 255) for image in (one, other)), strict=True)
    for (x, y), alpha, beta in zip(stages, alphas, betas, strict=True):
        for channel in range(len(x)):
            a, b = x[channel], y[channel]
            texture = (2 * a.mean() * b.mean() + 1e-6) / (a.mean() ** 2 + b.mean() ** 2 + 1e-6)
            covariance = ((a - a.mean()) * (b - b.mean())).mean()
            structure = (2 * covariance + 1e-6) / (a.var() + b.var() + 1e-6)
            similarity += float(alpha[channel]) * texture + float(beta[channel]) * structure
    assert dists(one, other) == pytest.approx(1 - similarity, abs=1e-5)


def test_equal_images_give_zero_and_more_blur_gives_more(photo, blurred):
    assert dists(photo, photo) == pytest.approx(0, abs=1e-5)
    half = ((photo.astype(int) + blurred) // 2).astype(np.uint8)
    assert 0 < dists(half, photo) < dists(blurred, photo)


def test_the_order_of_the_two_images_does_not_matter(photo, blurred):
    assert dists(photo, blurred) == pytest.approx(dists(blurred, photo), abs=1e-6)


def test_a_batch_scores_as_its_images_do(photo, blurred):
    sr, gt = (torch.from_numpy(image / 255).permute(2, 0, 1).float() for image in (blurred, photo))
    batch = dists(torch.stack([sr, gt]), torch.stack([gt, gt]))
    assert batch[0].item() == pytest.approx(dists(blurred, photo), abs=1e-6)
    assert batch[1].item() == pytest.approx(0, abs=1e-5)


def test_needs_no_gradient():
    sr = torch.rand(1, 3, 20, 20, requires_grad=True)
    assert not dists(sr, torch.rand(1, 3, 20, 20)).requires_grad


def test_too_small_an_image_is_an_error():
    small = np.zeros((15, 40, 3), np.uint8)
    with pytest.raises(ImageError, match="dists: needs at least 16 x 16 pixels; got 40 x 15"):
        dists(small, small)


def test_nan_is_an_error():
    good = torch.rand(1, 3, 40, 40)
    with pytest.raises(ImageError, match="dists: gt holds values that are not finite"):
        dists(good, torch.full_like(good, torch.nan))
