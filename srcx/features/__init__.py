"""Fixed networks that images are looked at through."""

from srcx.features.extractor import FeatureExtractor, extractor

__all__ = ["FeatureExtractor", "extractor"]
