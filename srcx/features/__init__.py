"""Fixed networks that pictures are looked at through."""

from srcx.features.extractor import FeatureExtractor, extractor

__all__ = ["FeatureExtractor", "extractor"]
