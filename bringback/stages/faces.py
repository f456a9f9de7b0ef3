"""Stage `faces`: finds faces, makes each clear in a crop of its own, and puts back what changed."""

from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.alignment import CROP, EYE_DISTANCE, EYES, NOSE_BASE, align, scale, similarity
from bringback.checkpoints import Checkpoints
from bringback.face_finder import FaceFinder
from bringback.identity import guard
from bringback.metrics import luminance
from bringback.nets.face import FaceGenerator
from bringback.pasting import paste
from bringback.photo import PhotoError, is_grey
from bringback.restoration import Face, Restoration
from bringback.stages.fill import HoleFiller, replaced

MIN_SIZE = 32  # pixels of a face's box; those of 36, the smallest that dlib finds, still gain 0.3 dB
MOST_EYES = 4 * EYE_DISTANCE  # eye distance above which a crop shows too little of what the photo does to be worth it
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
    size = CROP  # pixels a side of the crops

    def __init__(
        self,
        generator: nn.Module,
        device: torch.device | str = "cpu",
        batch: int = 32,
        *,
        min_size: int = MIN_SIZE,
        only_center_face: bool = False,
        fidelity: float = 0.0,
        aligned: bool = False,
    ) -> None:
        """Args: generator: crops and masks of what was filled -> crops; batch: faces at a time; min_size: the least
        width of a face's box in pixels; only_center_face: refine the one nearest to the photo's centre and no other;
        fidelity: 0 for what the generator makes of a face, 1 for the face as it came, a mixture between; aligned: the
        photos are crops that show one face where the template has it, to be refined as a whole.

        Raises ValueError for a fidelity outside [0, 1], and for aligned crops of which some are to be left alone.
        """
        if not 0 <= fidelity <= 1:
            raise ValueError(f"fidelity {fidelity:g}: wants 0 (as refined as can be) to 1 (faces as they came)")
        if aligned and (only_center_face or min_size != MIN_SIZE):
            raise ValueError("an aligned crop is one face of a known size: no choice of size or place goes with it")
        self.generator = generator
        self.device = torch.device(device)
        self.batch, self.min_size, self.only_center_face, self.fidelity = batch, min_size, only_center_face, fidelity
        self.finder = None if aligned else FaceFinder()

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device, **settings: Any) -> Self:
        """With the checkpoint `faces`; `settings` are those of the constructor. Raises `MissingWeights`, ValueError."""
        return cls(Mirrored(checkpoints.load("faces", FaceGenerator, device)), device, **settings)

    def refine(self, crops: Tensor, mask: Tensor | None = None) -> Tensor:
        """Refine aligned crops (B, 3, S, S) in [0, 1], S the size; grey ones stay grey, identity is guarded.

        `mask` (B, 1, S, S) tells what was filled in them, 1 = filled.
        """
        grey = [is_grey(crop.permute(1, 2, 0).cpu().numpy()) for crop in crops]
        return self._refine(crops, mask, grey, [])

    def __call__(self, restoration: Restoration) -> Restoration:
        """Refine every face of the photo that has a size worth it; `restoration.faces` tells what was done with each.

        A photo without such a face comes back untouched. Notes how many faces were found and how many refined. Raises
        `PhotoError` when an aligned crop is of another size.
        """
        faces = self._whole(restoration) if self.finder is None else self._found(restoration, self.finder)
        refined = sum(face.status.startswith("refined") for face in faces)
        restoration.faces = faces
        restoration.notes[self.name] = {"found": len(faces), "refined": refined}
        return restoration

    def _found(self, restoration: Restoration, finder: FaceFinder) -> list[Face]:
        pixels = np.ascontiguousarray(restoration.pixels[0].permute(1, 2, 0).cpu().numpy())
        faces = [Face(face.box, face.points) for face in finder.find(pixels)]
        chosen = self._chosen(faces, pixels)
        if chosen:
            matrices = [similarity(face.points, self.size) for face in chosen]
            crops = torch.from_numpy(
                np.stack([align(pixels, matrix, self.size).transpose(2, 0, 1) for matrix in matrices])
            )
            mask = _filled(restoration)
            if mask is not None:
                plane = mask[0, 0].numpy()
                mask = torch.from_numpy(np.stack([align(plane, matrix, self.size)[None] for matrix in matrices]))
            refined = self._refine(crops, mask, [is_grey(pixels)] * len(chosen), chosen)
            changed = paste(pixels, list((refined - crops).permute(0, 2, 3, 1).numpy()), matrices)
            restoration.pixels = torch.from_numpy(changed.transpose(2, 0, 1).copy())[None].to(restoration.pixels.device)
        return faces

    def _whole(self, restoration: Restoration) -> list[Face]:
        crops = restoration.pixels.cpu()
        size = self.size
        if crops.shape[-2:] != (size, size):
            raise PhotoError(f"an aligned crop is {size}x{size} pixels, this is {crops.shape[-1]}x{crops.shape[-2]}")
        points = np.array([EYES[0], EYES[0], EYES[1], EYES[1], NOSE_BASE]) * (size / CROP)
        face = Face((0.0, 0.0, size, size), points)
        grey = [is_grey(crops[0].permute(1, 2, 0).numpy())]
        refined = self._refine(crops, _filled(restoration), grey, [face])
        restoration.pixels = refined.to(restoration.pixels.device)
        return [face]

    def _chosen(self, faces: list[Face], pixels: np.ndarray) -> list[Face]:
        """The faces to refine; the others are told why not."""
        middle = np.array(pixels.shape[1::-1]) / 2
        central = min(faces, key=lambda face: float(np.linalg.norm(face.points.mean(0) - middle)), default=None)
        for face in faces:
            eyes, width = EYE_DISTANCE / scale(similarity(face.points)), face.box[2] - face.box[0]
            if width < self.min_size:
                face.status = f"left alone: too small, {width:.0f} pixels wide"
            elif eyes > MOST_EYES * self.size / CROP:
                face.status = f"left alone: too large, its eyes are {eyes:.0f} pixels apart"
            elif self.only_center_face and face is not central:
                face.status = "left alone: not the face in the center"
        return [face for face in faces if face.status == "found"]

    @torch.no_grad()
    def _refine(self, crops: Tensor, mask: Tensor | None, grey: list[bool], faces: list[Face]) -> Tensor:
        """The refined crops; tells the faces, one for each crop or none at all, what became of them."""
        tried = [share * (1 - self.fidelity) for share in STRENGTHS if self.fidelity < 1]
        distances: list[float | None] = [None] * len(crops)
        strengths = [0.0] * len(crops)
        if tried and len(crops):
            mask = torch.zeros_like(crops[:, :1]) if mask is None else mask
            parts = zip(crops.split(self.batch), mask.split(self.batch), strict=True)
            made = torch.cat([self.generator(*(part.to(self.device, torch.float32) for part in two)) for two in parts])
            change = match_tone(made.to(crops), crops) - crops
            change = torch.where(torch.tensor(grey).view(-1, 1, 1, 1).to(change.device), luminance(change), change)
            distances, strengths = guard(crops, change, tried, SAME_PERSON, device=self.device, batch=self.batch)
            crops = (crops + change * change.new_tensor(strengths).view(-1, 1, 1, 1)).clamp(0, 1)
        for face, distance, strength in zip(faces, distances, strengths, strict=bool(faces)):
            face.identity = None if distance is None else round(distance, 3)
            face.status = "refined" if strength == 1 else f"refined at {strength:.0%}"
            if strength == 0:
                face.status = f"left alone: {'refinement would change the person' if tried else 'fidelity 1'}"
        return crops


class Mirrored(nn.Module):
    """The mean of what a generator makes of faces and of their mirror images: what both agree on is surer."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, crops: Tensor, mask: Tensor) -> Tensor:
        mirrored = self.generator(crops.flip(3), mask.flip(3)).flip(3)
        return (self.generator(crops, mask) + mirrored) / 2


def _filled(restoration: Restoration) -> Tensor | None:
    """What the stage `fill` has replaced (1, 1, H, W); None before it: damage is for the generator to see."""
    return replaced(restoration.damage()).cpu() if HoleFiller.name in restoration.notes else None


def match_tone(refined: Tensor, crops: Tensor) -> Tensor:
    """`refined` with the low frequencies' mean and deviation, channel by channel, of `crops` (both (B, 3, H, W)).

    A generator's tint or contrast would show against the photo around the face. What counts is the face itself, the
    middle of the crop, and only its large areas: noise and blur must not enter the deviation.
    """
    own, wanted = (F.adaptive_avg_pool2d(picture, 16)[:, :, 2:-1, 2:-2].flatten(2) for picture in (refined, crops))
    gain = ((wanted.std(2) + 1e-3) / (own.std(2) + 1e-3)).clamp(0.8, 1.25)[..., None, None]
    return (refined - own.mean(2)[..., None, None]) * gain + wanted.mean(2)[..., None, None]
