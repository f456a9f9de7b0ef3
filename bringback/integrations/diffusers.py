"""The stages as Modular Diffusers blocks, one block per stage; blocks can be removed, inserted or used on their own.

    blocks = RestoreBlocks()
    pipeline = blocks.init_pipeline()
    pipeline.update_components(**components(blocks))
    restored = pipeline(image=image, output="images")

Blocks have no weights: a block's component is the stage (`LatentTranslator`, ...) of its name. `Restoration`s go from
block to block, as in a `Pipeline`, and the resulting pixels are the same.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from bringback.errors import PhotoError
from bringback.images.adapters import areas_of_each, each, mask_array, to_photo
from bringback.images.photo import Photo
from bringback.models.native_scale import NativeScale, under_marks
from bringback.ops.areas import areas_by_hand
from bringback.ops.frames import find_areas
from bringback.pipeline import Pipeline, checked_scale
from bringback.runtime.extras import extra
from bringback.stages import STAGES
from bringback.stages.record import Restoration, own_pixels
from bringback.stages.run import finalize, run_stage, start
from bringback.weights.checkpoints import Checkpoints

with extra("plugins"):
    from diffusers.modular_pipelines import (
        ComponentSpec,
        InputParam,
        ModularPipelineBlocks,
        OutputParam,
        PipelineState,
        SequentialPipelineBlocks,
    )

OUTPUT_TYPES = ("pil", "np", "pt")
_RESTORATIONS = "restorations"


def components(blocks: ModularPipelineBlocks, weights: Path | str | None = None, **compute: Any) -> dict[str, Any]:
    """The stages that blocks need, by name, for `update_components`; the arguments are `Pipeline.from_pretrained`'s."""
    names = [name for name in blocks.component_names if name in STAGES]
    return {stage.name: stage for stage in Pipeline.from_pretrained(weights, stages=names, **compute).stages}


_ABOUT = "the photos on their way through the stages"


def _passed() -> list[Any]:
    return [InputParam(_RESTORATIONS, required=True, type_hint=list[Restoration], description=_ABOUT)]


def _passes_on() -> list[Any]:
    return [OutputParam(_RESTORATIONS, type_hint=list[Restoration], description=_ABOUT)]


class Begin(ModularPipelineBlocks):
    """Images, and masks of their damage if there are any -> restorations."""

    model_name = "bringback"

    @property
    def description(self) -> str:
        """For the documentation that diffusers generates."""
        return "Takes photos: paths, Pillow images, arrays or tensors, one or several, and masks of their damage."

    @property
    def inputs(self) -> list[Any]:
        """`image`, `mask` and `areas`, as in `Pipeline.__call__`, and `scale`, as in `Pipeline.from_pretrained`."""
        return [
            InputParam("image", required=True, description="a photo or several, as in bringback.Pipeline"),
            InputParam("mask", description="damage, 1 = damaged: of the image's height and width"),
            InputParam("areas", description="where the pictures are in their frames; without it, they are looked for"),
            InputParam("scale", default="auto", description="native scale of the photos: auto, or a number from 1 on"),
        ]

    @property
    def intermediate_outputs(self) -> list[Any]:
        """The restorations."""
        return _passes_on()

    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Raises `PhotoError`, also for wrong areas, and ValueError for a wrong scale."""
        own = self.get_block_state(state)
        own.restorations = []
        reader = Checkpoints().load("scale", NativeScale) if own.scale == "auto" else None
        # as a list, because `each` would stack the results, which are not used
        images = list(own.image) if getattr(own.image, "ndim", 0) == 4 else own.image
        by_hand = iter(areas_of_each(own.areas, images))

        def one(image: Any, mask: Any) -> Tensor:
            photo = to_photo(image)
            scale = checked_scale(own.scale) if reader is None else reader.of(own_pixels(photo))
            softer = None if reader is None else under_marks(own_pixels(photo), scale)
            given, (height, width) = next(by_hand), photo.pixels.shape[:2]
            # looked for whichever blocks follow
            areas = find_areas(own_pixels(photo)) if given is None else areas_by_hand(given, height, width)
            restoration = start(
                photo, None if mask is None else mask_array(mask), scale=scale, areas=areas, softer=softer
            )
            own.restorations.append(restoration)
            return restoration.pixels

        each(one, images, own.mask)
        if not own.restorations:
            raise PhotoError("there is no photo in the list of images")
        self.set_block_state(state, own)
        return components, state


class _StageBlock(ModularPipelineBlocks):
    """A stage as a block; `stage` is its name, and that of its component."""

    model_name = "bringback"
    stage: str

    @property
    def description(self) -> str:
        """The first line of the stage's own docstring."""
        return (STAGES[self.stage].__doc__ or "").strip().splitlines()[0]

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """The stage."""
        return [ComponentSpec(self.stage, STAGES[self.stage])]

    @property
    def inputs(self) -> list[Any]:
        """The restorations."""
        return _passed()

    @property
    def intermediate_outputs(self) -> list[Any]:
        """The restorations."""
        return _passes_on()

    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Raises ValueError if the component is missing, and the stage's own errors."""
        stage = getattr(components, self.stage)
        if stage is None:
            raise ValueError(f"the component {self.stage!r} is missing: update_components(**components(blocks))")
        own = self.get_block_state(state)
        own.restorations = run_stage(stage, own.restorations)
        self.set_block_state(state, own)
        return components, state


class FindDamage(_StageBlock):
    """The stage `scratches`."""

    stage = "scratches"


class Relight(_StageBlock):
    """The stage `relight`."""

    stage = "relight"


class CorrectTone(_StageBlock):
    """The stage `tone`."""

    stage = "tone"


class Fill(_StageBlock):
    """The stage `fill`."""

    stage = "fill"


class Translate(_StageBlock):
    """The stage `translate`."""

    stage = "translate"


class RefineFaces(_StageBlock):
    """The stage `faces`."""

    stage = "faces"


class Colorize(_StageBlock):
    """The stage `colorize`."""

    stage = "colorize"


class Upscale(_StageBlock):
    """The stage `upscale`, which is the last one: it enlarges the finished photos."""

    stage = "upscale"

    @property
    def inputs(self) -> list[Any]:
        """The restorations, and `strength` as in `Finish`, which then changes nothing more."""
        return [*_passed(), _strength()]

    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Raises ValueError for a missing component or a strength outside [0, 1], and the stage's own errors."""
        own = self.get_block_state(state)
        for one in own.restorations:
            finalize(one, _checked(own.strength))
        return super().__call__(components, state)


def _strength() -> Any:
    return InputParam("strength", default=1.0, description="1 is all that was restored, 0 the photo itself")


def _checked(strength: float) -> float:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength:g}: wants 0 (the photo as it came) to 1 (all that was restored)")
    return strength


class Finish(ModularPipelineBlocks):
    """Restorations -> images, masks of the damage, and faces."""

    model_name = "bringback"

    @property
    def description(self) -> str:
        """For the documentation that diffusers generates."""
        return "Gives the restored images, the masks of their damage (H, W), and what was done with each face."

    @property
    def inputs(self) -> list[Any]:
        """The restorations, `output_type` and `strength`."""
        return [
            *_passed(),
            InputParam("output_type", default="pil", description=f"one of {', '.join(OUTPUT_TYPES)}"),
            _strength(),
        ]

    @property
    def intermediate_outputs(self) -> list[Any]:
        """Lists with one item per photo."""
        return [
            OutputParam("images", type_hint=list, description="Pillow images, arrays (H, W, 3) or tensors (3, H, W)"),
            OutputParam("masks", type_hint=list[Tensor], description="(H, W) in [0, 1], 1 = damaged"),
            OutputParam("faces", type_hint=list, description="of each photo, a list of bringback.stages.record.Face"),
        ]

    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Raises ValueError for another output type or a strength outside [0, 1]."""
        own = self.get_block_state(state)
        if own.output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type {own.output_type!r}: one of {', '.join(OUTPUT_TYPES)}")
        for one in own.restorations:
            finalize(one, _checked(own.strength))
        own.images = [_as(own.output_type, one.result()) for one in own.restorations]
        own.masks = [one.damage()[0, 0] for one in own.restorations]
        own.faces = [one.faces for one in own.restorations]
        self.set_block_state(state, own)
        return components, state


def _as(output_type: str, photo: Photo) -> Any:
    if output_type == "pil":
        return photo.to_image()
    return photo.pixels if output_type == "np" else torch.from_numpy(photo.pixels).permute(2, 0, 1)


class RestoreBlocks(SequentialPipelineBlocks):
    """A whole restoration. Blocks may be removed from `sub_blocks`, and `Relight`, `Colorize` or, before the last one,
    `Upscale` inserted."""

    model_name = "bringback"
    block_classes: ClassVar = [Begin, FindDamage, CorrectTone, Fill, Translate, RefineFaces, Finish]
    block_names: ClassVar = ["begin", "find_damage", "correct_tone", "fill", "translate", "refine_faces", "finish"]

    @property
    def description(self) -> str:
        """For the documentation that diffusers generates."""
        return "Restores scanned old photos: scratches, fading, noise, blur and faces."
