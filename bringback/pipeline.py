"""An ordered list of stages: photo in, photo out, in one process and with the weights loaded once."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bringback.checkpoints import Checkpoints
from bringback.photo import Photo, PhotoError, is_grey, luminance
from bringback.pipeline_config import PipelineConfig
from bringback.restoration import Restoration, Stage
from bringback.stages import FAMILIES
from bringback.tint import Tint, find_tint
from bringback.tint import luminance as tensor_luminance


class Pipeline:
    """Restores photos with its stages, in their order.

    `weights` (the hashes of the checkpoints in use, by name), `device` and `settings` (of the stages, by name) are for
    whoever keeps a record. `strength` mixes the result with the photo as it came: at 1 it is the result, at 0 exactly
    the photo.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        weights: Mapping[str, str] | None = None,
        device: str = "cpu",
        strength: float = 1.0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Raises ValueError for a strength outside [0, 1]."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength {strength:g}: wants 0 (the photo as it came) to 1 (all that was restored)")
        self.strength = strength
        self.stages = list(stages)
        self.weights = dict(weights or {})
        self.device = device
        self.settings = {name: dict(given) for name, given in (settings or {}).items() if given}

    @classmethod
    def from_pretrained(
        cls,
        weights: Path | str | None = None,
        *,
        config: Path | str | None = None,
        stages: Sequence[str] | None = None,
        device: str = "auto",
        strength: float = 1.0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """A pipeline with the shipped checkpoints, those in the folder `weights` laid over them.

        `config` is a YAML file or the name of one that ships ("lean", "paper", ...) and tells which family of networks,
        which stages and which settings; without it `pipeline.yaml` in the folder of the weights does, and without that
        "lean". `stages` and `settings`, arguments of single stages as in {"faces": {"fidelity": 0.5}}, go before what
        it says. Stages run in their one order, however they are named. `device` is auto (CUDA, else MPS, else CPU) or
        torch's name of one. Raises ValueError for an unknown config, stage or device, for settings of a stage that does
        not run and values out of range, `MissingWeights` when a checkpoint is absent.
        """
        chosen = PipelineConfig.of(weights, config)
        kinds = FAMILIES[chosen.family]
        stages = chosen.stages if stages is None else stages
        unknown = [name for name in stages if name not in kinds]
        if unknown:
            family = f" of the family {chosen.family}" if chosen.family != "lean" else ""
            raise ValueError(f"unknown stage {unknown[0]!r}; the stages{family} are {', '.join(kinds)}")
        idle = [name for name, values in (settings or {}).items() if values and name not in stages]
        if idle:
            raise ValueError(f"settings of the stage {idle[0]!r}, which is not among those to run: {', '.join(stages)}")
        given = {name: {**chosen.settings.get(name, {}), **(settings or {}).get(name, {})} for name in stages}
        checkpoints = _Asked(weights)
        place = pick_device(device)
        built: list[Stage] = []
        for name in kinds:
            if name in stages:
                build: Any = kinds[name].from_checkpoints  # which arguments there are is the stage's own business
                try:
                    built.append(build(checkpoints, place, **given[name]))
                except TypeError as error:
                    if not given[name]:
                        raise
                    raise ValueError(f"settings of the stage {name!r}: {error}") from error
        return cls(built, checkpoints.hashes(checkpoints.names), place.type, strength, given)

    def __call__(self, image: Any, mask: Any = None) -> Any:
        """Restore one picture; the result is of the kind that was given.

        `image` is a path or `Photo` (a `Photo` comes back), a Pillow image, an array (H, W) or (H, W, 3) of uint8,
        uint16 or floats in [0, 1], or a tensor (3, H, W) or (1, 3, H, W) of floats in [0, 1]. `mask` is of any of these
        kinds and of the same height and width; 1 or the largest integer = damaged. Raises `PhotoError`.
        """
        photo = _photo(image)
        result = self.restore(photo, None if mask is None else mask_array(mask)).result()
        if isinstance(image, Image.Image):
            return result.to_image()
        if isinstance(image, np.ndarray):
            if image.dtype.kind != "f":
                return result.array().reshape(image.shape)
            plain = luminance(result.pixels)[..., None] if photo.grey else result.pixels
            planes = plain if photo.alpha is None else np.dstack([plain, photo.alpha])
            return planes.reshape(image.shape).astype(image.dtype)
        if isinstance(image, Tensor):
            return torch.from_numpy(result.pixels.transpose(2, 0, 1).copy()).to(image).reshape(image.shape)
        return result

    def restore(
        self,
        photo: Photo,
        mask: np.ndarray | None = None,
        on_stage: Callable[[str, Restoration], None] | None = None,
    ) -> Restoration:
        """Take a photo, and a damage mask (H, W) in [0, 1] if there is one, through all stages.

        `on_stage` is called after each with its name. A grey photo stays grey and one of a single tint keeps it: every
        stage after the detector, whose mask tells damage from colour, sees three equal channels, what it makes of them
        is reduced to its luminance, and the tint comes back at the end. Raises `PhotoError` for a mask of another size.
        """
        height, width = photo.pixels.shape[:2]
        if mask is not None and mask.shape != (height, width):
            sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, the photo {width}x{height}"
            raise PhotoError(f"the damage mask has {sizes}: give one of the photo's size")
        with torch.inference_mode():
            restoration = Restoration.start(photo, mask)
            tint, judged = None, False
            for stage in self.stages:
                begin = time.perf_counter()
                if not judged and stage.name != "scratches":
                    tint, judged = _tint(restoration), True
                    if tint:
                        restoration.pixels = _grey(restoration.pixels)
                restoration = stage(restoration)
                if not restoration.pixels.isfinite().all():
                    raise ArithmeticError(f"the stage {stage.name!r} made pixels that are not finite")
                if tint:
                    restoration.pixels = _grey(restoration.pixels)
                restoration.notes.setdefault(stage.name, {})["seconds"] = round(time.perf_counter() - begin, 3)
                if on_stage:
                    on_stage(stage.name, restoration)
            if tint:
                restoration.pixels = tint.apply(restoration.pixels)
            if self.strength < 1:
                begun = Restoration.start(photo).pixels
                restoration.pixels = torch.lerp(begun, restoration.pixels.cpu(), self.strength)
        return restoration


class _Asked(Checkpoints):
    """Checkpoints that remember which of them were asked for."""

    def __init__(self, overlay: Path | str | None) -> None:
        super().__init__(overlay)
        self.names: list[str] = []

    def folder(self, name: str) -> Path:
        if name not in self.names:
            self.names.append(name)
        return super().folder(name)


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU. Raises ValueError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # which kind depends on the backend and the torch version
        raise ValueError(f"no device {name!r} here: {str(error).splitlines()[0]}") from None
    return device


def mask_array(mask: Path | str | Image.Image | np.ndarray | Tensor) -> np.ndarray:
    """A damage mask (H, W) float32 in [0, 1] from a file, Pillow image, array or tensor; colour counts by luminance."""
    if isinstance(mask, str | Path):
        return luminance(Photo.read(mask).pixels)
    if isinstance(mask, Image.Image):
        return luminance(Photo.from_image(mask).pixels)
    plain = mask.detach().cpu() if isinstance(mask, Tensor) else mask
    plain = np.asarray(plain.float() if isinstance(plain, Tensor) and plain.is_floating_point() else plain)
    plane = plain.reshape([side for side in plain.shape[:-2] if side != 1] + list(plain.shape[-2:]))
    if plane.ndim != 2:
        raise PhotoError(f"an array of shape {plain.shape} is no damage mask: (H, W) is")
    return luminance(Photo.from_array(plane.astype(np.float32) if plane.dtype == bool else plane).pixels)


def _photo(image: Any) -> Photo:
    if isinstance(image, Photo):
        return image
    if isinstance(image, str | Path):
        return Photo.read(image)
    if isinstance(image, Image.Image):
        return Photo.from_image(image)
    if isinstance(image, np.ndarray):
        return Photo.from_array(image)
    if isinstance(image, Tensor) and image.is_floating_point() and image.shape[:-2] in ((3,), (1, 3)):
        return Photo.from_array(image.detach().float().cpu().reshape(image.shape[-3:]).numpy().transpose(1, 2, 0))
    raise PhotoError(
        "a photo is a path, a Pillow image, an array (H, W) or (H, W, 3), or a float tensor (3, H, W) or (1, 3, H, W)"
    )


def _tint(restoration: Restoration) -> Tint | None:
    """The tint of a photo that no stage has changed yet; None when it has colours."""
    if restoration.photo.grey or is_grey(restoration.photo.pixels):
        return Tint.none()
    return find_tint(restoration.pixels, restoration.mask)


def _grey(pixels: Tensor) -> Tensor:
    return tensor_luminance(pixels).expand_as(pixels).contiguous()
