"""report.html: one file with the tables, the perception-distortion planes and crops to compare."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from srcx.atomic import atomic_path
from srcx.config.yaml_io import to_text
from srcx.counted import counted
from srcx.evaluation.report.crops import CROP_PX, WIDE_CROP_PX, crop_rows, crops_of_inputs
from srcx.evaluation.report.plane import plane_svg, planes
from srcx.evaluation.report.results import PUBLISHED, Results

__all__ = ["template", "write_html"]

DIGITS = {"psnr": 3, "rmse": 3, "niqe": 3, "ma": 3, "perceptual_index": 3}
MORE_DIGITS = 4


@dataclass(frozen=True)
class Cell:
    """A value as it is printed; without one, `reason` says why."""

    text: str
    reason: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One method's line of a table."""

    name: str
    cells: tuple[Cell, ...]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """One set's table."""

    title: str
    rows: tuple[Row, ...]


def write_html(path: Path, results: Results) -> None:
    """Write the page, one file that contains its images.

    Args:
        path: The page, in the folder of the results.
        results: What to show; the images are read from the folder of the page.

    Raises:
        OutputError: the place cannot be written.
    """
    rows_of = crops_of_inputs if results.without_gt else crop_rows
    rows = rows_of(path.parent, results.images, next(iter(results.metrics)))
    page = template("page.html").render(
        results=results,
        tables=tables(results),
        # Made by matplotlib, which escapes the labels in it.
        planes=[Markup(plane_svg(plane)) for plane in planes(results.means, whole_sets=results.every == 1)],
        rows=rows,
        crop_px=WIDE_CROP_PX if results.without_gt else CROP_PX,
        options={name: to_text(options) for name, options in results.degradations.items()},
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")


def template(name: str) -> Template:
    """Return a page of this folder; what is put into it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def tables(results: Results) -> list[Table]:
    """Return a table for each set: our models, then published figures."""
    made = []
    for one in results.sets:
        means = [mean for mean in results.means if mean.label == one.label]
        comparable = results.every == 1 and not one.degradation  # published figures are of whole, clean sets
        best = {
            name: (max if better == "higher" else min)(values)
            for name, better in results.metrics.items()
            if len(values := [value for mean in means if (value := mean.metrics[name]) is not None]) > 1
        }
        ours = [
            Row(
                mean.model,
                tuple(
                    _cell(name, mean.metrics[name], mean.reasons.get(name, ""), best)
                    for name in results.metrics
                ),
            )
            for mean in means
        ]
        published = [
            Row(
                row.method,
                tuple(_cell(name, row.metrics.get(name), "not published", {}) for name in results.metrics),
                True,
            )
            for row in PUBLISHED
            if (row.set, row.scale) == (one.name, one.scale)
            and row.metrics.keys() & results.metrics.keys()
            and comparable
        ]
        made.append(Table(f"{one.label}, {counted(one.images)}", (*ours, *published)))
    return made


def _cell(name: str, value: float | None, reason: str, best: dict[str, float]) -> Cell:
    if value is None:
        return Cell("–", reason)
    return Cell(f"{value:.{DIGITS.get(name, MORE_DIGITS)}f}", best=value == best.get(name))
