"""Running models over benchmark sets and scoring images, under one protocol."""

from srcx.evaluation.run import benchmark
from srcx.evaluation.scoring import metric_calls, score_all

__all__ = ["benchmark", "metric_calls", "score_all"]
