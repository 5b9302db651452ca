"""Every option file srcx brings along loads, says its own name, and says it again after a round trip."""

from pathlib import Path

import pytest

from srcx.config import TrainOptions
from srcx.training.options import load_options

ROOT = Path(__file__).resolve().parents[1] / "options"
FILES = sorted(ROOT.rglob("*.yml"))


@pytest.fixture(params=FILES, ids=lambda path: str(path.relative_to(ROOT)))
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_are_files_for_training_and_testing() -> None:
    assert {path.parent.name for path in FILES} >= {"shipped", "smoke", "test", "train"}


def test_loads_and_is_called_as_its_file(file: Path) -> None:
    assert load_options(file).name == file.stem


def test_trains_where_it_says_so(file: Path) -> None:
    assert (load_options(file).train is not None) == (file.parent.name != "test")


def test_resolved_options_load_again_as_the_same(file: Path, tmp_path: Path) -> None:
    options = load_options(file)
    (tmp_path / "again.yml").write_text(options.to_yaml(), encoding="utf-8")
    assert load_options(tmp_path / "again.yml") == options


def test_the_contextual_recipe_is_the_papers() -> None:
    losses = train_of("srgan_cx_x4").losses
    assert {name: term.weight for name, term in losses.items()} == {
        "contextual": 0.1,
        "low_frequency": 10.0,
        "gan": 1e-3,
    }
    assert losses["contextual"].args == {
        "layer_weights": {"conv3_4": 1},
        "vgg_type": "vgg19",
        "bandwidth": 0.1,
    }
    assert losses["low_frequency"].args == {"kernel_size": 21, "sigma": 3}


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("srgan_cx_no_cx_x4", ["low_frequency", "gan"]),
        ("srgan_cx_no_lf_x4", ["contextual", "gan"]),
        ("srgan_cx_only_x4", ["contextual"]),
    ],
)
def test_ablations_differ_from_the_recipe_in_their_terms_alone(name: str, terms: list[str]) -> None:
    recipe, ablation = train_of("srgan_cx_x4"), train_of(name)
    assert list(ablation.losses) == terms
    assert all(ablation.losses[term] == recipe.losses[term] for term in terms)
    same = ("optim_g", "scheduler", "total_iter", "ema_decay", "precision", "accumulate")
    assert [getattr(ablation, key) for key in same] == [getattr(recipe, key) for key in same]


@pytest.mark.parametrize("name", ["srgan_cx", "srgan_vgg"])
def test_vgg16_twins_differ_in_the_network_and_its_layer_alone(name: str) -> None:
    twin, original = load_options(path_of(f"{name}_vgg16_x4")), load_options(path_of(f"{name}_x4"))
    text = twin.to_yaml().replace("vgg16_x4", "x4").replace("vgg16", "vgg19").replace("conv3_3", "conv3_4")
    assert text == original.to_yaml()


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("srgan_vgg_x4", ["perceptual", "grid", "gan"]),
        ("srgan_cx_no_cx_x4", ["low_frequency", "grid", "gan"]),
        ("srgan_cx_no_lf_x4", ["contextual", "grid", "gan"]),
        ("srgan_cx_only_x4", ["contextual"]),
    ],
)
def test_what_stands_beside_the_shipped_model_differs_from_it_in_its_terms_alone(
    name: str, terms: list[str]
) -> None:
    recipe, other = (load_options(ROOT / "shipped" / f"{one}.yml") for one in ("srgan_cx_x4", name))
    assert recipe.train is not None
    assert other.train is not None
    assert list(other.train.losses) == terms
    shared = set(terms) & recipe.train.losses.keys()
    assert all(other.train.losses[term] == recipe.train.losses[term] for term in shared)
    apart: dict[str, object] = {"losses": None}
    if "gan" not in terms:  # the generator learns from the start on, so as many iterations end earlier
        apart |= dict.fromkeys(("optim_d", "net_d_init_iters", "total_iter", "scheduler"))
        assert other.train.total_iter == recipe.train.total_iter - recipe.train.net_d_init_iters
    assert dict(other.train) | apart == dict(recipe.train) | apart
    assert (other.datasets, other.manual_seed) == (recipe.datasets, recipe.manual_seed)
    assert other.path.model_dump() == recipe.path.model_dump()


def path_of(name: str) -> Path:
    return ROOT / "train" / f"{name}.yml"


def train_of(name: str) -> TrainOptions:
    train = load_options(path_of(name)).train
    assert train is not None
    return train
