"""Stage `faces`: finds faces, refines each in an aligned crop, and pastes the difference back."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.errors import PhotoError
from bringback.images.adapters import accepts_any_image
from bringback.images.photo import Photo, is_gray
from bringback.models.faces.generator import Box, FaceGenerator
from bringback.ops.color import grayed, luminance
from bringback.ops.hatching import is_hatched
from bringback.ops.patterns import Pattern
from bringback.ops.scale import divisor
from bringback.runtime.compute import Cast, Compute
from bringback.stages.base import StageBase
from bringback.stages.faces.alignment import CROP, EYES, NOSE_BASE, align, scale, similarity
from bringback.stages.faces.blending import PASTED, channels_last, paste
from bringback.stages.faces.detector import ENLARGED_PIXELS, FaceFinder
from bringback.stages.faces.identity import guard, in_batches
from bringback.stages.faces.views import CHANGED, WORN, TwoViews, aligned, as_it_came, changed_by, kept
from bringback.stages.record import Face, Restoration
from bringback.weights.checkpoints import Checkpoints

FINDING = 27  # bytes that dlib takes per pixel of the picture it searches, measured
# Bytes per pixel of a photo that a face fills, which is blurred before it is shrunk into the crop and whose grain is
# measured, and bytes of the strip that is pasted.
REFINING, PASTING = 12, 20_000_000
MIN_SIZE = 32  # pixels of a face's box at its photo's native scale; those of 36, the smallest found, still gain 0.3 dB
# Faces that are shrunk more than to this into their crop, and that the stages that clean hardly changed, are sharper
# than what the generator makes of them: they would lose up to 3 dB, clean ones up to 18. Worn ones gain 0.05.
LARGE = 0.75
# The maximal descriptor distance between a face before and after. Damage by itself moves 91 % of faces less
# (median 0.25), and 99.7 % of pairs of different people are farther apart.
SAME_PERSON = 0.45
STRENGTHS = (1.0, 0.66, 0.33)  # tried in this order until the person stays the same
_INNER = slice(70, 215), slice(65, 191)  # rows and columns of a crop between forehead, chin and ears
STRANGER = "refinement would change the person"  # the reason for which a face is put back as it came


@dataclass(slots=True)
class AlignedFaces:
    """The faces of a photo, the aligned crops (N, 3, S, S) of those to be refined, the same as they came, with the tone
    and fill of now, what was filled in them, and how far the stages before changed each, infinite if that is not known.
    """

    faces: list[Face]
    chosen: list[Face]
    crops: Tensor
    came: Tensor  # (N, 3, S, S)
    filled: Tensor  # (N, 1, S, S)
    gray: bool
    worn: list[float]
    matrices: list[np.ndarray] = field(default_factory=list)


class FaceRefiner(StageBase):
    """Refines the faces of a photo, or aligned crops, with a network from aligned crops to aligned crops.

    Only the difference between refined and original crop is added to the photo, so a face larger than its crop keeps
    its own detail. They are searched for at the photo's native scale. A face whose dlib descriptor moves too far is
    refined with less strength or left as it was.
    """

    name = "faces"
    at_native_scale = True
    size = CROP  # pixels a side of the crops

    def __init__(
        self,
        generator: nn.Module,
        compute: Compute | torch.device | str = "cpu",
        *,
        min_size: int = MIN_SIZE,
        only_center_face: bool = False,
        fidelity: float = 0.0,
        aligned: bool = False,
    ) -> None:
        """Args: generator: crops and masks of what was filled -> crops; min_size: the minimal width of a face's box
        in pixels at the photo's native scale; only_center_face: refine only the face nearest to the photo's center;
        fidelity: 0 for the generator's face, 1 for the original face, a blend between them; aligned: the photos are
        crops with one face at the template's position, to be refined as a whole.

        Raises ValueError for a fidelity outside [0, 1], and for aligned crops together with a choice of faces.
        """
        if not 0 <= fidelity <= 1:
            raise ValueError(f"fidelity {fidelity:g}: wants 0 (as refined as can be) to 1 (faces as they came)")
        if aligned and (only_center_face or min_size != MIN_SIZE):
            raise ValueError("an aligned crop is one face of a known size: no choice of size or place goes with it")
        self.generator = generator
        self.compute = Compute.of(compute)
        self._cast = Cast()
        self.min_size, self.only_center_face, self.fidelity = min_size, only_center_face, fidelity
        self.finder = None if aligned else FaceFinder()
        if aligned:
            self.at_native_scale = False

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """With the checkpoint `faces`; `settings` are those of the constructor. Raises `MissingWeights`, ValueError."""
        generator = checkpoints.load("faces", FaceGenerator, Compute.of(compute).device)
        return cls(TwoViews(generator), compute, **settings)

    def needs(self, height: int, width: int, tile: int | None, scale: float = 1.0) -> int:
        """Bytes in addition to photo, pixels and masks: a gray copy, and dlib's search of an enlarged one; or a face
        that fills the photo.
        """
        pixels = height * width
        search = 4 * pixels + FINDING * min(round(4 * pixels / divisor(scale) ** 2), int(ENLARGED_PIXELS))
        return max(search, REFINING * pixels + PASTING)

    def is_negative(self, restoration: Restoration) -> bool:
        """Whether the photo surely is a negative: it has faces only when it is inverted."""
        return self.finder is not None and self.finder.only_inverted(restoration.photo.pixels)

    @accepts_any_image
    def refine(self, crops: Tensor, mask: Tensor | None = None) -> Tensor:
        """Refine aligned crops (B, 3, S, S) in [0, 1], S the size; gray ones stay gray, and identity is checked.

        `mask` (B, 1, S, S) marks what was filled in them, 1 = filled. For whole photos see `refine_faces`.
        """
        gray = [is_gray(channels_last(crop)) for crop in crops]
        filled = torch.zeros_like(crops[:, :1]) if mask is None else mask
        return self._refine(crops, crops, filled, gray, [torch.inf] * len(crops), [])

    @accepts_any_image
    def refine_faces(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] -> the same with all their faces refined; without a gradient.

        `mask` (B, 1, H, W) is the damage mask by which they were filled. Only `__call__` reports on each face.
        """
        photos = [Restoration.start(Photo.from_array(np.clip(channels_last(photo), 0, 1))) for photo in pixels]
        if mask is not None:
            for photo, damage in zip(photos, mask.detach(), strict=True):
                photo.mask = damage[None].cpu()
                photo.filled = photo.to_fill()
        return torch.cat([photo.pixels for photo in self.many(photos)]).to(pixels)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Refine every face of a suitable size; `restoration.faces` says what was done with each.

        A photo without such a face stays as it is. Notes how many faces were found and how many refined. Raises
        `PhotoError` for an aligned crop of another size.
        """
        return self.many([restoration])[0]

    @torch.no_grad()  # dlib and OpenCV have no gradients
    def many(self, restorations: Sequence[Restoration]) -> list[Restoration]:
        """`__call__` for several photos: their faces are searched for in parallel and refined together."""
        if not restorations:
            return []
        if len(restorations) == 1:  # in another thread torch would start a second pool of threads
            groups = [self.aligned_faces(restorations[0])]
        else:
            with ThreadPoolExecutor(min(len(restorations), torch.get_num_threads())) as pool:
                groups = list(pool.map(self.aligned_faces, restorations))
        crops = torch.cat([group.crops for group in groups])
        refined = self._refine(
            crops,
            torch.cat([group.came for group in groups]),
            torch.cat([group.filled for group in groups]),
            [group.gray for group in groups for _ in group.chosen],
            [one for group in groups for one in group.worn],
            [face for group in groups for face in group.chosen],
            box=None if self.finder is None else PASTED,
        )
        parts = [part.split([len(group.chosen) for group in groups]) for part in (crops, refined)]
        for restoration, group, before, after in zip(restorations, groups, *parts, strict=True):
            if self.finder is None:
                restoration.pixels = after.to(restoration.pixels.device)
            elif group.chosen:
                changes = (after - before).permute(0, 2, 3, 1).numpy()
                pixels = paste(channels_last(restoration.pixels[0]), list(changes), group.matrices)
                restoration.pixels = torch.from_numpy(pixels.transpose(2, 0, 1))[None].to(restoration.pixels.device)
            for face, crop in zip(group.chosen, after, strict=True):
                if face.status.startswith("refined"):
                    face.light = luminance(crop[None])[0, 0].half().numpy()
            restoration.faces = group.faces
            count = sum(face.status.startswith("refined") for face in group.faces)
            restoration.notes[self.name] = {"found": len(group.faces), "refined": count}
        return list(restorations)

    @torch.no_grad()  # a thread does not inherit it from the one that started it
    def aligned_faces(self, restoration: Restoration) -> AlignedFaces:
        """Find the faces of a photo and cut those that are to be refined; sets the status of the others."""
        return self._whole(restoration) if self.finder is None else self._found(restoration, self.finder)

    def _found(self, restoration: Restoration, finder: FaceFinder) -> AlignedFaces:
        # in place of the photo, not beside it: arrays with channels last are views of this
        restoration.pixels = restoration.pixels.contiguous(memory_format=torch.channels_last)
        pixels, size = channels_last(restoration.pixels[0]), self.size
        native = restoration.scale if self.at_native_scale else 1.0
        faces = [Face(face.box, face.points) for face in finder.find(pixels, native)]
        chosen, matrices, changed = list[Face](), list[np.ndarray](), list[float]()
        crops, came = (torch.empty(len(faces), 3, size, size) for _ in range(2))
        filled = torch.zeros(len(faces), 1, size, size)
        mask = _filled(restoration) if faces else None
        mask = mask if mask is not None and mask.any() else None
        whole = self._came(restoration) if faces else None
        for face in self._chosen(faces, pixels, native):
            matrix, number = similarity(face.points, size), len(chosen)
            crop = aligned(pixels, matrix, size)
            if Pattern.of(crop[None]):  # dots that are gone from the face alone would look worse than all of them
                face.status = "left alone: printed dots"
                continue
            if is_hatched(crop[None, :, _INNER[0], _INNER[1]]):  # refined, lines melt
                face.status = "left alone: engraved lines"
                continue
            if mask is not None:
                filled[number, 0] = torch.from_numpy(align(mask[0, 0].numpy(), matrix, size))
            view = None if whole is None else as_it_came(whole, crop, filled[number], matrix)
            worn = torch.inf if view is None else changed_by(crop, view)
            if worn < CHANGED and not filled[number].any():
                face.status = "left alone: sound"
                continue
            if worn < WORN and scale(matrix) * divisor(native) < LARGE:
                face.status = "left alone: larger than its crop, hardly worn"
                filled[number] = 0
                continue
            crops[number], came[number] = crop, crop if view is None else view
            chosen.append(face)
            matrices.append(matrix)
            changed.append(worn)
        crops, came, filled = (one[: len(chosen)] for one in (crops, came, filled))
        # a photo with a tint is gray until it is finished; one without has colors
        known = restoration.judged and not restoration.colored
        gray = bool(chosen) and (restoration.tint is not None if known else is_gray(pixels))
        return AlignedFaces(faces, chosen, crops, came, filled, gray, changed, matrices)

    def _came(self, restoration: Restoration) -> np.ndarray | None:
        """The photo (H, W, 3) as it came, for a generator that looks at faces in it.

        None for another generator, if no stage has cleaned the photo, and if it was enlarged. Then, and where the tones
        of both do not go together, see `as_it_came`, the crop is both views, and a large face is refined even if it
        hardly changed.
        """
        enlarged = restoration.photo.pixels.shape[:2] != restoration.pixels.shape[-2:]
        if enlarged or not restoration.cleaned or not isinstance(self.generator, TwoViews):
            return None
        return restoration.as_it_came()[0].permute(1, 2, 0).numpy()

    def _whole(self, restoration: Restoration) -> AlignedFaces:
        crops = restoration.pixels.cpu()
        size = self.size
        if crops.shape[-2:] != (size, size):
            raise PhotoError(f"an aligned crop is {size}x{size} pixels, this is {crops.shape[-1]}x{crops.shape[-2]}")
        points = np.array([EYES[0], EYES[0], EYES[1], EYES[1], NOSE_BASE]) * (size / CROP)
        face = Face((0.0, 0.0, size, size), points)
        filled = _filled(restoration)
        filled = torch.zeros_like(crops[:, :1]) if filled is None else filled
        gray = is_gray(crops[0].permute(1, 2, 0).numpy())
        whole = self._came(restoration)
        view = None if whole is None else as_it_came(whole, crops[0], filled[0], np.eye(2, 3))
        if view is None:
            return AlignedFaces([face], [face], crops, crops, filled, gray, [torch.inf])
        return AlignedFaces([face], [face], crops, view[None], filled, gray, [changed_by(crops[0], view)])

    def _chosen(self, faces: list[Face], pixels: np.ndarray, native: float) -> list[Face]:
        """The faces to refine; sets the status of each of the others to the reason."""
        middle = np.array(pixels.shape[1::-1]) / 2
        central = min(faces, key=lambda face: float(np.linalg.norm(face.points.mean(0) - middle)), default=None)
        for face in faces:
            width = (face.box[2] - face.box[0]) / divisor(native)
            if width < self.min_size:
                face.status = f"left alone: too small, {width:.0f} pixels wide"
            elif self.only_center_face and face is not central:
                face.status = "left alone: not the face in the center"
        return [face for face in faces if face.status == "found"]

    def _refine(
        self,
        crops: Tensor,
        came: Tensor,
        filled: Tensor,
        gray: list[bool],
        worn: list[float],
        faces: list[Face],
        box: Box | None = None,
    ) -> Tensor:
        """The refined crops, of which a box or all is needed; sets what is known of `faces`, one a crop or none."""
        tried = [share * (1 - self.fidelity) for share in STRENGTHS if self.fidelity < 1]
        distances: list[float | None] = [None] * len(crops)
        strengths = [0.0] * len(crops)
        if tried and len(crops):
            with self.compute.autocast():
                if isinstance(self.generator, TwoViews):
                    generator = self._cast.of(self.generator, self.compute.dtype)
                    made = torch.empty_like(crops)
                    twice = torch.tensor(worn).isinf() | (self.finder is None)
                    for look, some in ((generator, twice), (generator.once, ~twice)):
                        if some.any():
                            parts = [part if some.all() else part[some] for part in (crops, filled, came)]
                            made[some] = in_batches(partial(look, box=box), self.compute, *parts).to(crops)
                else:
                    made = in_batches(self.generator, self.compute, crops, filled)
            made = match_tone(made.to(crops), crops)
            if isinstance(self.generator, TwoViews):
                made += kept(came, made, box)
            change = made - crops
            if any(gray):
                change = grayed(change, torch.tensor(gray, device=change.device))
            distances, strengths = guard(crops, change, tried, SAME_PERSON, compute=self.compute)
            crops = (crops + change * change.new_tensor(strengths).view(-1, 1, 1, 1)).clamp(0, 1)
        for face, distance, strength in zip(faces, distances, strengths, strict=bool(faces)):
            face.identity = None if distance is None else round(distance, 3)
            face.status = "refined" if strength == 1 else f"refined at {strength:.0%}"
            if distance is None:
                face.status = "left alone: fidelity 1"
            elif strength == 0:
                face.identity, face.status = 0.0, f"left alone: {STRANGER}, by {distance:.2f} at {tried[-1]:.0%}"
            elif strength < tried[0]:
                face.status += ": more would change the person"
        return crops


def _filled(restoration: Restoration) -> Tensor | None:
    """What the stage `fill` has replaced (1, 1, H, W), on the CPU; None before it, when damage is still visible."""
    return None if restoration.filled is None else restoration.filled.cpu()


def match_tone(refined: Tensor, crops: Tensor) -> Tensor:
    """`refined` with the low frequencies' mean and deviation, channel by channel, of `crops` (both (B, 3, H, W)).

    Otherwise a generator's tint or contrast would show against the photo around the face. Both are measured in the
    middle of the crop, and at a low resolution, so that noise and blur do not enter the deviation.
    """
    own, wanted = (F.adaptive_avg_pool2d(picture, 16)[:, :, 2:-1, 2:-2].flatten(2) for picture in (refined, crops))
    gain = ((wanted.std(2) + 1e-3) / (own.std(2) + 1e-3)).clamp(0.8, 1.25)[..., None, None]
    return (refined - own.mean(2)[..., None, None]) * gain + wanted.mean(2)[..., None, None]
