import numpy as np
import pytest
import torch
from torch import nn

from srcx import load_model, upscale
from srcx.archs import MSRResNet
from srcx.errors import ImageError, UsageError
from srcx.imaging import imresize, read_image
from srcx.inference import Model, Upscaler
from srcx.inference import upscaler as upscaler_module
from srcx.inference.backends import EXACT
from srcx.inference.tiling import Tiling
from srcx.weights import save_state


def lively(net: nn.Module) -> nn.Module:
    """Fresh weights made so large that the receptive field is wide."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.startswith("body"):
                weight.mul_(4)
    return net


def model_of(net: nn.Module, **kwargs) -> Model:
    return Model("test", kwargs.pop("scale", 2), "test", "0" * 64, net=net, **kwargs)


@pytest.fixture
def net() -> nn.Module:
    return lively(MSRResNet(num_feat=8, num_block=3, upscale=2)).eval()


@pytest.fixture
def photo(rng) -> np.ndarray:
    """Noise of every coarseness, as photographs have."""
    image = sum(imresize(rng.random((2**level, 2**level, 3)), size=(112, 136)) for level in range(1, 7))
    return ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bicubic_is_imresize(shape, dtype, rng):
    image = rng.integers(0, np.iinfo(dtype).max, shape, dtype)
    np.testing.assert_array_equal(upscale(image, "bicubic"), imresize(image, scale=4))


def test_bicubic_in_strips_is_bicubic_in_one(monkeypatch, rng):
    monkeypatch.setattr("srcx.inference.tiling.BICUBIC_TILING", Tiling(core_px=20, overlap_px=8, fade_px=0))
    image = rng.integers(0, 256, (61, 47, 3), np.uint8)
    np.testing.assert_array_equal(upscale(image, "bicubic-x3"), imresize(image, scale=3))


def test_a_network_gives_its_own_output_rounded(net, photo):
    result = Upscaler(model_of(net), precision="fp32")(photo)
    with torch.inference_mode():
        expected = net(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255).clamp(0, 1)[0].permute(1, 2, 0)
    assert np.abs(result - expected.numpy() * 255).max() <= 0.5 + 1e-2
    assert result.dtype == np.uint8


@pytest.mark.parametrize("tile", [16, 48])
def test_tiled_equals_whole_within_one_grey_level(net, photo, tile):
    whole = Upscaler(model_of(net), tile=0, precision="fp32")(photo).astype(int)
    tiled = Upscaler(model_of(net), tile=tile, precision="fp32")(photo)
    assert np.abs(tiled - whole).max() <= 1
    naive = np.concatenate(
        [Upscaler(model_of(net), tile=0, precision="fp32")(part) for part in (photo[:, :64], photo[:, 64:])],
        axis=1,
    )
    assert np.abs(naive - whole).max() > 2, (
        "a cut must change this network's output, or the test shows nothing"
    )


def test_too_little_memory_makes_tiles_and_the_same_image(net, photo, monkeypatch):
    from srcx.inference import runner

    monkeypatch.setattr(runner, "MAX_TILE_BYTES", 4_000_000)
    tiled = Upscaler(model_of(net), precision="fp32")
    assert tiled._runner_for(photo).tiling(*photo.shape[:2], None) is not None
    whole = Upscaler(model_of(net), tile=0, precision="fp32")(photo).astype(int)
    assert np.abs(tiled(photo) - whole).max() <= 1


def test_tiles_of_another_device_are_placed_while_it_works_on_the_next(net, photo):
    runner = Upscaler(model_of(net), precision="fp32", backend="torch")._runner_for(photo)
    results = []
    for device in ("cpu", "another"):
        runner.device = device
        results.append(np.zeros((224, 272, 3), np.uint8))
        runner.upscale(photo, results[-1], core_px=48)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("channels", [3, 4])
def test_progress_counts_the_tiles_of_one_image(net, photo, channels):
    image = np.dstack([photo, photo[..., 0]])[..., :channels]
    for upscaler, count in (
        (Upscaler(model_of(net), tile=48, precision="fp32"), 9),
        (Upscaler(model_of(net), tile=0, precision="fp32"), 1),
        (load_model("bicubic"), 1),
        (load_model("bicubic", scale=1.5), 1),
    ):
        steps = []
        result = upscaler(image, on_progress=lambda *step: steps.append(step))  # noqa: B023
        np.testing.assert_array_equal(result, upscaler(image))
        assert steps == [("tile", done, count) for done in range(1, count + 1)]


def test_an_error_of_the_progress_callback_ends_the_work(net, photo):
    seen = []

    def stop(_what: str, done: int, _total: int) -> None:
        seen.append(done)
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Upscaler(model_of(net), tile=48, precision="fp32")(photo, on_progress=stop)
    assert seen == [1, 2]


class Hungry(nn.Module):
    """Enlarges by 2 and has memory for few pixels."""

    def __init__(self, most: int, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.most, self.error, self.sizes = most, error, []

    def __deepcopy__(self, memo: object) -> "Hungry":
        return self

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(lq.shape[-2:]))
        if lq.shape[-1] * lq.shape[-2] > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")
        return lq.repeat_interleave(2, -1).repeat_interleave(2, -2) * self.gain


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
@pytest.mark.parametrize("tile", ["auto", 0, 112])
def test_out_of_memory_halves_the_tile_and_goes_on(photo, tile, error, caplog):
    hungry = Hungry(6000, error)
    up = Upscaler(model_of(hungry), tile=tile, precision="fp32")
    np.testing.assert_array_equal(up(photo), photo.repeat(2, axis=0).repeat(2, axis=1))
    assert "out of memory: continues in tiles of" in caplog.text
    hungry.sizes.clear()
    steps = []
    up(photo, on_progress=lambda *step: steps.append(step))
    assert steps == [("tile", done, len(hungry.sizes)) for done in range(1, len(hungry.sizes) + 1)]
    assert max(height * width for height, width in hungry.sizes) <= 6000, (
        "the smaller tile is used from now on"
    )


@pytest.mark.parametrize("tile", ["auto", 0])
def test_no_memory_at_all_is_one_sentence(photo, tile):
    with pytest.raises(ImageError, match="the network does not fit into the free memory"):
        Upscaler(model_of(Hungry(10)), tile=tile, precision="fp32")(photo)


def test_other_errors_than_out_of_memory_are_raised(photo):
    broken = model_of(Hungry(6000, ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        Upscaler(broken, tile=0, precision="fp32")(photo)


def test_a_result_that_does_not_fit_into_the_memory_is_refused_before_the_work(photo, monkeypatch):
    monkeypatch.setattr(upscaler_module, "free_bytes", lambda: 1_000_000)
    with pytest.raises(ImageError, match=r"544 x 448 pixels, takes 0\.0 GB of memory"):
        upscale(np.dstack([photo] * 2)[..., :4].astype(np.uint16), "bicubic")


@pytest.mark.parametrize(
    ("scale", "size"), [(2, (22, 30)), (3, (33, 45)), (8, (88, 120)), (1.5, (17, 23)), (1, (11, 15))]
)
@pytest.mark.parametrize("channels", [1, 4])
def test_any_scale_is_the_models_result_resampled(net, photo, scale, size, channels, caplog):
    image = np.dstack([photo, photo[..., 0]])[:11, :15, :channels].squeeze()
    native = Upscaler(model_of(net), precision="fp32")(image)
    result = Upscaler(model_of(net), precision="fp32", scale=scale)(image)
    expected = imresize(native, size=size) if scale != 2 else native
    if channels == 4:
        expected[..., 3] = imresize(image[..., 3], size=size)  # alpha is not resampled twice
    np.testing.assert_array_equal(result, expected)
    assert ("test upscales by 2; its results are resampled" in caplog.text) == (scale != 2)
    assert load_model("bicubic", scale=scale)(image).shape[:2] == size


@pytest.mark.parametrize("scale", [0, -1, 0.5, 33, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_refused(scale):
    with pytest.raises(UsageError, match="scale: expected a number from 1 to 32"):
        load_model("bicubic", scale=scale)


def test_tta_is_the_mean_over_eight_turns(net, photo):
    with torch.no_grad():
        net.conv_last.weight.mul_(300)  # the turns differ
    image = photo[:20, :33]
    result = Upscaler(model_of(net), precision="fp32", tta=True)(image)
    lq = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    total = torch.zeros(1, 3, 40, 66)
    with torch.inference_mode():
        for turns in range(4):
            for mirror in ((), (-1,)):
                turned = net(lq.rot90(turns, (-2, -1)).flip(mirror)).clamp(0, 1)
                total += turned.flip(mirror).rot90(-turns, (-2, -1))
    expected = (total / 8)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(result - expected).max() <= 0.5 + 1e-2
    assert np.abs(result - Upscaler(model_of(net), precision="fp32")(image).astype(int)).max() > 1


class MeanOfAll(nn.Module):
    """A network that looks at the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 3, 1, 1))

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(
            lq * 0.5 + lq.mean(dim=(2, 3), keepdim=True) * self.gain[:1, :1], scale_factor=2
        )


def test_a_network_that_looks_at_everything_is_faded_over_its_whole_overlap():
    tiling = Upscaler(model_of(MeanOfAll()), precision="fp32")._runner(EXACT).tiling(200, 200, 64)
    assert tiling is not None
    assert tiling.fade_px == tiling.overlap_px == 32


class Windows(nn.Module):
    """Refuses sizes that are no multiple of 8, as networks with windows do."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        assert lq.shape[-1] % 8 == 0
        assert lq.shape[-2] % 8 == 0
        return lq.repeat_interleave(2, -1).repeat_interleave(2, -2) * self.gain


@pytest.mark.parametrize("tile", [0, 16])
def test_sizes_a_network_does_not_take_are_padded_and_cut(tile, photo):
    odd = photo[:61, :35]
    result = Upscaler(model_of(Windows(), multiple_of=8), tile=tile, precision="fp32")(odd)
    np.testing.assert_array_equal(result, odd.repeat(2, axis=0).repeat(2, axis=1))


def test_grey_comes_back_grey(net, photo):
    grey = photo[..., 0]
    result = Upscaler(model_of(net), precision="fp32")(grey)
    as_rgb = Upscaler(model_of(net), precision="fp32")(np.dstack([grey] * 3))
    assert result.shape == (2 * grey.shape[0], 2 * grey.shape[1])
    assert np.abs(result - as_rgb @ [0.299, 0.587, 0.114]).max() <= 1


def test_a_network_for_grey_takes_each_channel_for_an_image(photo):
    net = lively(MSRResNet(num_in_ch=1, num_out_ch=1, num_feat=8, num_block=1, upscale=2)).eval()
    up = Upscaler(model_of(net, channels=1), precision="fp32")
    np.testing.assert_array_equal(up(photo)[..., 1], up(photo[..., 1]))


def test_16_bits_are_kept(net, photo):
    fine = photo.astype(np.uint16) * 257 - (photo > 0)
    result = Upscaler(model_of(net))(fine)
    assert result.dtype == np.uint16
    assert len(np.unique(result % 257)) > 200
    eight = Upscaler(model_of(net), precision="fp32")(photo)
    assert np.abs(result / 257 - eight).max() <= 1


def test_alpha_is_kept(net, photo, rng):
    alpha = rng.integers(0, 256, (*photo.shape[:2], 1), np.uint8)
    assert Upscaler(model_of(net), precision="fp32")(np.dstack([photo, alpha])).shape == (224, 272, 4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300, 3), (300, 1, 4)])
def test_thin_images_are_upscaled(net, shape, rng):
    image = rng.integers(0, 256, shape, np.uint8)
    for model in (model_of(net), load_model("bicubic-x2").model):
        assert Upscaler(model)(image).shape == (2 * shape[0], 2 * shape[1], *shape[2:])


class OnlyInFp32(nn.Module):
    """Mixes in a constant of its own, as BasicSR's SwinIR does with its attention mask."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(3))

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nchw,cd->ndhw", lq.float(), self.mix)


def test_a_network_that_does_not_run_in_the_format_asked_for_is_one_sentence(photo):
    with pytest.raises(UsageError, match="test: a test does not work in bf16; take fp32"):
        Upscaler(model_of(OnlyInFp32(), scale=1), precision="bf16", backend="torch")(photo)
    with pytest.raises(UsageError, match="does not work in bf16"):
        Upscaler(model_of(OnlyInFp32(), precisions=frozenset({"fp32"})), precision="bf16")


def test_a_tile_that_is_too_small_is_refused(net):
    with pytest.raises(UsageError, match="tile: expected auto, 0 or at least 16 pixels; got 3"):
        Upscaler(model_of(net), tile=3)


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="got 'fp8'"):
        load_model("bicubic", precision="fp8")  # type: ignore[arg-type]


def test_real_images_tiled_equal_whole(net, shared):
    photo = read_image(shared / "data/benchmark/Set5/LR_bicubic/X4/birdx4.png")
    whole = Upscaler(model_of(net), tile=0, precision="fp32")(photo).astype(int)
    assert np.abs(Upscaler(model_of(net), tile=16, precision="fp32")(photo) - whole).max() <= 1


WRONG = [
    ({"tile": "big"}, "tile: expected auto, 0 or at least 16 pixels; got 'big'"),
    ({"tile": 20.5}, "tile: expected auto, 0 or at least 16 pixels; got 20.5"),
    ({"scale": "2"}, "scale: expected a number from 1 to 32; got '2'"),
    ({"scale": float("nan")}, "scale: expected a number from 1 to 32; got nan"),
    ({"fidelity": "much"}, r"fidelity: expected 0 \(sharp, as the model is\) to 1 \(faithful\); got 'much'"),
    ({"device": "gpu"}, r"device: expected cpu, or cuda or cuda:N .*; got 'gpu'"),
    ({"device": "cuda:99"}, r"device: expected cpu, or cuda or cuda:N .*; got 'cuda:99'"),
    ({"device": 3.5}, r"device: expected cpu, or cuda or cuda:N .*; got '3.5'"),
    ({"precision": 16}, "precision: expected one of auto, .*; got '16'"),
    ({"backend": "tensorrt"}, "backend: expected auto, torch, .*; got 'tensorrt'"),
]


@pytest.mark.parametrize(("args", "sentence"), WRONG, ids=str)
@pytest.mark.parametrize("name", ["bicubic", "auto"])
def test_a_wrong_argument_is_one_sentence_when_the_model_is_loaded(args, sentence, name):
    with pytest.raises(UsageError, match=f"^{sentence}"):
        load_model(name, **args)


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ({"tile": 16}, "tile"),
        ({"tile": 0, "tta": True}, "tile, tta"),
        ({"precision": "int8", "lock_color": True}, "precision, lock_color"),
        ({"backend": "onnx"}, "backend"),
    ],
)
def test_what_only_a_network_can_do_is_refused_without_one(args, names):
    with pytest.raises(UsageError, match=f"^{names}: for networks, and bicubic-x2 has none; leave out$"):
        load_model("bicubic-x2", **args)


def test_bicubic_is_as_exact_as_any_number_format_and_a_model_of_a_network_may_have_all(net, tmp_path):
    for precision in ("fp32", "fp16", "bf16"):
        load_model("bicubic", precision=precision, backend="torch")
    save_state(tmp_path / "net.pth", net.state_dict())
    load_model(tmp_path / "net.pth", tile=16, tta=True, lock_color=True, backend="torch")
