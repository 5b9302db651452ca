"""Fixtures every test folder shares."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

SHARED = Path(__file__).resolve().parents[2] / "shared"

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("srcx", parent=settings(), deadline=None)
settings.load_profile("srcx")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device(request.param)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of pictures and reference figures; users do not have it."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the developers' folder ../shared, which is not part of the project")
    return SHARED
