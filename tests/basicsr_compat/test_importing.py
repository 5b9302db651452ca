import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from srcx import basicsr_compat
from srcx.basicsr_compat import importing
from srcx.basicsr_compat.importing import open_basicsr
from srcx.errors import BasicSRError


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_opens_basicsr_without_a_message_and_removes_what_it_put_in_place(basicsr):
    result = run_python("""
        import sys
        from srcx.basicsr_compat.importing import STAND_INS, open_basicsr
        before = set(sys.modules)
        registry = open_basicsr("basicsr.utils.registry")
        assert "RRDBNet" in registry.ARCH_REGISTRY
        added = [name for name in STAND_INS if name in sys.modules and name not in before]
        print(added if "torchvision.transforms.functional_tensor" in added else "none")
    """)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "none", "")


def test_opens_where_distutils_is_gone(basicsr):
    result = run_python("""
        import sys
        sys.modules["distutils"] = None        # as on Python 3.12 without setuptools
        from srcx.basicsr_compat.importing import open_basicsr
        util = open_basicsr("basicsr.archs.arch_util")
        print(util.LooseVersion("0.29.1") >= util.LooseVersion("0.9.0"))
    """)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "True", "")


def test_replaces_no_module_that_exists(monkeypatch):
    monkeypatch.setitem(importing.STAND_INS, "json", dict)
    before = sys.modules["json"]
    with importing._stand_ins():
        assert sys.modules["json"] is before
    assert sys.modules["json"] is before


def test_says_that_it_is_absent_and_that_srcx_works_without(no_basicsr):
    with pytest.raises(BasicSRError, match=r"BasicSR is not installed: .*\. All parts of srcx work"):
        open_basicsr()


def test_says_how_to_install_it_or_why_it_cannot_be_installed():
    assert "not installed: pip install basicsr." in importing._why_absent((3, 12))
    assert "cannot be built on Python 3.13; take Python 3.12 or older" in importing._why_absent((3, 13))


def test_says_which_release_fits_when_importing_fails(basicsr):
    with pytest.raises(
        BasicSRError, match=r"importing basicsr\.nonsense fails .*pip install basicsr==1\.4\.2"
    ):
        open_basicsr("basicsr.nonsense")


def test_no_other_package_names_a_module_of_basicsr():
    """No string outside of basicsr_compat can be given to import_module to import BasicSR."""
    package = Path(basicsr_compat.__file__).parents[1]
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.parent.name != "basicsr_compat"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.split(".")[0] == "basicsr"
        and node.value != "basicsr."
    ]
    assert found == []
