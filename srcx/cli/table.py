"""Tables of figures on the terminal."""

import sys
from collections.abc import Sequence

from srcx.cli.verb import printable

__all__ = ["print_table"]

WIDE = 240
"""Columns when the output is no terminal: nothing is cut to fit."""


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
