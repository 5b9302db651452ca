"""Signatures of classes and functions, read from their source files: nothing is imported.

The parts of a run need torch, whose import takes longer than everything else that checks an option file. So
the check reads the names and the arguments of parts here. It is no interpreter: what it cannot read raises
`UnreadableError`, and then the part is imported after all.
"""

import ast
import builtins
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Source", "UnreadableError", "docstrings", "entries", "look_up", "named", "signature"]


class UnreadableError(Exception):
    """The source does not say it in a form that is read here."""


class Source(NamedTuple):
    """A module, a class, a function or an expression in a source file."""

    module: str
    node: ast.AST


def look_up(module: str, name: str) -> Any:
    """Return what `name` stands for in a module.

    Args:
        module: Full name of a module.
        name: A name that it defines or imports at its top level, or a builtin.

    Returns:
        A `Source`; for what the standard library has, the thing itself.

    Raises:
        UnreadableError: the module has no such name, or no source file.

    Example:
        >>> look_up("srcx.losses.pixel", "L1Loss").node.name
        'L1Loss'
    """
    if module.partition(".")[0] in sys.stdlib_module_names:
        return getattr(importlib.import_module(module), name)
    statement = _statements(module).get(name)
    match statement:
        case ast.ImportFrom():
            original = next(one.name for one in statement.names if name in (one.asname, one.name))
            home = _home(module, statement)
            return _submodule(home, original) or look_up(home, original)
        case ast.ClassDef() | ast.FunctionDef():
            return Source(module, statement)
        case ast.Assign() | ast.AnnAssign() if statement.value is not None:
            return named(Source(module, statement.value))
    for star in _star_imports(module):
        with suppress(UnreadableError):
            return look_up(star, name)
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise UnreadableError(f"{module} has no {name}")


def entries(table: Source) -> dict[str, Source]:
    """Return the expression for each key of a dict display, with those of the dicts that `**` puts into it.

    Raises:
        UnreadableError: it is no such display, or a key is no text.
    """
    table = named(table)
    if not isinstance(table.node, ast.Dict):
        raise UnreadableError(f"{table.module}: no dict")
    found: dict[str, Source] = {}
    for key, expression in zip(table.node.keys, table.node.values, strict=True):
        value = Source(table.module, expression)
        if key is None:
            found |= entries(value)
        elif isinstance(key, ast.Constant) and isinstance(key.value, str):
            found[key.value] = value
        else:
            raise UnreadableError(f"{table.module}: {ast.unparse(key)} as a key")
    return found


def signature(part: Source, *, annotated: Collection[str] = ()) -> inspect.Signature:
    """Return the signature of a class or a function; decorators are taken not to change it.

    Args:
        part: The class or function, or an expression that stands for it.
        annotated: The parameters whose annotations are read; the others have none.

    Returns:
        The signature. Each default is `...`: its value is not read.

    Raises:
        UnreadableError: it has none that can be read.
    """
    part = named(part)
    if isinstance(part.node, ast.ClassDef):
        parameters = _parameters(_constructor(part), annotated)[1:]
    else:
        parameters = _parameters(part, annotated)
    return inspect.Signature(parameters)


def docstrings(part: Source) -> dict[str, str]:
    """Return the docstring below each annotated name in the body of a class.

    Raises:
        UnreadableError: it is no class.
    """
    if not isinstance(part.node, ast.ClassDef):
        raise UnreadableError(f"{part.module}: no class")
    found = {}
    for option, below in pairwise(part.node.body):
        match option, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _parameters(part: Source, annotated: Collection[str]) -> list[inspect.Parameter]:
    if not isinstance(part.node, ast.FunctionDef):
        raise UnreadableError(f"{part.module}: no function")
    args = part.node.args
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    kind = inspect.Parameter
    listed: list[tuple[ast.arg, Any, ast.expr | None]] = [
        (one, kind.POSITIONAL_ONLY if one in args.posonlyargs else kind.POSITIONAL_OR_KEYWORD, default)
        for one, default in zip(positional, defaults, strict=True)
    ]
    listed += [(args.vararg, kind.VAR_POSITIONAL, None)] if args.vararg else []
    listed += [
        (one, kind.KEYWORD_ONLY, default)
        for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    listed += [(args.kwarg, kind.VAR_KEYWORD, None)] if args.kwarg else []
    empty = inspect.Parameter.empty
    return [
        inspect.Parameter(
            one.arg,
            kind,
            default=empty if default is None else ...,
            annotation=_evaluated(Source(part.module, one.annotation))
            if one.arg in annotated and one.annotation is not None
            else empty,
        )
        for one, kind, default in listed
    ]


def _constructor(part: Source) -> Source:
    assert isinstance(part.node, ast.ClassDef)
    for statement in part.node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return Source(part.module, statement)
    for base in part.node.bases:
        above = named(Source(part.module, base))
        if isinstance(above, Source) and isinstance(above.node, ast.ClassDef):
            return _constructor(above)
    raise UnreadableError(f"{part.module}: {part.node.name} has no constructor")


def _evaluated(piece: Source) -> Any:
    """Return the value of an annotation."""
    module, node = piece
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() | ast.Attribute():
            found = named(piece)
            return _evaluated(found) if isinstance(found, Source) else found
        case ast.Subscript():
            return _evaluated(Source(module, node.value))[_evaluated(Source(module, node.slice))]
        case ast.Tuple():
            return tuple(_evaluated(Source(module, one)) for one in node.elts)
        case ast.List():
            return [_evaluated(Source(module, one)) for one in node.elts]
        case ast.BinOp(op=ast.BitOr()):
            return _evaluated(Source(module, node.left)) | _evaluated(Source(module, node.right))
    raise UnreadableError(f"{module}: {ast.unparse(node)}")


def named(piece: Source) -> Any:
    """Return what a name or a dotted name stands for; any other expression stands for itself."""
    module, node = piece
    if isinstance(node, ast.Name):
        return look_up(module, node.id)
    if isinstance(node, ast.Attribute):
        owner = named(Source(module, node.value))
        if isinstance(owner, Source) and isinstance(owner.node, ast.Module):
            return _submodule(owner.module, node.attr) or look_up(owner.module, node.attr)
        raise UnreadableError(f"{module}: {ast.unparse(node)}")
    return piece


@cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """Return name -> the last statement of a module's top level that defines or imports it."""
    found = _tree(module)
    if found is None:
        raise UnreadableError(f"{module} has no source file")
    names: dict[str, ast.stmt] = {}
    for statement in found.body:
        match statement:
            case ast.ImportFrom():
                names |= dict.fromkeys((one.asname or one.name for one in statement.names), statement)
            case ast.ClassDef() | ast.FunctionDef():
                names[statement.name] = statement
            case ast.Assign():
                names |= {one.id: statement for one in statement.targets if isinstance(one, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = statement
    return names


def _submodule(package: str, name: str) -> Source | None:
    tree = _tree(f"{package}.{name}")
    return None if tree is None else Source(f"{package}.{name}", tree)


@cache
def _tree(module: str) -> ast.Module | None:
    """Return the parsed file of a module; None where there is none."""
    path = None if module.partition(".")[0] in sys.stdlib_module_names else _path(module)
    return None if path is None else ast.parse(path.read_bytes())


def _star_imports(module: str) -> list[str]:
    """Return the modules whose names a module takes all, the last one first."""
    found = _tree(module)
    assert found is not None
    statements = [one for one in found.body if isinstance(one, ast.ImportFrom)]
    return [_home(module, one) for one in reversed(statements) if one.names[0].name == "*"]


def _home(module: str, statement: ast.ImportFrom) -> str:
    """Return the full name of the module that a statement of `module` imports from."""
    path = _path(module)
    package = module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * statement.level + (statement.module or ""), package)


@cache
def _path(module: str) -> Path | None:
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)  # of a top-level package this imports nothing
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations if spec else None) or []:
        place = Path(folder, *inner)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                return path
    return None
