"""One file per stage; `STAGES` has their classes in the order in which they run, `FAMILIES` those of each family.

Other packages add stages by entry points of the group `bringback.stages`: the stage's name and its class, see
`record.Stage`; `ordered` determines their order.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from bringback.errors import known_names
from bringback.stages.record import Stage

GROUP = "bringback.stages"


class _Stages(Mapping[str, type[Stage]]):
    """Stage classes by name; the module of a stage is imported on first access."""

    def __init__(self, package: str, **homes: str) -> None:
        """Args: homes: `module:Class` within the package, by stage name."""
        self._package, self._homes = package, homes

    def __getitem__(self, name: str) -> type[Stage]:
        module, _, kind = self._homes[name].partition(":")
        return getattr(importlib.import_module(f"{self._package}.{module}"), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, name: object) -> bool:
        return name in self._homes


STAGES: Mapping[str, type[Stage]] = _Stages(
    __name__,
    stains="stains:StainRemover",
    scratches="scratches:ScratchDetector",
    relight="relight:Relighter",
    tone="tone:ToneCorrector",
    fill="fill:HoleFiller",
    prior="prior.stage:PriorDenoiser",
    denoise="denoise:Denoiser",
    translate="translate:LatentTranslator",
    faces="faces.stage:FaceRefiner",
    colorize="colorize:Colorizer",
    upscale="upscale:Upscaler",
)

FAMILIES: dict[str, Mapping[str, type[Stage]]] = {
    "lean": STAGES,
    "paper": _Stages(
        f"{__name__}.wan2020",
        scratches="scratches:PaperScratchDetector",
        translate="translate:PaperTranslator",
        faces="faces:PaperFaceRefiner",
    ),
}


@cache
def plugins() -> dict[str, EntryPoint]:
    """The stages of other installed packages, by name, without importing them; built-in names take precedence."""
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in found if point.name not in STAGES}


def ordered(family: str, names: Iterable[str]) -> dict[str, type[Stage]]:
    """The classes of the named stages, in the order in which they run.

    A stage of another package runs after the built-in stage that its class names in `after`, or at the end. Raises
    ValueError for unknown names and for plugins that are not valid stages.
    """
    names, own = list(dict.fromkeys(names)), FAMILIES[family]
    unknown = [name for name in names if name not in own and name not in plugins()]
    if unknown:
        of = f" of the family {family}" if family != "lean" else ""
        known = known_names(unknown[0], [*own, *plugins()])
        raise ValueError(f"unknown stage {unknown[0]!r}; the stages{of} are {known}")
    kinds = {name: own[name] if name in own else _loaded(plugins()[name]) for name in names}
    places = {name: number for number, name in enumerate(STAGES)}

    def place(name: str) -> tuple[int, str]:
        if name in own:
            return places[name], ""
        return places.get(getattr(kinds[name], "after", ""), len(places)), name

    return {name: kinds[name] for name in sorted(kinds, key=place)}


def _loaded(point: EntryPoint) -> type[Stage]:
    try:
        kind = point.load()
    except Exception as error:  # a plugin may raise anything
        raise ValueError(f"the stage {point.name!r} of {_package(point)} cannot be imported: {error}") from error
    if not callable(getattr(kind, "from_checkpoints", None)):
        raise ValueError(f"the stage {point.name!r} of {_package(point)} has no from_checkpoints(checkpoints, compute)")
    if getattr(kind, "name", None) != point.name:
        raise ValueError(f"the stage {point.name!r} of {_package(point)} has another name in its class: make them one")
    return kind


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def origins(names: Iterable[str]) -> dict[str, str]:
    """The package and version of each named stage that comes from another package."""
    return {name: _package(plugins()[name]) for name in names if name in plugins()}
