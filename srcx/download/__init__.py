"""Files from the net, over https alone."""

from srcx.download.files import Digest, alone, download
from srcx.download.wire import Wire

__all__ = ["Digest", "Wire", "alone", "download"]
