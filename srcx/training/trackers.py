"""Trackers of a run beside metrics.csv: TensorBoard's event files, Weights & Biases."""

import logging
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from srcx.atomic import writing
from srcx.config.options import WandbOptions
from srcx.errors import OutputError, UsageError
from srcx.imaging import ImageArray

__all__ = ["TensorBoard", "Tracker", "WeightsAndBiases", "check_wandb"]

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """A program that draws figures over the iterations, and images."""

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add figures, such as {"train/pixel": 0.1}."""
        ...

    def add_image(self, iteration: int, name: str, image: ImageArray) -> None:
        """Add an image, uint8 RGB (H, W, 3)."""
        ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `folder`; what an earlier process wrote of iterations beyond `after` is not shown.

    Raises:
        OutputError: from every method: the files cannot be written.
    """

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a slow import

        self.folder, self.events = folder, SummaryWriter(str(folder), purge_step=after + 1)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        with writing(self.folder):
            for name, value in values.items():
                self.events.add_scalar(name, value, iteration)

    def add_image(self, iteration: int, name: str, image: ImageArray) -> None:
        with writing(self.folder):
            self.events.add_image(name, image, iteration, dataformats="HWC")

    def close(self) -> None:
        with writing(self.folder):
            self.events.close()


class WeightsAndBiases:
    """A run of Weights & Biases, by BasicSR's words `logger.wandb`.

    Its own variables apply: WANDB_MODE=offline sends nothing and leaves a folder for `wandb sync`. The run's
    id is in `folder`, so a resumed training continues it.

    Args:
        folder: Of the log; wandb writes its files there.
        options: Project, and a run to continue.
        name: Of the run.
        settings: All options of the run, shown beside it.

    Raises:
        OutputError: wandb cannot begin, for example because nobody is logged in.
    """

    def __init__(
        self, folder: Path, *, options: WandbOptions, name: str, settings: Mapping[str, Any]
    ) -> None:
        import wandb  # an extra

        self.wandb, id_file = wandb, folder / "wandb_id"
        known = id_file.read_text("utf-8").strip() if id_file.is_file() else secrets.token_hex(4)
        own = options.resume_id or known
        try:
            self.run = wandb.init(
                project=options.project,
                name=name,
                id=own,
                resume="allow",
                dir=str(folder),
                config=dict(settings),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.Error as error:
            raise OutputError(
                f"logger.wandb: {str(error).strip()}; run `wandb login`, or set WANDB_MODE=offline, "
                "or leave logger.wandb.project out"
            ) from error
        with writing(id_file):
            id_file.write_text(own, "utf-8")
        # Iterations are a figure of their own: a resumed run logs some again, and wandb's steps only grow.
        self.run.define_metric("iteration", hidden=True)
        self.run.define_metric("*", step_metric="iteration")
        logger.info("wandb: %s", self.run.url or self.run.dir)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        self.run.log({"iteration": iteration, **values})

    def add_image(self, iteration: int, name: str, image: ImageArray) -> None:
        self.run.log({"iteration": iteration, name: self.wandb.Image(image)})

    def close(self) -> None:
        self.run.finish()


def check_wandb(options: WandbOptions) -> None:
    """Check that wandb is installed if the options have a project.

    Raises:
        UsageError: it is not.
    """
    if options.project and find_spec("wandb") is None:
        raise UsageError(
            "logger.wandb.project: expected the package wandb, and it is not installed; "
            "run: pip install 'srcx[wandb]', or leave logger.wandb.project out"
        )
