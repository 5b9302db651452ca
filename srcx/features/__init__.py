"""Feature extractors: fixed networks, and local normalisation of contrast."""

from srcx.features.extractor import FeatureExtractor, extractor

__all__ = ["FeatureExtractor", "extractor"]
