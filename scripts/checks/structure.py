"""Print figures of the code's structure: files, lines, small files, helpers used once, layers.

python scripts/checks/structure.py                  this checkout
python scripts/checks/structure.py ../other ..      other checkouts beside it
"""

import argparse
import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
SMALL_LINES = 40


def figures(root: Path) -> Iterator[tuple[str, object]]:
    """Yield the name and value of each figure of the package `srcx` in a checkout."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((root / "srcx").rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    functions = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    documented = [
        ast.get_docstring(node) or ""
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    longest = max(functions, key=_length)
    yield "files", len(texts)
    yield "files that are not __init__.py", sum(path.name != "__init__.py" for path in texts)
    yield "lines", sum(lines.values())
    yield "median lines of a file", median(lines.values())
    yield (
        f"files under {SMALL_LINES} lines",
        sum(
            count < SMALL_LINES
            for path, count in lines.items()
            if path.name not in ("__init__.py", "__main__.py")
        ),
    )
    yield "functions", len(functions)
    yield "private functions used once", sum(_single_use(tree) for tree in trees.values())
    yield "longest function", f"{longest.name}, {_length(longest)} lines"
    yield (
        "docstrings that begin with What, Which or How",
        sum(text.startswith(("What ", "Which ", "How ")) for text in documented),
    )
    yield "layers of the import contract", _layers(root)


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _single_use(tree: ast.Module) -> int:
    """Count the private functions and methods of a file that the file names once beside their definition."""
    used = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    return sum(
        used[node.name] == 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("_")
        and not node.name.startswith("__")
        and not node.decorator_list
    )


def _layers(root: Path) -> int:
    """Count the layers that import-linter checks; before, FLOORS of tests/test_floors.py."""
    contract = re.search(r"^layers = \[\n(.*?)^\]", (root / "pyproject.toml").read_text("utf-8"), re.M | re.S)
    if contract:
        return len(contract[1].splitlines())
    tree = ast.parse((root / "tests" / "test_floors.py").read_text(encoding="utf-8"))
    return next(
        len(node.value.elts)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    )


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path, nargs="*", default=[ROOT])
    columns = [dict(figures(root)) for root in parser.parse_args().checkouts]
    for name in columns[0]:
        print(f"{name:50}", *(f"{column[name]!s:>40}" for column in columns))


if __name__ == "__main__":
    main()
