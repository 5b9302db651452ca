"""The model "auto": clean images are upscaled by one bundled model and damaged images by another."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from srcx.imaging import ImageArray
from srcx.imaging.cleanliness import LIMITS, cleanliness
from srcx.inference.backends import find_backend
from srcx.inference.bundled import automatic_models, bundled_models, file_of, parent_of
from srcx.inference.models import Model, find_model
from srcx.inference.upscaler import Choice, Upscaler, check_scale

__all__ = ["AutoModel", "AutoUpscaler", "auto_model"]


@dataclass(frozen=True, eq=False, kw_only=True)
class AutoModel(Model):
    """The name, scale and hash that "auto" has, and the two models it chooses from."""

    clean: str
    damaged: str
    fidelity: float


def auto_model(scale: float | None, fidelity: float) -> AutoModel:
    """Return the model "auto"; its hash covers everything that the results depend on.

    Args:
        scale: Scale of the results; None is that of the model for clean images.
        fidelity: As for `find_model`.

    Raises:
        UsageError: the scale is not from 1 to 32.
    """
    check_scale(scale)
    names = automatic_models(scale)
    sha256 = hashlib.sha256(f"{names} {fidelity!r} {LIMITS}".encode())
    for name in names:
        file = file_of(name)
        for one in (file, parent_of(file)) if file else ():
            sha256.update(one.read_bytes() if one.is_file() else b"")
    clean, damaged = names
    return AutoModel(
        name="auto",
        scale=bundled_models()[clean][0],
        architecture=f"{clean} or {damaged}, chosen for each image",
        sha256=sha256.hexdigest(),
        clean=clean,
        damaged=damaged,
        fidelity=fidelity,
    )


class AutoUpscaler(Upscaler):
    """Upscales each image by the bundled model that suits it; loads a model when it is first needed.

    Its arguments are those of `Upscaler`, with an `AutoModel`.
    """

    model: AutoModel

    @cached_property
    def _loaded(self) -> dict[str, Upscaler]:
        """The upscalers in use, by the name of their model."""
        return {}

    def choose(self, image: ImageArray, file: Path | None = None) -> Choice:
        """Return the upscaler for an image and a short reason, if there was a choice.

        Args:
            image: As for `Upscaler`.
            file: The file of the image; its format and quality count too.
        """
        if self.model.clean == self.model.damaged:
            return Choice(self.load(self.model.clean), "")
        found = cleanliness(image, file)
        return Choice(self.load(self.model.clean if found.is_clean else self.model.damaged), str(found))

    def check_settings(self) -> None:
        """Check before the first image that the models can do what is asked for.

        Raises:
            UsageError: one of them cannot.
        """
        if self.model.fidelity or self.precision == "int8":  # which need files beside a model
            self.choices()
        else:
            self._engines()  # loads no network, which takes longer than a small image
            if self.backend != "auto":
                find_backend(self.backend).load()

    def choices(self) -> list[Upscaler]:
        return [self.load(name) for name in dict.fromkeys((self.model.clean, self.model.damaged))]

    def load(self, name: str) -> Upscaler:
        """Return the upscaler of one of the two models, loaded once.

        Raises:
            UsageError: the model cannot do what is asked for.
        """
        with self._choosing:
            if name not in self._loaded:
                self._loaded[name] = self.with_model(find_model(name, fidelity=self.model.fidelity))
            return self._loaded[name]
