"""A home of its own for the user whose weights are looked for."""

from pathlib import Path

import pytest

from srcx.weights.published import cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a user who has nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SRCX_WEIGHTS", raising=False)
    return tmp_path / "home" / "srcx" / "weights"


@pytest.fixture(scope="session")
def own_cache() -> Path:
    """This machine's true cache, where somebody may have fetched real weights; tests only read it."""
    return cache_folder()
