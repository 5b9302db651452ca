"""BasicSR's own training step, driven batch by batch, to compare srcx's with."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from torch import Tensor

from srcx.basicsr_compat.importing import open_basicsr

__all__ = ["Rival"]


class Rival:
    """BasicSR's model of an option file, without its training loop: on the CPU, in one process.

    Args:
        options: The file's content: model_type, network_g, network_d, path and train are read.

    Raises:
        BridgeError: BasicSR cannot be had.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        models = open_basicsr("basicsr.models")
        self.warmup_iter = options["train"].get("warmup_iter", -1)
        self.iteration = 0
        here = {"dist": False, "is_train": True, "num_gpu": 0}
        with redirect_stdout(io.StringIO()):  # its registry prints how it found a name
            self.model = models.build_model({"path": {}, **options, **here})

    def start_from(self, net_g: Mapping[str, Tensor], net_d: Mapping[str, Tensor] | None = None) -> None:
        """Give the networks these weights; the averaged ones begin there too."""
        self.model.net_g.load_state_dict(net_g)
        if hasattr(self.model, "net_g_ema"):
            self.model.net_g_ema.load_state_dict(net_g)
        if net_d is not None:
            self.model.net_d.load_state_dict(net_d)

    def step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Learn from one batch {"lq": (N, 3, H, W), "gt": (N, 3, sH, sW)}, as BasicSR's loop does.

        Returns:
            Its loss terms by its names (l_pix, l_g_gan, ...).
        """
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.warmup_iter)
        self.model.feed_data(batch)
        self.model.optimize_parameters(self.iteration)
        return dict(self.model.get_current_log())
