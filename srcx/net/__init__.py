"""Files from the net, over https alone."""

from srcx.net.download import Digest, Progress, alone, download
from srcx.net.wire import Wire

__all__ = ["Digest", "Progress", "Wire", "alone", "download"]
