"""What `pip install srcx` brings, by pyproject.toml."""

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def test_all_is_every_extra_for_users():
    (every,) = EXTRAS["all"]
    assert every == f"srcx[{','.join(name for name in EXTRAS if name not in ('dev', 'docs', 'all'))}]"


def test_the_types_are_shipped():
    assert (ROOT / "srcx/py.typed").read_bytes() == b""
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["srcx"]
