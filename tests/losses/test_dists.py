import pytest
import torch
from torch.testing import assert_close

from srcx.errors import ImageError
from srcx.features.extractor import FeatureExtractor
from srcx.losses.dists import DISTSLoss
from srcx.metrics import dists
from srcx.weights.checkpoint import save_state


@pytest.fixture(scope="module")
def loss(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_state(folder / "vgg16.safetensors", FeatureExtractor.random("vgg16").state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRCX_WEIGHTS", str(folder))
        yield DISTSLoss()


def test_is_the_mean_of_the_metric_and_zero_for_equal_images(loss):
    sr, gt = torch.rand(2, 3, 40, 33), torch.rand(2, 3, 40, 33)
    assert_close(loss(sr, gt), dists(sr, gt).mean())
    assert loss(gt, gt) == pytest.approx(0, abs=1e-5)


def test_the_gradient_goes_to_sr_alone_and_a_step_against_it_lowers_the_loss(loss):
    sr, gt = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32)
    before = loss(sr, gt)
    before.backward()
    assert sr.grad is not None
    assert all(weight.grad is None for weight in loss.parameters())
    with torch.no_grad():
        assert loss(sr - 1e-3 * sr.grad / sr.grad.abs().max(), gt) < before


def test_gradients_are_finite_for_black_and_equal_images(loss):
    sr = torch.zeros(1, 3, 16, 16, requires_grad=True)
    loss(sr, torch.zeros(1, 3, 16, 16)).backward()
    assert torch.isfinite(sr.grad).all()


def test_grey_small_and_different_images_are_refused(loss):
    image = torch.rand(1, 3, 20, 20)
    with pytest.raises(ImageError, match="DISTSLoss: expected RGB"):
        loss(image[:, :1], image[:, :1])
    with pytest.raises(ImageError, match="needs at least 16 x 16 pixels; got 20 x 15"):
        loss(image[:, :, :15], image[:, :, :15])
    with pytest.raises(ImageError, match="share one shape"):
        loss(image, image[..., :18])
