import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from srcx import load_model
from srcx.archs import MSRResNet
from srcx.errors import CheckpointError, UsageError
from srcx.imaging import write_image
from srcx.inference import bundled, bundled_models, default_model, find_model
from srcx.inference.bundled import card_of, file_of, models_with_parent, parent_of
from srcx.inference.models import Model, name_on_command_line
from srcx.weights import load_state, save_state
from srcx.weights.files import read_metadata

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/release/ship_model.py"
NAME = "srresnet-x4"
CARD = f"# {NAME}: tiny, for tests\n\nMade of nothing.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of the models that come with srcx, empty."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(bundled, "BUNDLED", folder)
    return folder


@pytest.fixture
def ship(tmp_path, folder, rng):
    """`scripts/release/ship_model.py` on a checkpoint of these weights."""
    write_image(tmp_path / "lq.png", rng.integers(0, 256, (20, 24, 3), np.uint8))
    (tmp_path / "card.md").write_text(CARD)
    script = runpy.run_path(str(SCRIPT))

    def run(state, images=(tmp_path / "lq.png",), parent=None) -> int:
        save_state(tmp_path / "net.pth", {"params": {}, "params_ema": state})
        if parent is not None:
            save_state(tmp_path / "parent.pth", {"params": {}, "params_ema": parent})
        return script["ship"](
            NAME,
            tmp_path / "net.pth",
            tmp_path / "card.md",
            images,
            folder,
            "Apache-2.0",
            None if parent is None else tmp_path / "parent.pth",
        )

    return run


def tiny() -> MSRResNet:
    return MSRResNet(num_feat=4, num_block=1, upscale=2)


def test_a_model_has_a_name_by_which_commands_find_it(folder, tmp_path):
    for path in (folder / "same.safetensors", tmp_path / "it's/same.safetensors"):
        save_state(path, tiny().state_dict(), metadata={"scale": "2"})
    save_state(folder / "same.parent.safetensors", tiny().state_dict(), metadata={"scale": "2"})
    run = tmp_path / "experiments/my run/models"
    save_state(run / "net_g_latest.pth", {"params": tiny().state_dict()})
    for named in ("same", str(tmp_path / "it's/same.safetensors"), str(run.parent)):
        name = name_on_command_line(model := find_model(named))
        (word,) = shlex.split(name)
        assert find_model(word).sha256 == model.sha256
    assert name_on_command_line(find_model("same")) == "same"
    assert name_on_command_line(find_model("same", fidelity=0.5)) is None
    assert name_on_command_line(Model("same", 2, "MSRResNet", "0", net=tiny())) is None


def test_without_a_bundled_model_bicubic_is_taken(folder):
    assert list(bundled_models()) == ["bicubic"]
    assert default_model() == "bicubic"
    assert load_model()(np.zeros((2, 3), np.uint8)).shape == (8, 12)


def test_a_shipped_file_is_half_as_large_and_describes_itself(folder, ship):
    assert ship(tiny().state_dict()) <= 1
    file = folder / f"{NAME}.safetensors"
    assert {weight.dtype for weight in load_state(file).values()} == {torch.float16}
    words = read_metadata(file)
    assert (words["scale"], words["licence"]) == ("2", "Apache-2.0")
    assert '"type": "MSRResNet"' in words["network"]


def test_a_shipped_model_is_listed_found_and_taken(folder, ship):
    ship(tiny().state_dict())
    assert bundled_models()[NAME] == (2, "tiny, for tests")
    assert card_of(NAME) == CARD
    assert default_model() == NAME
    model = load_model().choose(np.zeros((2, 3), np.uint8)).upscaler.model
    assert (model.name, model.scale, model.architecture) == (NAME, 2, "MSRResNet")
    assert model.net is not None
    assert next(model.net.parameters()).dtype == torch.float32


def test_a_file_is_of_the_network_it_says(tmp_path, caplog):
    network = '{"type": "MSRResNet", "args": {"num_feat": 6, "num_block": 1, "upscale": 2}}'
    save_state(tmp_path / "net.safetensors", tiny().state_dict(), metadata={"network": network})
    with pytest.raises(CheckpointError, match="these weights do not fit MSRResNet"):
        find_model(tmp_path / "net.safetensors")
    save_state(tmp_path / "net.safetensors", tiny().state_dict(), metadata={"network": "{"})
    # Metadata that describes no network is left out with a warning; the weights say what they are.
    assert find_model(tmp_path / "net.safetensors").architecture == "MSRResNet"
    assert "net.safetensors: does not describe a network and is ignored" in caplog.text


def test_weights_that_do_not_bear_half_precision_are_refused_and_nothing_is_left(folder, ship):
    net = tiny()
    with torch.no_grad():  # 1000.3 - 4 * 2.5 * 100.03 is 0, but not in half precision
        net.conv_hr.weight.zero_()
        net.conv_hr.bias.fill_(100.03)
        net.conv_last.weight.zero_()
        net.conv_last.weight[:, :, 1, 1] = -2.5
        net.conv_last.bias.fill_(1000.3)
    with pytest.raises(CheckpointError, match=r"half precision changes a value by \d+ of 255"):
        ship(net.state_dict())
    assert list(folder.iterdir()) == []


def test_a_parent_is_shipped_beside_and_is_no_model_of_its_own(folder, ship):
    ship(tiny().state_dict(), parent=tiny().state_dict())
    assert sorted(file.name for file in folder.iterdir()) == [
        f"{NAME}.md",
        f"{NAME}.parent.safetensors",
        f"{NAME}.safetensors",
    ]
    model, parent = folder / f"{NAME}.safetensors", folder / f"{NAME}.parent.safetensors"
    assert read_metadata(parent) == read_metadata(model)
    assert {weight.dtype for weight in load_state(parent).values()} == {torch.float16}
    assert (parent_of(model), models_with_parent()) == (parent, [NAME])
    assert list(bundled_models()) == ["bicubic", NAME]
    assert file_of(f"{NAME}.parent") is None
    with pytest.raises(UsageError, match="neither a model that comes with srcx nor"):
        find_model(f"{NAME}.parent")
    ship(tiny().state_dict())
    assert models_with_parent() == [], "the old parent is of other weights"


@pytest.mark.parametrize("path", ["{}/mine", "./mine", "runs/../mine"])
def test_a_path_is_not_the_name_of_a_bundled_model_nor_of_a_file_beside_it(
    folder, ship, tmp_path, monkeypatch, path
):
    ship(tiny().state_dict())
    for place in (folder, tmp_path):  # of other weights, of the same name as the run
        shutil.copy(folder / f"{NAME}.safetensors", place / "mine.safetensors")
    (tmp_path / "runs").mkdir()
    save_state(tmp_path / "mine/models/net_g_latest.pth", tiny().state_dict())
    monkeypatch.chdir(tmp_path)
    path = path.format(tmp_path)
    assert file_of(path) is None
    found = find_model(path)
    assert (found.name, found.path) == ("mine", Path(path) / "models/net_g_latest.pth")


def test_a_parent_of_another_network_is_refused_and_nothing_is_changed(folder, ship):
    ship(tiny().state_dict())
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for other in (
        MSRResNet(num_feat=6, num_block=1, upscale=2),
        MSRResNet(num_feat=4, num_block=1, upscale=4),
    ):
        with pytest.raises(CheckpointError, match=r"parent\.safetensors: is of another network"):
            ship(tiny().state_dict(), parent=other.state_dict())
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_nothing_is_shipped_without_images_or_with_another_card(folder, ship, tmp_path):
    with pytest.raises(CheckpointError, match="no images to compare on"):
        ship(tiny().state_dict(), images=())
    (tmp_path / "card.md").write_text("# another: card")
    with pytest.raises(CheckpointError, match=f"the first line has to be '# {NAME}: "):
        ship(tiny().state_dict())
    assert list(folder.iterdir()) == []


def test_every_model_that_comes_with_srcx_is_whole():
    for name, (scale, about) in bundled_models().items():
        model = find_model(name)
        assert model.scale == scale
        assert about
        assert name in (model.name, bundled.BEST_FIRST[-1])
