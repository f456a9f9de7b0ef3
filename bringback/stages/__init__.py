"""One file a stage; `STAGES` names them in the order a photo passes through them."""

from bringback.restoration import Stage
from bringback.stages.faces import FaceRefiner
from bringback.stages.fill import HoleFiller
from bringback.stages.scratches import ScratchDetector
from bringback.stages.tone import ToneCorrector
from bringback.stages.translate import LatentTranslator

STAGES: dict[str, type[Stage]] = {
    stage.name: stage for stage in (ScratchDetector, ToneCorrector, HoleFiller, LatentTranslator, FaceRefiner)
}
