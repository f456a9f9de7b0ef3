"""Nodes for ComfyUI: find damage, fill and translate, refine faces, enlarge, restore a whole photo.

With this package in ComfyUI's Python, the file `custom_nodes/bringback/__init__.py` is one line:

    from bringback.integrations.comfyui import comfy_entrypoint

The nodes use ComfyUI's V3 schema. Outputs depend only on inputs, so no fingerprints are needed: ComfyUI reruns a node
when an input changes. Networks are loaded once and stay on ComfyUI's compute device.
"""

from typing import Any

from torch import Tensor

from bringback.assets import presets
from bringback.integrations.image_batches import Restored, Settings, report, restore
from bringback.pipeline_config import PipelineConfig
from bringback.stages.faces.stage import MIN_SIZE
from bringback.stages.fill import METHODS as FILLS
from bringback.stages.scratches import METHODS as DETECTORS
from bringback.stages.upscale import MOST

try:
    import comfy.model_management
    import comfy.utils
    from comfy_api.latest import ComfyExtension, io
except ImportError as error:
    raise ImportError(
        f"{error}: these are nodes for ComfyUI (with comfy_api.latest), which loads them by the line "
        '"from bringback.integrations.comfyui import comfy_entrypoint" in its custom_nodes/bringback/__init__.py'
    ) from error

CATEGORY = "image/bringback"
PRESETS = [name for name in presets() if PipelineConfig.read(name).family == "lean"]  # others need converted weights


def _strength() -> io.Float.Input:
    return io.Float.Input(
        "strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="1 is all that was restored, 0 the photo itself."
    )


def _mask(tooltip: str) -> io.Mask.Input:
    return io.Mask.Input("mask", optional=True, tooltip=f"Damage, 1 = damaged. {tooltip}")


def _areas() -> io.String.Input:
    return io.String.Input(
        "areas",
        default="",
        optional=True,
        tooltip="Where the picture is in its frame: left,top,right,bottom; more after a semicolon; all: no frame. "
        "Empty: it is looked for.",
    )


def _restore(
    images: Tensor, masks: Tensor | None, stages: Settings, strength: float = 1.0, areas: str = ""
) -> Restored:
    """`restore` on ComfyUI's device, with its progress bar and interruption between stages."""
    bar = comfy.utils.ProgressBar(len(images) * len(stages))

    def tell(done: int, steps: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, steps)

    device = str(comfy.model_management.get_torch_device())
    return restore(images, masks, stages, strength=strength, areas=areas, device=device, tell=tell)


class FindDamage(io.ComfyNode):
    """Photos -> masks of scratches, dust, stains and cracks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BringbackFindDamage",
            display_name="Find Damage in Old Photo",
            category=CATEGORY,
            description="Finds scratches, dust, stains and cracks. The mask is soft; from a half on a place is filled.",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input(
                    "method",
                    options=list(DETECTORS),
                    default=DETECTORS[0],
                    tooltip="unet: a network. gradient: steep edges, those of the photo among them.",
                ),
                _areas(),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, method: str, areas: str = "") -> io.NodeOutput:
        return io.NodeOutput(_restore(image, None, {"scratches": {"method": method}}, areas=areas).masks)


class FillAndTranslate(io.ComfyNode):
    """Photos and damage masks -> photos with less damage, noise, blur and compression."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BringbackTranslate",
            display_name="Fill and Translate Old Photo",
            category=CATEGORY,
            description="Fills what the mask covers, then takes noise, blur and compression away.",
            inputs=[
                io.Image.Input("image"),
                _mask("Without it nothing is filled."),
                io.Combo.Input(
                    "fill",
                    options=list(FILLS),
                    default=FILLS[0],
                    tooltip="telea and ns are OpenCV's; prior is a network fitted to the photo, minutes a photo.",
                ),
                _strength(),
                _areas(),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls, image: Tensor, fill: str, strength: float, mask: Tensor | None = None, areas: str = ""
    ) -> io.NodeOutput:
        stages: Settings = {"fill": {"method": fill}, "translate": {}}
        return io.NodeOutput(_restore(image, mask, stages, strength, areas).images)


class RefineFaces(io.ComfyNode):
    """Photos -> photos with clearer faces, and a report on each face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BringbackRefineFaces",
            display_name="Refine Faces of Old Photo",
            category=CATEGORY,
            description=(
                "Finds faces and makes them clearer. The report has a line for each: what was done, and how far "
                "it moved the identity (0: not at all; 0.6 would be another person)."
            ),
            inputs=[
                io.Image.Input("image"),
                io.Float.Input(
                    "fidelity",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0: as refined as can be. 1: as they came.",
                ),
                io.Int.Input(
                    "min_size",
                    default=MIN_SIZE,
                    min=1,
                    max=4096,
                    tooltip="Leaves faces alone whose box is less wide, in pixels.",
                ),
                io.Boolean.Input(
                    "only_center_face", default=False, tooltip="Refines the face nearest to the centre and no other."
                ),
            ],
            outputs=[io.Image.Output(), io.String.Output("report", display_name="report")],
        )

    @classmethod
    def execute(cls, image: Tensor, **settings: Any) -> io.NodeOutput:
        made = _restore(image, None, {"faces": settings})
        return io.NodeOutput(made.images, report(made.faces))


class Enlarge(io.ComfyNode):
    """Photos -> larger photos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BringbackEnlarge",
            display_name="Enlarge Old Photo",
            category=CATEGORY,
            description="Makes photos up to four times as wide and high, with sharper edges; it makes up no detail.",
            inputs=[
                io.Image.Input("image"),
                io.Float.Input(
                    "factor", default=2.0, min=1.25, max=MOST, step=0.25, tooltip="How many times as wide and high."
                ),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, factor: float) -> io.NodeOutput:
        return io.NodeOutput(_restore(image, None, {"upscale": {"factor": factor}}).images)


class Restore(io.ComfyNode):
    """Photos -> photos restored by all stages of a pipeline, and masks of their damage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BringbackRestore",
            display_name="Restore Old Photo",
            category=CATEGORY,
            description="Scratches, fading, noise, blur and faces at once; also gives the mask of the damage.",
            inputs=[
                io.Image.Input("image"),
                _mask("United with what is found."),
                io.Combo.Input(
                    "preset",
                    options=PRESETS,
                    default="lean",
                    tooltip="lean: the usual. colour: grey and sepia photos get colours, too. classical: no networks.",
                ),
                io.Boolean.Input(
                    "find_damage", default=True, tooltip="Off: what the mask covers is damaged, and nothing else."
                ),
                _strength(),
                _areas(),
            ],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        preset: str,
        find_damage: bool,
        strength: float,
        mask: Tensor | None = None,
        areas: str = "",
    ) -> io.NodeOutput:
        chosen = PipelineConfig.read(preset)
        names = [name for name in chosen.stages if find_damage or name != "scratches"]
        made = _restore(image, mask, {name: chosen.settings.get(name, {}) for name in names}, strength, areas)
        return io.NodeOutput(made.images, made.masks)


class BringbackExtension(ComfyExtension):
    """Registers the nodes with ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The node classes."""
        return [FindDamage, FillAndTranslate, RefineFaces, Enlarge, Restore]


async def comfy_entrypoint() -> BringbackExtension:
    """The entry point that ComfyUI calls."""
    return BringbackExtension()
