"""The model "auto": clean images are upscaled by one bundled model and damaged ones by another."""

import hashlib
from pathlib import Path
from typing import Literal

import torch

from srcx.imaging import ImageArray
from srcx.imaging.cleanliness import LIMITS, cleanliness
from srcx.inference.backends import Backend
from srcx.inference.bundled import automatic_models, bundled_models, file_of, parent_of
from srcx.inference.images import check_image
from srcx.inference.model import Model, find_model
from srcx.inference.precision import Precision
from srcx.inference.upscaler import Choice, Tile, Upscaler, check_scale

__all__ = ["AutoUpscaler"]


class AutoUpscaler(Upscaler):
    """Upscales each image by the bundled model that suits it; loads each model once, when it is first needed.

    Args:
        tile: As for `Upscaler`.
        precision: As for `Upscaler`.
        device: As for `Upscaler`.
        scale: Scale of the results; None takes that of the model for clean images.
        tta: As for `Upscaler`.
        backend: As for `Upscaler`.
        fidelity: As for `find_model`.

    Raises:
        UsageError: as `Upscaler` and `find_model` have it, for any of the models that may be chosen.
    """

    def __init__(
        self,
        *,
        tile: Tile = "auto",
        precision: Precision = "auto",
        device: torch.device | str | None = None,
        scale: float | None = None,
        tta: bool = False,
        backend: Backend | Literal["auto"] = "auto",
        fidelity: float = 0.0,
    ) -> None:
        check_scale(scale)
        self.clean, self.damaged = automatic_models(scale)
        model = Model(
            "auto",
            bundled_models()[self.clean][0],
            f"{self.clean} or {self.damaged}, chosen for each image",
            _sha256_of((self.clean, self.damaged), fidelity),
        )
        super().__init__(
            model, tile=tile, precision=precision, device=device, scale=scale, tta=tta, backend=backend
        )
        self.tile, self.fidelity = tile, fidelity
        self._loaded: dict[str, Upscaler] = {}
        if fidelity or precision != "auto" or backend != "auto":
            # What not every model can do is an error before the first image.
            for name in (self.clean, self.damaged):
                self._upscaler(name)

    def __call__(self, image: ImageArray) -> ImageArray:
        return self.choose(image).upscaler(image)

    def choose(self, image: ImageArray, file: Path | None = None) -> Choice:
        """Return the upscaler for an image and a short phrase that says why, if there was a choice.

        Args:
            image: What `Upscaler` takes.
            file: Where it was read from; what its format and quality tell counts too.
        """
        check_image(image)
        if self.clean == self.damaged:
            return Choice(self._upscaler(self.clean), "")
        found = cleanliness(image, file)
        return Choice(self._upscaler(self.clean if found.is_clean else self.damaged), str(found))

    def choices(self) -> list[Upscaler]:
        return [self._upscaler(name) for name in dict.fromkeys((self.clean, self.damaged))]

    def _upscaler(self, name: str) -> Upscaler:
        if name not in self._loaded:
            self._loaded[name] = Upscaler(
                find_model(name, fidelity=self.fidelity),
                tile=self.tile,
                precision=self.precision,
                device=self.device,
                scale=self.scale,
                tta=self.tta,
                backend=self.backend,
            )
        return self._loaded[name]


def _sha256_of(names: tuple[str, ...], fidelity: float) -> str:
    """Return a hash of everything that the results depend on."""
    total = hashlib.sha256(f"{names} {fidelity!r} {LIMITS}".encode())
    for name in names:
        file = file_of(name)
        for one in (file, parent_of(file)) if file else ():
            total.update(one.read_bytes() if one.is_file() else b"")
    return total.hexdigest()
