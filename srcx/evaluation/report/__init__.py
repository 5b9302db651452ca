"""The files of a benchmark: results as data, and report.html with tables, planes and crops."""

from srcx.evaluation.report.page import write_html
from srcx.evaluation.report.results import (
    ImageResult,
    MeanResult,
    ModelInfo,
    Results,
    SetInfo,
    write_csv,
    write_json,
)

__all__ = [
    "ImageResult",
    "MeanResult",
    "ModelInfo",
    "Results",
    "SetInfo",
    "write_csv",
    "write_html",
    "write_json",
]
