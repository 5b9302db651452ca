import importlib

import numpy as np
import pytest
import torch
from PIL import ImageCms
from torch.nn import functional
from torch.testing import assert_close

from srcx.errors import ImageError, UsageError
from srcx.features.extractor import FeatureExtractor
from srcx.imaging import Extras, imresize, to_image, to_tensor, write_image
from srcx.inference import transfer

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RED_AND_GREEN_SWAPPED = SRGB.replace(b"rXYZ", b"?", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"?", b"gXYZ", 1)


@pytest.fixture(scope="module")
def network():
    return FeatureExtractor.random("vgg16")


@pytest.fixture
def _made_up(network, monkeypatch):
    """VGG16 with made-up weights wherever an objective asks for it."""
    for module in ("srcx.features.extractor", "srcx.inference.transfer"):
        monkeypatch.setattr(importlib.import_module(module), "extractor", lambda *args, **kwargs: network)


@pytest.fixture
def images(rng):
    return [imresize(rng.integers(0, 256, (6, 6, 3), np.uint8), size=size) for size in ((40, 48), (36, 52))]


@pytest.mark.parametrize("by", transfer.OBJECTIVES)
@pytest.mark.usefixtures("_made_up")
def test_every_way_lowers_its_objective_from_the_content_on(images, by):
    content, style = images
    steps = [
        (step.iteration, step.loss, to_image(step.image))
        for step in transfer.steps(content, style, by=by, iterations=8)
    ]
    numbers, losses, results = zip(*steps, strict=True)
    assert numbers == tuple(range(1, 9))
    assert min(losses[-2:]) < losses[0]
    assert results[-1].shape == content.shape
    assert (
        0
        < np.abs(results[-1].astype(int) - content).mean()
        < np.abs(content.mean(axis=(0, 1)) - content).mean()
    )


@pytest.mark.parametrize("by", transfer.OBJECTIVES)
@pytest.mark.usefixtures("_made_up")
def test_the_loss_is_that_to_the_style_and_that_to_the_content_by_their_weights(images, by):
    steps = transfer.steps(*images, by=by, iterations=2)
    image = next(steps).image.clone()
    content, style = map(to_tensor, images)
    one = transfer.OBJECTIVES[by]()
    wanted = one.style_weight * one.style(image, style) + one.content_weight * one.content(image, content)
    assert next(steps).loss == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.usefixtures("_made_up")
def test_a_image_in_its_own_style_has_nothing_to_gain(images):
    content = images[0]
    for by, most in {"contextual": 1e-3, "gram": 1e-6, "patches": 1e-6}.items():
        (step,) = transfer.steps(content, content, by=by, iterations=1)
        assert step.loss < most, by


def test_the_patch_loss_is_the_distance_to_the_patch_that_resembles_most(network):
    sr, gt = torch.rand(1, 3, 12, 14), torch.rand(1, 3, 10, 16)
    features = [network(image, ["relu2_1"])["relu2_1"] for image in (sr, gt)]
    patches, targets = (functional.unfold(one, 3)[0].T for one in features)
    wanted = []
    for patch in patches:
        likeness = [functional.cosine_similarity(patch, target, dim=0) for target in targets]
        wanted.append((patch - targets[int(torch.stack(likeness).argmax())]).square().mean())
    assert_close(transfer.PatchLoss(network, ["relu2_1"])(sr, gt), torch.stack(wanted).mean())


def test_a_smaller_patch_of_the_same_direction_is_the_nearest(network):
    """Normalised correlation: how strong the target's features are does not make them nearer."""
    loss = transfer.PatchLoss(network, ["conv1_1"])
    patch = torch.rand(1, 2, 3, 3)
    other = 100 * torch.rand(1, 2, 3, 3)
    targets = torch.cat([0.5 * patch, other], dim=3)
    assert_close(loss.compare({"conv1_1": patch}, {"conv1_1": targets}), (0.5 * patch).square().mean())


def test_an_image_is_read_as_rgb_at_the_size_asked_for(tmp_path, rng):
    grey = rng.integers(0, 65536, (60, 120), np.uint16)
    write_image(tmp_path / "a.png", grey)
    style = transfer.read_style(tmp_path / "a.png", 80, profile=b"")
    content = transfer.read_content(tmp_path / "a.png", 80, suffix=".png")
    for read, bits in ((style, np.uint8), (content.image, np.uint16)):
        assert (read.shape, read.dtype) == ((40, 80, 3), bits)
        assert (read == read[..., :1]).all()
    assert content.alpha is None


def test_hidden_pixels_have_no_colour_of_their_own(tmp_path):
    """Neither in the content, whose alpha is kept, nor in the style."""
    image = np.zeros((64, 64, 4), np.uint8)
    image[16:48, 16:48] = (200, 40, 30, 255)
    write_image(tmp_path / "a.png", image)
    content = transfer.read_content(tmp_path / "a.png", 32, suffix=".png")
    style = transfer.read_style(tmp_path / "a.png", 32, profile=b"")
    assert (content.image == [200, 40, 30]).all()
    assert (style == [200, 40, 30]).all()
    assert np.array_equal(content.alpha, imresize(image[..., 3], size=(32, 32)))


def test_the_style_has_its_colours_in_the_profile_of_the_content(tmp_path):
    write_image(tmp_path / "a.png", np.full((40, 40, 3), (200, 40, 30), np.uint8))
    style = transfer.read_style(tmp_path / "a.png", 40, profile=RED_AND_GREEN_SWAPPED)
    assert np.abs(style[0, 0].astype(int) - [40, 200, 30]).max() <= 2
    extras = Extras(icc=RED_AND_GREEN_SWAPPED)
    write_image(tmp_path / "a.png", np.full((40, 40, 3), (200, 40, 30), np.uint8), extras=extras)
    assert (transfer.read_style(tmp_path / "a.png", 40, profile=RED_AND_GREEN_SWAPPED) == [200, 40, 30]).all()
    assert np.abs(transfer.read_style(tmp_path / "a.png", 40, profile=b"")[0, 0] - [40, 200, 30.0]).max() <= 2
    assert (transfer.read_style(tmp_path / "a.png", 40, profile=b"damaged") == [200, 40, 30]).all()


def test_the_least_size_of_an_image_is_taken_and_a_smaller_one_names_it(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((48, 64, 3), np.uint8))
    assert transfer.read_style(tmp_path / "a.png", 43, profile=b"").shape == (32, 43, 3)
    with pytest.raises(UsageError, match=r"a\.png: at size 41, an image of 64 x 48 .*; take 43 or more"):
        transfer.read_style(tmp_path / "a.png", 41, profile=b"")
    write_image(tmp_path / "a.png", np.zeros((31, 64, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a\.png: expected .* at least 32 pixels a side, got 64 x 31"):
        transfer.read_content(tmp_path / "a.png", 4000, suffix=".png")


def test_wrong_arguments_are_one_sentence(images):
    with pytest.raises(UsageError, match="by: expected one of contextual, gram, patches; got 'magic'"):
        transfer.steps(*images, by="magic")
    with pytest.raises(
        ImageError, match=r"a style image in RGB of at least 32 pixels a side, got shape \(8, 48"
    ):
        transfer.steps(images[0], images[0][:8])
