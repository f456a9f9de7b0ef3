"""Stage `faces`: finds faces, makes each clear in a crop of its own, and puts back what changed."""

from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.alignment import EYE_DISTANCE, align, paste, scale, similarity
from bringback.checkpoints import Checkpoints
from bringback.face_finder import FaceFinder, identity_distances
from bringback.metrics import luminance
from bringback.nets.face import FaceGenerator
from bringback.photo import is_grey
from bringback.restoration import Face, Restoration

LEAST_EYES = 10.0  # eye distance in pixels below which a face holds nothing to refine
MOST_EYES = 4 * EYE_DISTANCE  # and above which a crop shows too little of what the photo does to be worth it
# The descriptor distance that refinement may cost. Blind damage alone moves 91 % of faces less than this (median 0.25),
# and 99.7 % of pairs of different people lie farther apart.
SAME_PERSON = 0.45
STRENGTHS = (1.0, 0.66, 0.33)  # tried in turn until the person stays the same


class FaceRefiner:
    """Refines the faces of a photo, or aligned crops, with a network from aligned crops to aligned crops.

    Only the difference between refined and unrefined crop goes back into the photo, so a face larger than its crop
    keeps its own detail. A face whose dlib descriptor moves too far is refined more mildly or left as it was.
    """

    name = "faces"

    def __init__(self, generator: nn.Module, device: torch.device | str = "cpu", batch: int = 8) -> None:
        self.generator = generator
        self.device = torch.device(device)
        self.batch = batch
        self.finder = FaceFinder()

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device) -> Self:
        """Load the face generator; raises `MissingWeights`."""
        return cls(checkpoints.load("faces", FaceGenerator, device), device)

    def refine(self, crops: Tensor) -> Tensor:
        """Refine aligned crops (B, 3, 256, 256) in [0, 1]; grey ones stay grey, identity is guarded."""
        grey = [is_grey(crop.permute(1, 2, 0).cpu().numpy()) for crop in crops]
        return self._refine(crops, torch.tensor(grey, dtype=torch.bool))[0]

    def __call__(self, restoration: Restoration) -> Restoration:
        """Refine every face of the photo that has a size worth it; `restoration.faces` tells what was done with each.

        A photo without such a face comes back untouched. Notes how many faces were found and how many refined.
        """
        pixels = np.ascontiguousarray(restoration.pixels[0].permute(1, 2, 0).cpu().numpy())
        restoration.faces = [Face(face.box, face.points) for face in self.finder.find(pixels)]
        chosen, matrices = [], []
        for face in restoration.faces:
            matrix = similarity(face.points)
            face.status = _size(matrix)
            if face.status == "found":
                chosen.append(face)
                matrices.append(matrix)
        if chosen:
            crops = np.stack([align(pixels, matrix) for matrix in matrices])
            before = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy())
            after, distances, strengths = self._refine(before, torch.full((len(chosen),), is_grey(pixels)))
            for face, distance, strength in zip(chosen, distances, strengths, strict=True):
                face.identity, face.status = round(distance, 3), _status(strength)
            changed = paste(pixels, list((after - before).permute(0, 2, 3, 1).numpy()), matrices)
            restoration.pixels = torch.from_numpy(changed.transpose(2, 0, 1).copy())[None].to(restoration.pixels.device)
        refined = sum(face.status.startswith("refined") for face in chosen)
        restoration.notes[self.name] = {"found": len(restoration.faces), "refined": refined}
        return restoration

    @torch.no_grad()
    def _refine(self, crops: Tensor, grey: Tensor) -> tuple[Tensor, list[float], list[float]]:
        """The refined crops, how far the descriptors moved and the strength each was refined with (0 = left alone)."""
        parts = [self.generator(part.to(self.device, torch.float32)).to(crops) for part in crops.split(self.batch)]
        change = match_tone(torch.cat(parts), crops) - crops
        luma = luminance(change)
        change = torch.where(grey.to(change.device).view(-1, 1, 1, 1), luma, change)
        distances = [np.inf] * len(crops)
        strengths = [0.0] * len(crops)
        for strength in STRENGTHS:
            failing = [index for index, distance in enumerate(distances) if distance > SAME_PERSON]
            if failing:
                mixed = (crops[failing] + strength * change[failing]).clamp(0, 1)
                for index, distance in zip(failing, identity_distances(crops[failing], mixed), strict=True):
                    distances[index] = distance
                    strengths[index] = strength if distance <= SAME_PERSON else 0.0
        kept = (crops + change * change.new_tensor(strengths).view(-1, 1, 1, 1)).clamp(0, 1)
        return kept, distances, strengths


def match_tone(refined: Tensor, crops: Tensor) -> Tensor:
    """`refined` with the low frequencies' mean and deviation, channel by channel, of `crops` (both (B, 3, H, W)).

    A generator's tint or contrast would show against the photo around the face. What counts is the face itself, the
    middle of the crop, and only its large areas: noise and blur must not enter the deviation.
    """
    own, wanted = (F.adaptive_avg_pool2d(picture, 16)[:, :, 2:-1, 2:-2].flatten(2) for picture in (refined, crops))
    gain = ((wanted.std(2) + 1e-3) / (own.std(2) + 1e-3)).clamp(0.8, 1.25)[..., None, None]
    return (refined - own.mean(2)[..., None, None]) * gain + wanted.mean(2)[..., None, None]


def _size(matrix: np.ndarray) -> str:
    eyes = EYE_DISTANCE / scale(matrix)
    if eyes < LEAST_EYES:
        return "left alone: too small"
    return "found" if eyes <= MOST_EYES else f"left alone: too large, its eyes are {eyes:.0f} pixels apart"


def _status(strength: float) -> str:
    if strength == 0:
        return "left alone: refinement would change the person"
    return "refined" if strength == 1 else f"refined at {strength:.0%}"
