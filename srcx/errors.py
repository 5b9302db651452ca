"""The errors a user can meet, one tree.

SrcxError
├── UsageError        the command line asks for something that makes no sense          (exit 2)
├── OptionsError      an option file is wrong; holds every problem found               (exit 2)
├── ImageError        an image or tensor cannot be read, or has the wrong shape
├── DataError         a data set is missing, empty, or its pairs do not fit
├── CheckpointError   a checkpoint is damaged, unsafe, or does not fit the network
├── WeightsError      weights of a fixed network or evaluator are missing
├── DownloadError     a file cannot be fetched; says from where and why
├── OutputError       a result cannot be written
├── BasicSRError      a part of BasicSR is named, and there is none or BasicSR is not installed
├── TrainingError     a run cannot go on: a loss is not finite, a rank died
└── Interrupted       the user stopped the work; says what was saved and how to go on       (exit 130)
"""

import warnings

__all__ = [
    "BasicSRError",
    "CheckpointError",
    "DataError",
    "DownloadError",
    "ImageError",
    "Interrupted",
    "OptionsError",
    "OutputError",
    "SrcxError",
    "TrainingError",
    "UsageError",
    "WeightsError",
]


class SrcxError(Exception):
    """Base of every error srcx raises on purpose; its text is one sentence for the user."""

    exit_code = 1


class UsageError(SrcxError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class OptionsError(SrcxError):
    """An option file is wrong; `problems` lists every mistake, one line each."""

    exit_code = 2

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ImageError(SrcxError):
    """An image or tensor cannot be read, or has the wrong shape."""


class DataError(SrcxError):
    """A data set is missing, empty, or its pairs do not fit."""


class CheckpointError(SrcxError):
    """A checkpoint is damaged, unsafe, or does not fit the network."""


class WeightsError(SrcxError):
    """Weights of a fixed network or an evaluator are missing."""


class DownloadError(SrcxError):
    """A file cannot be fetched; the text says from where and why, and the caller adds what to do."""


class OutputError(SrcxError):
    """A result cannot be written."""


class BasicSRError(SrcxError):
    """A part of BasicSR is named, and there is no such part or BasicSR cannot be imported."""


class TrainingError(SrcxError):
    """A run cannot go on."""


class Interrupted(SrcxError):
    """The user stopped the work; the text says what was saved and how to go on."""

    exit_code = 130


def __getattr__(name: str) -> type[SrcxError]:
    if name == "BridgeError":
        warnings.warn("BridgeError is now BasicSRError", DeprecationWarning, stacklevel=2)
        return BasicSRError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
