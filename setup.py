"""Puts options/ into the package as srcx/options; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithOptions(build_py):
    """Also copies the option files; in an editable install srcx finds them in the checkout."""

    def run(self) -> None:
        """Copy the modules, the package data and options/."""
        super().run()
        if self.editable_mode:
            return
        for file in Path("options").rglob("*.*"):
            target = Path(self.build_lib, "srcx", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithOptions})
