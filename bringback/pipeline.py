"""An ordered list of stages: photo in, photo out, in one process, with the weights loaded once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from bringback import __version__
from bringback.errors import PhotoError, known_names
from bringback.images.adapters import areas_of_each, convert_back, each, mask_array, to_photo
from bringback.images.negatives import inverted
from bringback.images.photo import Photo
from bringback.models.native_scale import NativeScale, under_marks
from bringback.models.registry import SCALE
from bringback.ops.areas import Area, areas_by_hand
from bringback.ops.frames import find_areas
from bringback.pipeline_config import PipelineConfig
from bringback.runtime.compute import Compute
from bringback.runtime.hub import fetched
from bringback.runtime.memory import Plan, halved, out_of_memory, together
from bringback.runtime.progress import stage_begins
from bringback.stages import ordered
from bringback.stages.base import build_stage
from bringback.stages.record import OnStep, Restoration, Stage, own_pixels
from bringback.stages.run import finalize, run_stage, start
from bringback.weights.checkpoints import Attach, Checkpoints

ENGINES = ("torch", "onnx")
_LARGEST_SCALE = 64
ALONE = 8_000_000  # pixels of a photo above which no other photo is in memory while it is restored

OnStage = Callable[[str, Restoration], None]  # called after each stage with its name


class _Turn:
    """A lock for stages, which pipelines that share these have in common; copied and pickled, it is a new one."""

    def __init__(self) -> None:
        self.lock = RLock()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


class Pipeline:
    """Restores photos with its stages, in their order; stages that enlarge are the last ones.

    `scale` is the native scale of all photos, see `Restoration`, or the network that estimates that of each.
    `weights` (the hashes of the checkpoints in use, by name), `settings` (of the stages, by name) and `engine` (what
    runs the networks) are recorded in manifests. `compute` says where and how the networks run. `strength` blends the
    result with the original photo, before it is enlarged: 1 is the result, 0 exactly the photo. `negative` inverts the
    photos first, see `negatives.inverted`; without it, what is surely a negative is left alone, with a warning.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        weights: Mapping[str, str] | None = None,
        compute: Compute | torch.device | str = "cpu",
        strength: float = 1.0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        engine: str = "torch",
        scale: NativeScale | float = 1.0,
        negative: bool = False,
    ) -> None:
        """Raises ValueError for a strength outside [0, 1] and for a scale below 1."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength {strength:g}: wants 0 (the photo as it came) to 1 (all that was restored)")
        self._turns = [_Turn()]  # what runs has its tiles in the stages, which threads and joined pipelines share
        self.strength, self.scale = strength, scale if isinstance(scale, NativeScale) else checked_scale(scale)
        self.stages = sorted(stages, key=_enlarges)
        self.weights = dict(weights or {})
        self.compute = Compute.of(compute)
        self.settings = {name: dict(given) for name, given in (settings or {}).items() if given}
        self.engine, self.negative = engine, negative

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
        also: Sequence[str] = (),
        engine: str = "torch",
        device: str = "auto",
        dtype: str = "auto",
        tile: int | None = None,
        batch_size: int | None = None,
        memory: int | None = None,
        strength: float = 1.0,
        scale: float | str = "auto",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        negative: bool = False,
    ) -> Self:
        """A pipeline with the shipped checkpoints; those in the folder or hub id `weights` take precedence.

        `revision`, `cache_dir` and `local_files_only` are for a hub id, as in `hub.fetched`. `engine` is "torch", or
        "onnx" for onnxruntime, which computes in float32; see `weights.onnx.engine.attach`.
        `config` is a YAML file or the name of a shipped one ("lean", "paper", ...) with the family of networks, the
        stages and their settings; the default is `pipeline.yaml` in the folder of the weights, or else "lean". `stages`
        and `settings`, arguments of single stages as in {"faces": {"fidelity": 0.5}}, override it; `also` are stages
        to run beside those. The order of the stages is fixed, whatever the order of their names. `device`, `dtype`,
        `tile`, `batch_size` and `memory` are as in `Compute.pick`. `scale` is the native scale of the photos, "auto" to
        estimate that of each; the family paper knows no scale, so there "auto" is 1. Raises ValueError for an unknown
        config, stage or device, for settings of a stage that does not run and for values out of range, `MissingWeights`
        for an absent checkpoint.
        """
        if weights is not None:
            weights = fetched(weights, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        chosen = PipelineConfig.of(weights, config)
        kinds = ordered(chosen.family, [*(chosen.stages if stages is None else stages), *also])
        idle = [name for name, values in (settings or {}).items() if values and name not in kinds]
        if idle:
            raise ValueError(f"settings of the stage {idle[0]!r}, which is not among those to run: {', '.join(kinds)}")
        given = {name: {**chosen.settings.get(name, {}), **(settings or {}).get(name, {})} for name in kinds}
        checkpoints = _Asked(weights, attach=_attaching(engine))
        compute = Compute.pick(device, _precision(dtype, engine), tile, batch_size, memory)
        ready = [build_stage(kind, checkpoints, compute, given[name]) for name, kind in kinds.items()]
        native = _scale(scale, ready, checkpoints)
        hashes = checkpoints.hashes(checkpoints.names)
        for stage in ready:
            hashes |= getattr(stage, "hashes", {})
        return cls(ready, hashes, compute, strength, given, engine, native, negative)

    @classmethod
    def joined(cls, parts: Sequence[Self], strength: float = 1.0, scale: float | None = None) -> Self:
        """The stages of several pipelines as one, which computes as the first does.

        While it restores, pipelines that share these stages wait, and the other way round. The scale is by default
        estimated, if one of the pipelines does that, else the largest of theirs.
        """
        estimators = [part.scale for part in parts if isinstance(part.scale, NativeScale)]
        fixed = [part.scale for part in parts if not isinstance(part.scale, NativeScale)]
        own = estimators[0] if estimators else max(fixed, default=1.0)
        weights = {name: digest for part in parts for name, digest in part.weights.items()}
        if scale is not None:
            weights.pop(SCALE, None)
        whole = cls(
            [stage for part in parts for stage in part.stages],
            weights,
            parts[0].compute if parts else "cpu",
            strength,
            {name: given for part in parts for name, given in part.settings.items()},
            parts[0].engine if parts else "torch",
            own if scale is None else scale,
            any(part.negative for part in parts),
        )
        whole._turns = list({id(turn): turn for part in parts for turn in part._turns}.values())
        return whole

    def __repr__(self) -> str:
        names = ", ".join(stage.name for stage in self.stages) or "no stages"
        scale = "auto" if isinstance(self.scale, NativeScale) else f"{self.scale:g}"
        return f"<Pipeline of {names} on {self.compute}: strength {self.strength:g}, scale {scale}>"

    @property
    def note(self) -> dict[str, str]:
        """The provenance for a file's XMP: version, stages and weights, see `Photo.encode`."""
        return {
            "tool": f"bringback {__version__}",
            "stages": ",".join(stage.name for stage in self.stages),
            "weights": ",".join(f"{name}={digest[:16]}" for name, digest in self.weights.items()),
        }

    def to(self, *where: torch.device | torch.dtype | str | int) -> Self:
        """Compute on another device or in another dtype, see `Compute.to`; returns itself.

        Raises ValueError with the engine onnx, whose sessions are bound to their device.
        """
        if self.engine != "torch":
            raise ValueError(f"the engine {self.engine} stays where it is: make another pipeline there")
        compute = self.compute.to(*where)
        movable: list[Any] = [stage for stage in self.stages if hasattr(stage, "to")]
        for stage in movable:
            stage.to(*where)
        self.compute = compute
        return self

    def __call__(self, image: Any, mask: Any = None, areas: Any = None) -> Any:
        """Restore one or several pictures; the result is of the same kind as the input.

        `image` is a path or `Photo` (the result is a `Photo`), a Pillow image, an array (H, W) or (H, W, 3) of uint8,
        uint16 or floats in [0, 1], or a tensor (3, H, W) of floats in [0, 1]; or a list of those, an array
        (B, H, W, 3) or a tensor (B, 3, H, W). Gray pictures that were colorized have three channels. `mask` is of any
        of these kinds and of the same height and width, one (H, W) for all or one for each; 1 or the largest
        integer = damaged. `areas` are the picture areas, which are looked for if it is None: a list of what `Area.of`
        takes, such as boxes (left, top, right, bottom), or "all" for the whole photo; of several pictures, a list with
        that (or None) for each. Several pictures go through `restore_many` in batches of `compute.batch`, with the same
        results as one by one. Raises `PhotoError`.
        """
        given: list[tuple[Any, Any]] = []
        # as a list: nothing is stacked yet, and the pictures of a list may have different sizes
        images = list(image) if getattr(image, "ndim", 0) == 4 else image
        each(lambda one, its_mask: given.append((one, its_mask)), images, mask)
        results = self._results([(*pair, its) for pair, its in zip(given, areas_of_each(areas, images), strict=True)])
        return each(lambda one, _: next(results), image)

    def _results(self, given: Sequence[tuple[Any, Any, Any]]) -> Iterator[Any]:
        """The restored pictures, each of the kind of its input; only one batch is decoded at a time."""
        batch: list[tuple[Any, Photo, np.ndarray | None, Any]] = []

        def restored() -> Iterator[Any]:
            images, photos, masks, areas = zip(*batch, strict=True)
            batch.clear()
            for image, one in zip(images, self.restore_many(photos, masks, areas=areas), strict=True):
                yield convert_back(image, one.result())

        for image, mask, areas in given:
            photo = to_photo(image)
            large = photo.pixels[..., 0].size > ALONE
            if large and batch:
                yield from restored()
            batch.append((image, photo, None if mask is None else mask_array(mask), areas))
            del photo  # free its memory before the next one is decoded
            if large or len(batch) >= self.compute.batch:
                yield from restored()
        if batch:
            yield from restored()

    def restore(
        self,
        photo: Photo,
        mask: np.ndarray | None = None,
        on_stage: OnStage | None = None,
        on_step: OnStep | None = None,
        plan: Plan | None = None,
        areas: Any = None,
    ) -> Restoration:
        """Take a photo, and a damage mask (H, W) in [0, 1] if there is one, through all stages.

        `on_stage` is called after each stage, `on_step` by stages that take minutes, see `record.OnStep`. `plan` is
        what `plan_for` or `plan` returned for this photo; it is made here if it is not given. `areas` are the picture
        areas, if they are not to be looked for, as in `__call__`. A gray photo stays gray,
        and a photo of a single tint keeps it: the detector sees the colors, as they distinguish damage; every later
        stage sees three equal channels, its result is reduced to the luminance, and the tint is applied again at the
        end, unless a stage has added colors. Raises `PhotoError` for a mask of another size, for wrong areas, and for a
        photo that needs more memory than there is.

        If memory runs out, the photo is restored again with tiles of half the side, down to `SMALLEST_TILE`;
        `restoration.tile` has the final size.
        """
        plan = plan or self.plan_for(photo)
        tile = plan.tile
        while True:
            try:
                with self._one_at_a_time(), self._tiles_of(tile):
                    return self._restore([photo], [mask], [areas], [plan], tile, on_stage, on_step)[0]
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

    def restore_many(
        self,
        photos: Sequence[Photo],
        masks: Sequence[np.ndarray | None],
        on_step: OnStep | None = None,
        plans: Sequence[Plan] | None = None,
        areas: Sequence[Any] | None = None,
    ) -> list[Restoration]:
        """`restore` for several photos, which are in memory at once and whose faces go through the generator together.

        If one photo fails, all fail. They go one by one if some need small tiles, if together they need more than
        `compute.memory`, or if memory runs out: results do not depend on the composition of the batch.
        """
        plans = plans or [self.plan_for(photo) for photo in photos]
        areas = areas or [None] * len(photos)
        if len(photos) > 1 and self._fit_together(plans):
            try:
                with self._one_at_a_time():
                    return self._restore(photos, masks, areas, plans, None, None, on_step)
            except Exception as error:
                if not out_of_memory(error):
                    raise
        return [
            self.restore(photo, mask, on_step=on_step, plan=plan, areas=its)
            for photo, mask, plan, its in zip(photos, masks, plans, areas, strict=True)
        ]

    def _fit_together(self, plans: Sequence[Plan]) -> bool:
        if any(plan.tile is not None for plan in plans):
            return False
        return self.compute.memory is None or together(self.stages, plans) <= self.compute.memory

    def native_scale(self, pixels: Tensor) -> float:
        """How many times a photo (1, 3, H, W) can be shrunk without losing detail; 1 = sharp to the pixel."""
        if isinstance(self.scale, int | float):
            return self.scale
        with torch.no_grad():
            return self.scale.of(pixels)

    def scales(self, pixels: Tensor) -> tuple[float, float | None]:
        """`native_scale` of a photo (1, 3, H, W), and the one that it has if what is sharp in it is marks.

        The latter is None where there is nothing to ask, or the scale is given; see `under_marks`.
        """
        scale = self.native_scale(pixels)
        return scale, under_marks(pixels, scale) if isinstance(self.scale, NativeScale) else None

    def areas(self, photo: Photo, given: Any = None) -> tuple[Area, ...]:
        """Where the picture is inside its frame: as it was `given`, see `__call__`, or else found, if a stage asks.

        () for a photo without a frame. Raises `PhotoError` for wrong areas.
        """
        if given is not None:
            return areas_by_hand(given, *photo.pixels.shape[:2])
        asking = [stage.name for stage in self.stages if getattr(stage, "in_areas", False)]
        return find_areas(own_pixels(photo), torn="scratches" in asking) if asking else ()  # else nothing mends them

    def plan(
        self, height: int, width: int, scale: float | None = None, beside: int = 0, softer: float | None = None
    ) -> Plan:
        """The memory and the tiles for a photo of this size and native scale, for these settings on this machine.

        Without a scale, the plan is for a photo that is sharp to the pixel, which needs the most, and `restore`
        estimates it. `beside` are bytes that the photo holds beside its pixels, `softer` is as in `Plan`. Raises
        `PhotoError` if it would need more memory than `compute.memory`.
        """
        return Plan.of(self.stages, self.compute, height, width, scale, beside, softer)

    def plan_for(self, photo: Photo, waiting: int = 0) -> Plan:
        """`plan` for the photo's size and native scale; `waiting` are bytes of other photos."""
        height, width = photo.pixels.shape[:2]
        beside = waiting + sum(planes.nbytes for planes in (photo.levels, photo.infrared) if planes is not None)
        scale, softer = self.scales(own_pixels(photo))
        return self.plan(height, width, scale, beside, softer)

    def _restore(
        self,
        photos: Sequence[Photo],
        masks: Sequence[np.ndarray | None],
        areas: Sequence[Any],
        plans: Sequence[Plan],
        tile: int | None,
        on_stage: OnStage | None,
        on_step: OnStep | None,
    ) -> list[Restoration]:
        if self.negative:
            photos = [inverted(photo) for photo in photos]
        with torch.no_grad():
            restorations = []
            for photo, mask, plan, given in zip(photos, masks, plans, areas, strict=True):
                scale, softer = self.scales(own_pixels(photo)) if plan.scale is None else (plan.scale, plan.softer)
                restorations.append(start(photo, mask, tile, on_step, scale, self.areas(photo, given), softer))
                if mask is not None and all(stage.name != "scratches" for stage in self.stages):  # which asks itself
                    restorations[-1].take_softer(restorations[-1].damage())
            positive = [n for n, one in enumerate(restorations) if self.negative or not self._left_alone(one)]
            for number, stage in enumerate(self.stages if positive else ()):
                if _enlarges(stage):
                    for n in positive:
                        finalize(restorations[n], self.strength)
                stage_begins(stage.name, number, len(self.stages))
                for n, one in zip(positive, run_stage(stage, [restorations[n] for n in positive]), strict=True):
                    restorations[n] = one
                if on_stage:
                    for n in positive:
                        on_stage(stage.name, restorations[n])
            for one in restorations:
                finalize(one, self.strength)
        return restorations

    def _left_alone(self, restoration: Restoration) -> bool:
        """Whether the photo is a negative, which a warning says."""
        asked: list[Any] = [stage for stage in self.stages if hasattr(stage, "is_negative")]
        found = any(stage.is_negative(restoration) for stage in asked)
        if found:
            restoration.warnings.append("looks like a negative, left as it came: --negative inverts it first")
        return found

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """A context in which no other thread runs these stages, be it through another pipeline."""
        with ExitStack() as held:
            for turn in sorted(self._turns, key=id):  # all threads in one order, so that none waits for another's
                held.enter_context(turn.lock)
            yield

    @contextmanager
    def _tiles_of(self, tile: int | None) -> Iterator[None]:
        """A context in which no stage has larger tiles; tiles smaller than a stage's own run one at a time."""
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


def _enlarges(stage: Any) -> bool:
    return getattr(stage, "enlarges", False)


class _Asked(Checkpoints):
    """Checkpoints that record which of them are used."""

    def __init__(self, overlay: Path | str | None, *, attach: Attach | None) -> None:
        super().__init__(overlay, attach=attach)
        self.names: list[str] = []

    def folder(self, name: str) -> Path:
        if name not in self.names:
            self.names.append(name)
        return super().folder(name)


def _scale(given: float | str, stages: Sequence[Any], checkpoints: Checkpoints) -> NativeScale | float:
    """What `Pipeline` takes as scale; the network is loaded only if a stage asks for the native scale."""
    if given == "auto":
        used = any(getattr(stage, "at_native_scale", False) for stage in stages)
        return checkpoints.load(SCALE, NativeScale) if used else 1.0
    return checked_scale(given)


def checked_scale(scale: float | str) -> float:
    """A native scale that is given as a number; raises ValueError, one line, for anything else."""
    try:
        number = float(scale)
    except (TypeError, ValueError):
        number = math.nan
    if not 1 <= number <= _LARGEST_SCALE:
        raise ValueError(f"scale {scale}: wants auto, or 1 (sharp to the pixel) to {_LARGEST_SCALE}")
    return number


def _attaching(engine: str) -> Attach | None:
    """The function that lets networks compute with that engine; None for torch. Raises ValueError if it is unknown."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: one of {known_names(engine, ENGINES)}")
    if engine == "torch":
        return None
    from bringback.weights.onnx.engine import attach  # imported late: onnxruntime is optional

    return attach


def _precision(dtype: str, engine: str) -> str:
    """The dtype to compute in: the exported graphs are float32 only."""
    if engine == "torch":
        return dtype
    if dtype not in ("auto", "float32"):
        raise ValueError(f"the engine {engine} computes in float32, not in {dtype}: leave --dtype out")
    return "float32"
