r"""Run the code blocks of a page of the documentation, one after the other, as a reader would.

    python scripts/pages/code_blocks.py docs/tutorials/own_photographs.md -o run

They run in a folder that has the images `photo.jpg`, `holiday/` (two) and `photos/` (six), and `options/`.
`yaml` blocks are read, and those with a `title` are written to the file of that name; `text` is shown alone.
A comment right before a block changes this:

    <!-- not run: REASON -->                     nothing of it runs
    <!-- without `START OF A LINE`: REASON -->   this command of it does not run
    <!-- short: KEY:SUB=VALUE ... -->            tests run its trainings with these options
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from skimage import data

from srcx.cli import main as srcx
from srcx.config.yaml_io import read_value

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"^(?:<!-- (?P<note>.*?) -->\n)?```(?P<language>\w*)(?P<info>.*)\n(?P<code>(?s:.*?))^```$", re.M
)
LANGUAGES = ("bash", "python", "yaml", "text")
SHELL_SIGNS = set("|<>&$*;`")


class Block(NamedTuple):
    """One code block of a page."""

    line: int
    language: str
    title: str
    note: str
    code: str

    @property
    def is_run(self) -> bool:
        """Return whether anything of it runs."""
        return self.language != "text" and not self.note.startswith("not run: ")

    @property
    def left_out(self) -> str:
        """Return the start of the command that does not run; empty where all run."""
        found = re.match(r"without `(.+?)`: .", self.note)
        return found[1] if found else ""

    @property
    def short(self) -> list[str]:
        """Return the options of its trainings in tests."""
        return self.note.removeprefix("short: ").split() if self.note.startswith("short: ") else []


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page of Markdown."""
    text = page.read_text("utf-8")
    found = []
    for match in BLOCK.finditer(text):
        title = re.search(r'title="(.*?)"', match["info"])
        line = text.count("\n", 0, match.start("code"))
        found.append(
            Block(line, match["language"], title[1] if title else "", match["note"] or "", match["code"])
        )
    return found


def make_images(folder: Path) -> None:
    """Make the images that pages use."""
    for name in ("holiday", "photos"):
        (folder / name).mkdir()
    coffee = Image.fromarray(getattr(data, "coffee")())  # noqa: B009 - its package has no types
    coffee.crop((60, 40, 124, 88)).save(folder / "photo.jpg", quality=70)
    for number in range(2):
        left, top = 100, 60 * number
        coffee.crop((left, top, left + 64, top + 48)).save(folder / f"holiday/{number}.jpg", quality=95)
    for number in range(6):
        left = 40 * number
        coffee.crop((left, 0, left + 272, 272)).save(folder / f"photos/{number}.png")
    (folder / "options").symlink_to(ROOT / "options")


def run_command(command: str, extra: list[str]) -> None:
    """Run one command of a `bash` block: srcx in this process, all else in a shell.

    Args:
        command: One line.
        extra: Options for `srcx train`.

    Raises:
        RuntimeError: it does not end with 0.
    """
    words = shlex.split(command, comments=True)
    if extra and words[:2] == ["srcx", "train"]:
        words += ["--force_yml", *extra]
    if not words:
        return
    if words[0] == "srcx" and not SHELL_SIGNS & set("".join(words)):
        code = srcx(words[1:])
    else:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        paths = {"PATH": path, "PYTHONPATH": str(ROOT)}
        code = subprocess.run(["bash", "-ec", command], env=os.environ | paths, check=False).returncode
    if code:
        raise RuntimeError(f"`{command.strip()}` ended with {code}")


def run_block(block: Block, names: dict[str, Any], *, short: bool) -> None:
    """Run a block in the current folder; `names` are those of the page's Python."""
    if block.language == "bash":
        for command in block.code.replace("\\\n", " ").splitlines():
            if not (block.left_out and command.startswith(block.left_out)):
                run_command(command, block.short if short else [])
    elif block.language == "python":
        exec(compile(block.code, f"line {block.line}", "exec"), names)
    elif block.title:
        Path(block.title).write_text(block.code, "utf-8")
    else:
        read_value(block.code)


def run_page(page: Path, folder: Path, *, short: bool) -> None:
    """Run all blocks of a page.

    Args:
        page: The page, Markdown.
        folder: An empty folder to run them in.
        short: Whether trainings take the options of `<!-- short: ... -->`.

    Raises:
        RuntimeError: a block failed; names its line.
    """
    make_images(folder)
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in filter(lambda block: block.is_run, blocks(page)):
            try:
                run_block(block, names, short=short)
            except Exception as error:
                raise RuntimeError(f"{page.relative_to(ROOT)}:{block.line}: {error}") from error
    finally:
        os.chdir(before)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="a folder to make and to run in")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    run_page(args.page.resolve(), args.out, short=False)


if __name__ == "__main__":
    main()
