"""One file a stage; `STAGES` names them in the order a photo passes through them, `FAMILIES` those of each family."""

import importlib
from collections.abc import Iterator, Mapping

from bringback.restoration import Stage


class _Stages(Mapping[str, type[Stage]]):
    """Stage classes by name. A stage's file is imported when it is asked for: dlib is for those who refine faces."""

    def __init__(self, package: str, **kinds: str) -> None:
        self._package, self._kinds = package, kinds

    def __getitem__(self, name: str) -> type[Stage]:
        kind = self._kinds[name]
        return getattr(importlib.import_module(f"{self._package}.{name}"), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds


STAGES: Mapping[str, type[Stage]] = _Stages(
    __name__,
    scratches="ScratchDetector",
    relight="Relighter",
    tone="ToneCorrector",
    fill="HoleFiller",
    prior="PriorDenoiser",
    denoise="Denoiser",
    translate="LatentTranslator",
    faces="FaceRefiner",
    colorize="Colorizer",
)

FAMILIES: dict[str, Mapping[str, type[Stage]]] = {
    "lean": STAGES,
    "paper": _Stages(
        f"{__name__}.paper",
        scratches="PaperScratchDetector",
        translate="PaperTranslator",
        faces="PaperFaceRefiner",
    ),
}
