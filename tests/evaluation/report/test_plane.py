import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import pytest

from srcx.evaluation.report import MeanResult
from srcx.evaluation.report.plane import COLOURS, Plane, Point, plane_svg, planes


def mean(model: str, set_name: str = "Set5", **metrics: float | None) -> MeanResult:
    return MeanResult(model, set_name, 4, metrics, {})


def test_distortion_against_perception():
    (found,) = planes([mean("a", rmse=11.0, niqe=4.0), mean("b", rmse=13.0, niqe=3.0)])
    assert (found.x_metric, found.y_metric) == ("rmse", "niqe")
    assert [(point.name, point.x, point.y) for point in found.points] == [("a", 11.0, 4.0), ("b", 13.0, 3.0)]


def test_damaged_sets_have_lpips_or_dists_where_clean_ones_have_niqe():
    damaged = replace(mean("a", rmse=11.0, niqe=4.0, lpips=0.3, dists=0.2), degradation="web")
    (found,) = planes([damaged])
    assert (found.title, found.y_metric) == (f"{damaged.set} web x4", "lpips")
    (without,) = planes([replace(damaged, metrics={"rmse": 11.0, "niqe": 4.0, "dists": 0.2})])
    assert without.y_metric == "dists"
    plane_svg(found)
    plane_svg(without)


def test_the_perceptual_index_is_preferred_to_niqe():
    (found,) = planes([mean("a", rmse=11.0, niqe=4.0, perceptual_index=2.5)])
    assert found.y_metric == "perceptual_index"
    (without,) = planes([mean("a", rmse=11.0, niqe=4.0, perceptual_index=None)])
    assert without.y_metric == "niqe"


def test_published_points_stand_on_the_psnr_plane_of_their_set_only():
    means = [mean("a", "BSD100", psnr=25.0, rmse=14.0, niqe=4.0), mean("a", "Set5", psnr=25.0, niqe=4.0)]
    by_axis = {(found.title, found.x_metric): found for found in planes(means)}
    published = {
        key: [point.name for point in found.points if point.published] for key, found in by_axis.items()
    }
    assert published[("BSD100 x4", "rmse")] == published[("Set5 x4", "psnr")] == []
    assert "contextual" in published[("BSD100 x4", "psnr")]


def test_no_plane_without_both_axes():
    assert planes([mean("a", psnr=25.0, ssim=0.7), mean("b", psnr=25.0, niqe=None)]) == []


@pytest.mark.parametrize("x_metric", ["rmse", "psnr"])
def test_the_drawing_is_svg_with_every_name_as_text(x_metric):
    points = (Point("<a>", 11.0, 3.0), Point("b", 12.0, 4.0, published=True))
    svg = plane_svg(Plane("Set5 x4", x_metric, "niqe", points))
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert all(name in text for name in ("<a>", "b", "Set5 x4", "NIQE"))
    assert ("PIRM 2" in text) == (x_metric == "rmse")
    assert "<a>" not in svg


def test_colours_are_those_of_the_page_so_that_they_change_in_the_dark():
    points = (Point("a", 11.0, 3.0), Point("b", 12.0, 4.0, published=True))
    svg = plane_svg(Plane("Set5 x4", "rmse", "niqe", points))
    for name, colour in COLOURS.items():
        assert f"var(--{name}, {colour})" in svg
    named = re.sub(r"var\(--[a-z]+, #[0-9a-f]{6}\)", "", svg)
    assert re.findall(r"#[0-9a-f]{6}\b|#000\b|#fff\b", named) == []


def heights(*points: Point) -> dict[str | None, float]:
    """Where the names lie, with two points far off that set the axes."""
    corners = (Point("corner", 20.0, 2.0), Point("corner", 31.0, 7.0))
    drawing = ElementTree.fromstring(plane_svg(Plane("Set5 x4", "psnr", "niqe", (*points, *corners))))
    return {text.text: float(text.get("y", "nan")) for text in drawing.iter() if text.get("y")}


def test_names_of_points_that_are_close_lie_apart():
    names = ("srgan_a", "srgan_b", "srgan_c")
    at = heights(*(Point(name, 25.9 + 0.02 * step, 3.4) for step, name in enumerate(names)))
    assert all(lower - upper > 8 for upper, lower in pairwise(sorted(at[name] for name in names)))


def test_a_name_does_not_lie_on_a_point():
    alone = heights(Point("a long name", 25.0, 4.0))
    beside = heights(Point("a long name", 25.0, 4.0), Point("b", 24.5, 4.15))
    assert abs(beside["a long name"] - alone["a long name"]) > 8


def test_names_without_free_space_and_nan_values_are_drawn():
    at = heights(*(Point(f"model {step}", 25.0, 4.0) for step in range(30)), Point("none", math.nan, 4.0))
    assert len([name for name in at if name and name.startswith("model")]) == 30
    assert max(at.values()) - min(at.values()) < 320
