"""Evaluation of models and images: benchmark, scores of files, validation, under one protocol."""

from srcx.evaluation.run import benchmark
from srcx.evaluation.scoring import find_metrics, score_all

__all__ = ["benchmark", "find_metrics", "score_all"]
