"""An ordered list of stages: photo in, photo out, in one process and with the weights loaded once."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from bringback import __version__
from bringback.errors import PhotoError
from bringback.images.adapters import each, like, mask_array, to_photo
from bringback.images.photo import Photo, is_grey
from bringback.ops.color import make_grey_
from bringback.ops.monochrome import Tint, find_tint
from bringback.pipeline_config import PipelineConfig
from bringback.runtime.compute import Compute
from bringback.runtime.hub import fetched
from bringback.runtime.memory import Plan, give_back_heap, halved, out_of_memory
from bringback.stages import ordered
from bringback.stages.base import built
from bringback.stages.record import Restoration, Stage, own_pixels
from bringback.weights.checkpoints import Attach, Checkpoints

ENGINES = ("torch", "onnx")
LARGE = 4_000_000  # pixels of a photo from which it is worth while to tidy up before each stage


class Pipeline:
    """Restores photos with its stages, in their order.

    `weights` (the hashes of the checkpoints in use, by name), `compute` (where and how they run), `settings` (of the
    stages, by name) and `engine` (what runs them) are for whoever keeps a record. `strength` mixes the result with the
    photo as it came: at 1 it is the result, at 0 exactly the photo.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        weights: Mapping[str, str] | None = None,
        compute: Compute | torch.device | str = "cpu",
        strength: float = 1.0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        engine: str = "torch",
    ) -> None:
        """Raises ValueError for a strength outside [0, 1]."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength {strength:g}: wants 0 (the photo as it came) to 1 (all that was restored)")
        self.strength = strength
        self.stages = list(stages)
        self.weights = dict(weights or {})
        self.compute = Compute.of(compute)
        self.settings = {name: dict(given) for name, given in (settings or {}).items() if given}
        self.engine = engine

    @classmethod
    def from_pretrained(
        cls,
        weights: Path | str | None = None,
        *,
        revision: str | None = None,
        cache_dir: Path | str | None = None,
        local_files_only: bool = False,
        config: Path | str | None = None,
        stages: Sequence[str] | None = None,
        engine: str = "torch",
        device: str = "auto",
        dtype: str = "auto",
        tile: int | None = None,
        batch_size: int | None = None,
        memory: int | None = None,
        strength: float = 1.0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """A pipeline with the shipped checkpoints, those in the folder or hub id `weights` laid over them.

        `revision`, `cache_dir` and `local_files_only` are for a hub id, as in `hub.fetched`. `engine` is "torch", or
        "onnx" for onnxruntime, which computes in float32; see `weights.onnx.engine.attach`.
        `config` is a YAML file or the name of one that ships ("lean", "paper", ...) and tells which family of networks,
        which stages and which settings; without it `pipeline.yaml` in the folder of the weights does, and without that
        "lean". `stages` and `settings`, arguments of single stages as in {"faces": {"fidelity": 0.5}}, go before what
        it says. Stages run in their one order, however they are named. `device`, `dtype`, `tile`, `batch_size` and
        `memory` are as in `Compute.pick`. Raises ValueError for an unknown config, stage or device, for settings of a
        stage that does not run and values out of range, `MissingWeights` when a checkpoint is absent.
        """
        if weights is not None:
            weights = fetched(weights, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        chosen = PipelineConfig.of(weights, config)
        kinds = ordered(chosen.family, chosen.stages if stages is None else stages)
        idle = [name for name, values in (settings or {}).items() if values and name not in kinds]
        if idle:
            raise ValueError(f"settings of the stage {idle[0]!r}, which is not among those to run: {', '.join(kinds)}")
        given = {name: {**chosen.settings.get(name, {}), **(settings or {}).get(name, {})} for name in kinds}
        checkpoints = _Asked(weights, attach=_attaching(engine))
        compute = Compute.pick(device, _precision(dtype, engine), tile, batch_size, memory)
        ready = [built(kind, checkpoints, compute, given[name]) for name, kind in kinds.items()]
        return cls(ready, checkpoints.hashes(checkpoints.names), compute, strength, given, engine)

    @property
    def note(self) -> dict[str, str]:
        """What a file's XMP says of how it was made: version, stages and weights, see `Photo.encode`."""
        return {
            "tool": f"bringback {__version__}",
            "stages": ",".join(stage.name for stage in self.stages),
            "weights": ",".join(f"{name}={digest[:16]}" for name, digest in self.weights.items()),
        }

    def to(self, *where: torch.device | torch.dtype | str | int) -> Self:
        """Compute on another device or in another dtype, see `Compute.to`; itself.

        Raises ValueError with the engine onnx, whose graphs are made for where they are.
        """
        if self.engine != "torch":
            raise ValueError(f"the engine {self.engine} stays where it is: make another pipeline there")
        compute = self.compute.to(*where)
        movable: list[Any] = [stage for stage in self.stages if hasattr(stage, "to")]
        for stage in movable:
            stage.to(*where)
        self.compute = compute
        return self

    def __call__(self, image: Any, mask: Any = None) -> Any:
        """Restore a picture, or several; the result is of the kind that was given.

        `image` is a path or `Photo` (a `Photo` comes back), a Pillow image, an array (H, W) or (H, W, 3) of uint8,
        uint16 or floats in [0, 1], or a tensor (3, H, W) of floats in [0, 1]; or a list of those, an array
        (B, H, W, 3) or a tensor (B, 3, H, W). Grey that was coloured has three channels. `mask` is of any of these
        kinds and of the same height and width, one (H, W) for all or one for each; 1 or the largest integer = damaged.
        Raises `PhotoError`.
        """

        def one(image: Any, mask: Any) -> Any:
            return like(image, self.restore(to_photo(image), None if mask is None else mask_array(mask)).result())

        return each(one, image, mask)

    def restore(
        self,
        photo: Photo,
        mask: np.ndarray | None = None,
        on_stage: Callable[[str, Restoration], None] | None = None,
    ) -> Restoration:
        """Take a photo, and a damage mask (H, W) in [0, 1] if there is one, through all stages.

        `on_stage` is called after each with its name. A grey photo stays grey and one of a single tint keeps it: every
        stage after the detector, whose mask tells damage from colour, sees three equal channels, what it makes of them
        is reduced to its luminance, and the tint comes back at the end, unless a stage has given it colours. Raises
        `PhotoError` for a mask of another size and for a photo that wants more memory than there is.

        Where memory runs out, it is begun again with tiles of half the side, down to `SMALLEST_TILE`;
        `restoration.tile` tells.
        """
        plan = self.plan(*photo.pixels.shape[:2])
        tile = plan.tile
        while True:
            try:
                with self._tiles_of(tile):
                    return self._restore([photo], [mask], tile, on_stage)[0]
            except Exception as error:
                if not out_of_memory(error):
                    raise
                where = getattr(error, "__notes__", [""])[-1]
            tile = halved(self.stages, tile)
            if tile is None:
                raise PhotoError(
                    f"memory ran out{where}, about {plan.peak / 1e9:.1f} GB are wanted: "
                    "close other programs, or restore a smaller copy"
                )
            if self.compute.device.type == "cuda":
                torch.cuda.empty_cache()

    def restore_many(self, photos: Sequence[Photo], masks: Sequence[np.ndarray | None]) -> list[Restoration]:
        """`restore` for several photos, which are in memory at once and whose faces go through the generator together.

        One photo that fails fails all. Photos that have to have small tiles, or for which memory runs out, go alone, so
        that what becomes of a photo does not hang on its company.
        """
        if len(photos) > 1 and all(self.plan(*photo.pixels.shape[:2]).tile is None for photo in photos):
            try:
                return self._restore(photos, masks, None, None)
            except Exception as error:
                if not out_of_memory(error):
                    raise
        return [self.restore(photo, mask) for photo, mask in zip(photos, masks, strict=True)]

    def plan(self, height: int, width: int) -> Plan:
        """What a photo of this size will take, and the tiles it gets: by its size, the settings and the machine alone.

        Raises `PhotoError` when it would take more memory than `compute.memory`.
        """
        return Plan.of(self.stages, self.compute, height, width)

    def _restore(
        self,
        photos: Sequence[Photo],
        masks: Sequence[np.ndarray | None],
        tile: int | None,
        on_stage: Callable[[str, Restoration], None] | None,
    ) -> list[Restoration]:
        with torch.no_grad():
            restorations = [begin(photo, mask, tile) for photo, mask in zip(photos, masks, strict=True)]
            for stage in self.stages:
                restorations = through(stage, restorations)
                if on_stage:
                    for one in restorations:
                        on_stage(stage.name, one)
            for one in restorations:
                finish(one, self.strength)
        return restorations

    @contextmanager
    def _tiles_of(self, tile: int | None) -> Iterator[None]:
        """Within it no stage takes larger tiles than that; one at a time where they are smaller than its own."""
        tiled: list[Any] = [stage for stage in self.stages if hasattr(stage, "tile")]
        kept = [(stage.tile, stage.compute) for stage in tiled]
        try:
            for stage in tiled:
                if tile and tile < stage.tile:
                    stage.tile, stage.compute = tile, replace(stage.compute, batch=1)
            yield
        finally:
            for stage, (own, compute) in zip(tiled, kept, strict=True):
                stage.tile, stage.compute = own, compute


def begin(photo: Photo, mask: np.ndarray | None = None, tile: int | None = None) -> Restoration:
    """A photo before its first stage, see `Restoration`; raises `PhotoError` for a mask (H, W) of another size."""
    height, width = photo.pixels.shape[:2]
    if mask is not None and mask.shape != (height, width):
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, the photo {width}x{height}"
        raise PhotoError(f"the damage mask has {sizes}: give one of the photo's size")
    restoration = Restoration.start(photo, mask)
    restoration.tile = tile
    return restoration


def through(stage: Stage, restorations: list[Restoration]) -> list[Restoration]:
    """Take restorations through a stage, as a pipeline does: what is grey stays it, and notes tell the seconds of each.

    Raises what the stage raises, with its name in a note, and ArithmeticError for pixels that are not finite.
    """
    started = time.perf_counter()
    if any(one.photo.pixels[..., 0].size > LARGE for one in restorations):
        give_back_heap()
    if stage.name != "scratches":  # whose mask tells damage from colour
        for one in restorations:
            if not one.judged:
                one.tint, one.judged = _tint(one), True
                _grey(one)
    try:
        many: Any = getattr(stage, "many", None)
        restorations = many(restorations) if many else [stage(one) for one in restorations]
    except Exception as error:
        error.add_note(f" in the stage {stage.name!r}")
        raise
    for one in restorations:
        if not one.pixels.sum().isfinite():  # one number that any other spoils
            raise ArithmeticError(f"the stage {stage.name!r} made pixels that are not finite")
        _grey(one)
    seconds = round((time.perf_counter() - started) / len(restorations), 3)
    for one in restorations:
        one.notes.setdefault(stage.name, {})["seconds"] = seconds
    return restorations


def finish(restoration: Restoration, strength: float = 1.0) -> None:
    """After the last stage: a single tint comes back, and the photo as it came is mixed in for a strength below 1."""
    if restoration.tint and not restoration.coloured:
        restoration.tint.apply(restoration.pixels, out=restoration.pixels)
    restoration.coloured &= strength > 0  # else it is the photo itself, of one channel if that has one
    if strength < 1:
        restoration.pixels = restoration.pixels.cpu()
        torch.lerp(own_pixels(restoration.photo), restoration.pixels, strength, out=restoration.pixels)


class _Asked(Checkpoints):
    """Checkpoints that remember which of them were asked for."""

    def __init__(self, overlay: Path | str | None, *, attach: Attach | None) -> None:
        super().__init__(overlay, attach=attach)
        self.names: list[str] = []

    def folder(self, name: str) -> Path:
        if name not in self.names:
            self.names.append(name)
        return super().folder(name)


def _attaching(engine: str) -> Attach | None:
    """What lets networks compute with that engine; None for torch. Raises ValueError for one that is not known."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: one of {', '.join(ENGINES)}")
    if engine == "torch":
        return None
    from bringback.weights.onnx.engine import attach  # whose packages only those have who want them

    return attach


def _precision(dtype: str, engine: str) -> str:
    """The dtype to compute in: the exported graphs know float32 alone."""
    if engine == "torch":
        return dtype
    if dtype not in ("auto", "float32"):
        raise ValueError(f"the engine {engine} computes in float32, not in {dtype}: leave --dtype out")
    return "float32"


def _tint(restoration: Restoration) -> Tint | None:
    """The tint of a photo that no stage has changed yet; None when it has colours."""
    if restoration.photo.grey or is_grey(restoration.photo.pixels):
        return Tint.none()
    return find_tint(restoration.pixels, restoration.mask)


def _grey(restoration: Restoration) -> None:
    if restoration.tint and not restoration.coloured:
        make_grey_(restoration.pixels)
