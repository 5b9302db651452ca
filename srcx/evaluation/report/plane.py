"""The perception-distortion plane: each model is a point; nearer to the good end of both axes is better."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srcx.evaluation.report.results import PUBLISHED, MeanResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

__all__ = ["PIRM_REGIONS", "Plane", "Point", "plane_svg", "planes"]

PIRM_REGIONS = (11.5, 12.5, 16.0)
"""Upper bounds of RMSE of the challenge's regions 1, 2 and 3 (Blau et al. 2018, arXiv:1809.07517)."""

LABELS = {
    "rmse": "RMSE (lower is better)",
    "psnr": "PSNR in dB (higher is better)",
    "niqe": "NIQE (lower is better)",
    "lpips": "LPIPS (lower is better)",
    "dists": "DISTS (lower is better)",
    "perceptual_index": "perceptual index (lower is better)",
}

SIZE_IN, FONT_PT = (4.8, 4.0), 10.0
"""Size and text of the drawing, whose text is still 10 pixels high on a phone, 350 pixels wide."""

COLOURS = {"ink": "#18181b", "soft": "#71717a", "line": "#d4d4d8", "mark": "#c2410c", "area": "#1d4ed8"}
"""Colours of the drawing, by the page's names, whose colours in the dark take their place."""

LABEL_PT, LINE_PT = (5.0, 4.0), 12.0
"""Offset of a name from its point, and the height of a line."""

LINES = (0, 1, -1, 2, -2, 3, -3, 0)
"""Offsets in lines at which a name is tried until it overlaps nothing; the last one is used if all do."""

POINT_PX = 3.0
"""Half the side of a point, over which no name is put."""


@dataclass(frozen=True)
class Point:
    """One method; `published` is true for published figures."""

    name: str
    x: float
    y: float
    published: bool = False


@dataclass(frozen=True)
class Plane:
    """One set's points for one pair of metrics."""

    title: str
    x_metric: str
    y_metric: str
    points: tuple[Point, ...]


def planes(means: Sequence[MeanResult], *, whole_sets: bool = True) -> list[Plane]:
    """Return every plane the results can fill: RMSE and PSNR against the perceptual index, or else NIQE.

    On damaged sets, which NIQE and the perceptual index do not rank, LPIPS or else DISTS takes their place.
    Published figures have no RMSE, so they are in the PSNR planes only; they are of whole, clean sets.
    """
    found = []
    for label, degradation, set_name, scale in dict.fromkeys(
        (mean.label, mean.degradation, mean.set, mean.scale) for mean in means
    ):
        of_set = [mean for mean in means if mean.label == label]
        published = [
            row
            for row in PUBLISHED
            if (row.set, row.scale) == (set_name, scale) and whole_sets and not degradation
        ]
        for x in ("rmse", "psnr"):
            for y in ("lpips", "dists") if degradation else ("perceptual_index", "niqe"):
                ours = _points([(mean.model, mean.metrics) for mean in of_set], x, y, published=False)
                theirs = _points([(row.method, row.metrics) for row in published], x, y, published=True)
                if ours:
                    found.append(Plane(label, x, y, (*ours, *theirs)))
                    break
    return found


def _points(rows: Sequence[tuple[str, object]], x: str, y: str, *, published: bool) -> list[Point]:
    points = []
    for name, metrics in rows:
        assert isinstance(metrics, dict)
        at = metrics.get(x), metrics.get(y)
        if at[0] is not None and at[1] is not None:
            points.append(Point(name, at[0], at[1], published))
    return points


def plane_svg(plane: Plane) -> str:
    """Draw a plane as an svg element; PIRM's regions are bounds of RMSE and drawn on that axis only."""
    from matplotlib import rc_context

    style: Any = {
        "font.size": FONT_PT,
        **{f"{name}.color": COLOURS["ink"] for name in ("text", "xtick", "ytick")},
        "axes.labelcolor": COLOURS["ink"],
        "axes.edgecolor": COLOURS["soft"],
        "legend.edgecolor": COLOURS["line"],
        "grid.color": COLOURS["line"],
        "axes.facecolor": "none",
        "legend.facecolor": "none",
        # Names stay text, which can be read aloud and searched; ids are the same for the same plane.
        "svg.fonttype": "none",
        "svg.hashsalt": f"{plane.title} {plane.x_metric}",
    }
    with rc_context(style):
        text = _drawn(plane)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text


def _drawn(plane: Plane) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_IN, layout="constrained")
    axes = figure.add_subplot()
    labels = []
    for published, marker, colour in ((False, "o", COLOURS["mark"]), (True, "x", COLOURS["soft"])):
        points = [point for point in plane.points if point.published == published]
        if points:
            label = "published" if published else "this benchmark"
            axes.scatter(
                [p.x for p in points], [p.y for p in points], marker=marker, color=colour, label=label
            )
        labels += [
            axes.annotate(
                point.name,
                (point.x, point.y),
                LABEL_PT,
                textcoords="offset points",
                color=colour,
                parse_math=False,
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0},
            )
            for point in points
        ]
    axes.margins(0.2)
    if plane.x_metric == "rmse":
        _draw_regions(axes)
    else:
        axes.invert_xaxis()
    axes.set_title(plane.title, parse_math=False)  # $ in a name does not start a formula
    axes.set(xlabel=LABELS[plane.x_metric], ylabel=LABELS[plane.y_metric])
    axes.grid(linewidth=0.5)
    axes.legend(fontsize="small", loc="lower left")  # the good corner, where no model is; "best" is slow
    figure.draw_without_rendering()  # from here on the positions of things are known
    _separate(labels, axes)
    buffer = io.StringIO()
    # The title is what a screen reader says of the drawing; the figures are in the table.
    title = f"{plane.title}: {LABELS[plane.y_metric]} against {LABELS[plane.x_metric]}"
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _separate(labels: "Sequence[Annotation]", axes: "Axes") -> None:
    """Move names up or down by a few lines where they would overlap another name or a point."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    points = (axes.transData.transform(label.xy) for label in labels)
    taken = [Bbox.from_extents(x - POINT_PX, y - POINT_PX, x + POINT_PX, y + POINT_PX) for x, y in points]
    for label in labels:
        for lines in LINES:
            label.xyann = (LABEL_PT[0], LABEL_PT[1] + lines * LINE_PT)
            label.get_window_extent()  # moves it; the extent it returns includes the line to the point
            box = Text.get_window_extent(label)
            if not box.count_overlaps(taken):
                break
        taken.append(box)


def _draw_regions(axes: "Axes") -> None:
    left, right = axes.get_xlim()
    left, right = min(left, PIRM_REGIONS[0] - 1), max(right, PIRM_REGIONS[-1] + 1)
    bounds = (left, *PIRM_REGIONS)
    for number, (start, stop) in enumerate(zip(bounds, PIRM_REGIONS, strict=False), start=1):
        axes.axvspan(start, stop, color=COLOURS["area"], alpha=0.04 + 0.03 * number, linewidth=0)
        axes.text(
            (start + stop) / 2,
            0.99,
            f"PIRM {number}",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize="small",
            color=COLOURS["area"],
        )
    axes.set_xlim(left, right)
