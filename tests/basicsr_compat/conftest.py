"""BasicSR for the tests that compare with it; they skip where it is not installed."""

import importlib.util
import sys

import pytest

from srcx.basicsr_compat.importing import open_basicsr


@pytest.fixture(scope="session")
def basicsr():
    if importlib.util.find_spec("basicsr") is None:
        pytest.skip("BasicSR is not installed")
    return open_basicsr()


@pytest.fixture
def no_basicsr(monkeypatch):
    """As on Python 3.13: there is no BasicSR."""
    monkeypatch.setitem(sys.modules, "basicsr", None)
