"""One file a stage; `STAGES` names them in the order a photo passes through them."""

import importlib
from collections.abc import Iterator, Mapping

from bringback.restoration import Stage


class _Stages(Mapping[str, type[Stage]]):
    """Stage classes by name. A stage's file is imported when it is asked for: dlib is for those who refine faces."""

    def __init__(self, **places: str) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[Stage]:
        kind = self._places[name]
        return getattr(importlib.import_module(f"{__name__}.{name}"), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


STAGES: Mapping[str, type[Stage]] = _Stages(
    scratches="ScratchDetector",
    tone="ToneCorrector",
    fill="HoleFiller",
    translate="LatentTranslator",
    faces="FaceRefiner",
)
