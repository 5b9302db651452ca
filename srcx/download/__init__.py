"""Files from the net, over https alone."""

from srcx.download.files import Digest, Progress, alone, download
from srcx.download.wire import Wire

__all__ = ["Digest", "Progress", "Wire", "alone", "download"]
