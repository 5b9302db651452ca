"""Shared parts of all verbs: lists after one flag, examples in the help, Ctrl-C, messages, tables."""

import gc
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from srcx.errors import UsageError

__all__ = [
    "STOPPED",
    "Debug",
    "Group",
    "LoggedVerb",
    "OptionFile",
    "OptionFlag",
    "Verb",
    "complain",
    "is_quiet",
    "one_line",
    "option_file",
    "print_table",
    "printable",
    "uncollected",
]

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it; SIGTERM and SIGHUP have it too."""

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


OptionFile = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="Option file, in place of -opt FILE.")
]
OptionFlag = Annotated[
    Path | None, typer.Option("-opt", metavar="FILE", help="Option file (YAML, BasicSR's dialect).")
]


def option_file(argument: Path | None, flag: Path | None) -> Path:
    """Return the option file, which is named by one of the two.

    Raises:
        UsageError: it is named by none or by both.
    """
    if (argument is None) == (flag is None):
        what = "name the option file: -opt FILE" if flag is None else f"{argument}: -opt names {flag} already"
        raise UsageError(what)
    return argument or flag  # type: ignore[return-value] # one of them is set


CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    r"""Escape control characters except line breaks: file names must not control the terminal.

    Example:
        >>> print(printable("a\x1b[31m.png"))
        a\x1b[31m.png
    """
    return CONTROLS.sub(lambda sign: repr(sign[0])[1:-1], text)


def one_line(text: str) -> str:
    """Escape control characters and line breaks."""
    return printable(text).replace("\n", "\\n")


def complain(text: str) -> None:
    """Print a message to stderr, if it is still open."""
    with suppress(OSError):  # the terminal is closed; the work continues and its results are saved
        print(printable(text), file=sys.stderr)


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is at that moment, so that a progress bar stays below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


WIDE = 240
"""Width in columns when the output is no terminal, so that nothing is cut off."""


def print_table(
    headers: Sequence[str], rows: Sequence[tuple[Sequence[str], dict[str, float | None]]]
) -> None:
    """Print a table.

    Args:
        headers: Names of the first columns.
        rows: Words for those columns, then figures by metric, the same metrics in every row; None is "-".
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers)
    for metric in rows[0][1]:
        table.add_column(metric, justify="right", no_wrap=True)
    for words, figures in rows:
        table.add_row(
            *map(printable, words), *("-" if value is None else f"{value:.4f}" for value in figures.values())
        )
    Console(width=None if sys.stdout.isatty() else WIDE, markup=False).print(table)


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage inside the block: imports make none, and the search takes time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


LEVEL = "srcx.level"
"""Key of the level that -v or -q asks for in the context of a command."""


def is_quiet() -> bool:
    """Return whether -q asks for results and errors only."""
    return not logging.getLogger("srcx").isEnabledFor(logging.WARNING)


@contextmanager
def log_to_stderr(level: int) -> Iterator[None]:
    """Print the library's log to stderr while the block runs."""
    logger, handler = logging.getLogger("srcx"), _ToStderr()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop the block as Ctrl-C does, so that no temporary files stay.

    SIGHUP comes when the terminal is gone. A signal that someone handles, or that the process was started to
    ignore, as by `nohup`, stays with that.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows: no SIGHUP
    signals = [one for name in names if signal.getsignal(one := getattr(signal, name)) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        signals = []  # other threads cannot catch them
    for one in signals:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one in signals:
            signal.signal(one, signal.SIG_DFL)


@cache
def verbosity_options() -> list[Any]:
    """Return the options -v and -q, which every command has; they set the level of its log."""
    shared = typer.Typer(add_completion=False)

    @shared.command()
    def _shared(
        _verbose: Annotated[
            bool,
            typer.Option(
                "-v",
                "--verbose",
                help="Print more: what was tried, measured and decided.",
                callback=_be_verbose,
                expose_value=False,
            ),
        ] = False,
        _quiet: Annotated[
            bool,
            typer.Option(
                "-q",
                "--quiet",
                help="Print results and errors only: no progress, no hints.",
                callback=_be_quiet,
                expose_value=False,
            ),
        ] = False,
    ) -> None: ...

    return list(typer.main.get_command(shared).params)


def _be_verbose(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[LEVEL] = logging.DEBUG


def _be_quiet(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[LEVEL] = logging.ERROR


class Argument(TyperArgument):
    """An argument that the help shows by its metavar alone; typer adds braces and Python's types."""

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        return [str(self.metavar)]

    def get_help_record(self, ctx: Any) -> tuple[str, str]:
        return str(self.metavar), self.help or ""


class Verb(TyperCommand):
    """A command whose list options take their values after one flag, as argparse's nargs="+" does.

    `--sets Set5 Set14` means `--sets Set5 --sets Set14`; both may be mixed. The words of the epilog are
    printed as they are written. The log of the library goes to stderr.
    """

    level = logging.WARNING
    """Least level of the log that is printed without -v and -q."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            if isinstance(param, TyperArgument):
                param.__class__ = Argument  # typer makes the arguments itself
        self.params += verbosity_options()

    def get_short_help_str(self, limit: int = 45) -> str:
        return first_sentence(self.help)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        lists = {flag for option in self.params if getattr(option, "multiple", False) for flag in option.opts}
        return super().parse_args(ctx, spread(args, lists))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"\nExamples:\n{self.epilog}")

    def invoke(self, ctx: Any) -> Any:
        try:
            with stopped_by_signals(), log_to_stderr(ctx.meta.get(LEVEL, self.level)):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            complain(f"srcx {self.name}: stopped")
            raise typer.Exit(STOPPED) from None


class LoggedVerb(Verb):
    """A command that tells by its log what it does, as training does line by line."""

    level = logging.INFO


class Group(TyperGroup):
    """A command with commands of its own, whose names have one word or two."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        two_words = " ".join(args[:2])
        return super().resolve_command(ctx, [two_words, *args[2:]] if two_words in self.commands else args)

    def get_short_help_str(self, limit: int = 45) -> str:
        return first_sentence(self.help)


def first_sentence(text: str | None) -> str:
    r"""Return the first sentence of a help text whole; typer cuts it off at the terminal's width.

    Example:
        >>> first_sentence("Cut images (JPEG,\nPNG) into tiles. Nothing is lost.")
        'Cut images (JPEG, PNG) into tiles.'
    """
    return re.split(r"(?<=\.)\s", " ".join((text or "").split()))[0]


NEGATIVE = re.compile(r"-[0-9.][0-9.eE+-]*")
"""A value; no flag is a number."""


def spread(args: list[str], lists: set[str]) -> list[str]:
    """Repeat a list option's flag before each of its values.

    Args:
        args: Words of the command line.
        lists: Flags that take one or more values.

    Example:
        >>> spread(["--sets", "Set5", "Set14", "-o", "out"], {"--sets"})
        ['--sets', 'Set5', '--sets', 'Set14', '-o', 'out']
        >>> spread(["--weights", "1.5", "-0.5"], {"--weights"})
        ['--weights', '1.5', '--weights', '-0.5']
    """
    result: list[str] = []
    flag = ""
    for word in args:
        if word.startswith("-") and len(word) > 1 and not NEGATIVE.fullmatch(word):
            flag = word if word in lists else ""
            result.append(word)
        elif flag and result[-1] != flag:
            result += [flag, word]
        else:
            result.append(word)
    return result
