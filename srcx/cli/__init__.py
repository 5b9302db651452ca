"""The command line, `srcx VERB ...`: one file per verb; each imports what it works with when it is called."""

import atexit
import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from srcx import __version__
from srcx.cli import (
    benchmark,
    data,
    export,
    models,
    new,
    schema,
    score,
    test,
    train,
    transfer,
    upscale,
    web,
    weights,
)
from srcx.cli.verb import Group, LoggedVerb, Verb, complain
from srcx.errors import SrcxError
from srcx.nearest import LIKE_AN_OPTION, nearest

__all__ = ["app", "main"]


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"srcx {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="srcx",
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="srcx COMMAND --help shows details, with examples.",
    rich_markup_mode=None,
)
app.command("new", cls=LoggedVerb, epilog=new.EXAMPLES)(new.new)
app.command("train", cls=LoggedVerb, epilog=train.EXAMPLES)(train.train)
app.command("test", cls=LoggedVerb, epilog=test.EXAMPLES)(test.run_test)
app.command("upscale", cls=Verb, epilog=upscale.EXAMPLES)(upscale.upscale)
app.command("benchmark", cls=Verb, epilog=benchmark.EXAMPLES)(benchmark.benchmark)
app.command("score", cls=Verb, epilog=score.EXAMPLES)(score.score)
app.command("transfer", cls=Verb, epilog=transfer.EXAMPLES)(transfer.transfer)
app.command("export", cls=Verb, epilog=export.EXAMPLES)(export.export)
app.command("models", cls=Verb, epilog=models.EXAMPLES)(models.models)
app.command("models average", cls=Verb, epilog=models.AVERAGE)(models.average)
app.command("schema", cls=Verb, epilog=schema.EXAMPLES)(schema.schema)
app.command("web", cls=Verb, epilog=web.EXAMPLES)(web.web)
app.add_typer(weights.app, name="weights", cls=Group)
app.add_typer(data.app, name="data", cls=Group)


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Super-resolution: train, benchmark and upscale."""


USUAL_MISTAKES = {
    # typer 0.26 wraps the hint in one more pair of brackets.
    r" [('\"]*Possible options: ([^)]*)[)'\",]*": r". Did you mean \1?",
    r"Value error, ": "",
    r"Input should be a valid number, .*": "expected a number",
    r"Input should be a valid integer, .*": "expected a whole number",
    r"Input should be (greater|less) than or equal to (.*)": r"expected a number \1 than or equal to \2",
    # typer of Python 3.10
    r"'[^']*' is not a valid float( range)?": "expected a number",
    r"'[^']*' is not a valid integer( range)?": "expected a whole number",
    r"\S+ is not in the range x>=(\S+)": r"expected a number greater than or equal to \1",
    r"\S+ is not in the range x<=(\S+)": r"expected a number less than or equal to \1",
    r"\S+ is not in the range (\S+)<=x<=(\S+)": r"expected a number from \1 to \2",
}
"""Sentences of typer's checks, in plain words."""

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Wrong words on the command line; typer has this class but gives it no name of its own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        argv: Its words after the program's name; None means the process's own.

    Returns:
        Exit code: 0 done, 1 something asked for was not done, 2 wrong usage or options, 130 after Ctrl-C or
            SIGTERM.
    """
    # pydantic would look for plugins of its own in every package that is installed, and at its end Python
    # would look for garbage in all that was imported: a tenth of a second.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    atexit.register(gc.freeze)
    words = list(sys.argv[1:] if argv is None else argv)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the program that started srcx
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # it may lack signs that names of files have
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    debug = "--debug" in words
    try:
        code = app(args=words or ["--help"], prog_name="srcx", standalone_mode=False)
    except SrcxError as error:
        return _report(error, str(error), error.exit_code, debug=debug)
    except _UsageError as error:
        return _report(error, _usage_sentence(error), 2, debug=debug)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _report(error, f"srcx: {what}{error.strerror or error}", 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a sentence instead of a wall of code
        sentence = f"srcx: unexpected {type(error).__name__}: {error}; run it again with --debug to see where"
        return _report(error, sentence, 1, debug=debug)
    return int(code or 0) if words else 2


def _report(error: Exception, sentence: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    complain(sentence)
    return code


def _usage_sentence(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    verb = context.command_path if context else "srcx"
    message = getattr(error, "format_message", error.__str__)().strip().rstrip(".")
    for theirs, ours in USUAL_MISTAKES.items():
        message = re.sub(theirs, ours, message)
    if choice := re.search(r"'([^']*)' is not one of (.*)", message):
        near = nearest(choice[1], re.findall("'([^']*)'", choice[2]), least=LIKE_AN_OPTION)
        message += f". Did you mean '{near}'?" if near else ""
    return f"{verb}: {message}; '{verb} --help' tells more"
