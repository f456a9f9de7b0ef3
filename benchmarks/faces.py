"""Quality of the face stage: faces are degraded blindly, refined, and compared with the ground truth.

python benchmarks/faces.py aligned-val.tar --overlays damage-val-000.tar --portraits faces-val-000.tar

The aligned crops (inference/align_faces.py) are degraded by the recipe `faces`, which makes two fifths gray, and then
evaluated again all gray; damage is filled, and every method gets the same input. PSNR and SSIM are to the truth;
`identity` is the distance of dlib's descriptors to the truth's (0.6: another person); `mirrored` is the same for the
mirrored and shifted crop, which no training uses, to expose generators overfitted to the descriptor. `nearer`: the
share of faces closer to the truth than the input, in PSNR and in identity. Then the undamaged crops (do no harm) and
the milliseconds per face, for one face and for twenty at once. With --portraits, whole pictures go through the stage:
seams, and again the harm to sharp faces.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.degradations import OverlayBank, degrade
from bringback.degradations.eval_recipes import DegradedBatch
from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.ops.color import grayed
from bringback.ops.masks import dilate_edges, fill_mask
from bringback.ops.metrics import psnr, ssim
from bringback.ops.push_pull import fill
from bringback.runtime.compute import pick_device
from bringback.stages.faces.alignment import align, similarity, warp
from bringback.stages.faces.blending import feather
from bringback.stages.faces.identity import identity_distances
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.record import Restoration
from bringback.stages.translate import LatentTranslator
from bringback.weights.checkpoints import Checkpoints

SHIFT = (3, -4)  # of the mirrored crop, in pixels
SEAM = 0.1  # mask value below which a pixel belongs to the paste border


def read_crops(path: Path, limit: int) -> Tensor:
    """The first crops of a tar shard as (B, 3, 256, 256) in [0, 1]."""
    crops = [Photo.decode(data, name).pixels for name, data in islice(read_shards(path), limit)]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def bicubic(crops: Tensor) -> Tensor:
    """Downscale by 2 and upscale again, a baseline for small scans."""
    small = torch.nn.functional.interpolate(crops, scale_factor=0.5, mode="area")
    return torch.nn.functional.interpolate(small, scale_factor=2.0, mode="bicubic", align_corners=False).clamp(0, 1)


def unsharp(crops: Tensor) -> Tensor:
    """Unsharp mask of radius 2 and amount 1.5."""
    pictures = crops.permute(0, 2, 3, 1).numpy()
    sharp = [picture + 1.5 * (picture - cv2.GaussianBlur(picture, (0, 0), 2)) for picture in pictures]
    return torch.from_numpy(np.stack(sharp)).permute(0, 3, 1, 2).clamp(0, 1)


def as_gray(aged: DegradedBatch) -> DegradedBatch:
    """The same batch in gray."""
    gray = torch.ones_like(aged.gray)
    return DegradedBatch(grayed(aged.aged, gray), aged.mask, grayed(aged.truth, gray), gray)


def translated(translator: LatentTranslator, holes: Tensor, crops: Tensor) -> Tensor:
    """The output of the previous stage, given the mask of what was filled."""
    parts = zip(crops.split(1), holes.split(1), strict=True)
    return torch.cat([translator.translate(*part) for part in parts])


def both(translator: LatentTranslator, stage: FaceRefiner, holes: Tensor, crops: Tensor) -> Tensor:
    """Translated, then refined by the stage, which as in a restoration knows how they came."""
    photos = []
    for crop, cleaned, filled in zip(crops, translated(translator, holes, crops), holes, strict=True):
        one = Restoration.start(Photo.from_array(crop.permute(1, 2, 0).numpy()))
        photos.append(replace(one, pixels=cleaned[None], filled=filled[None], cleaned=True))
    return torch.cat([one.pixels for one in stage.many(photos)])


def describe(crops: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """The four measures, (B,) each."""
    mirrored, wanted = (picture.flip(3).roll(SHIFT, (2, 3)) for picture in (crops, truth))
    return {
        "PSNR": psnr(crops, truth),
        "SSIM": ssim(crops, truth),
        "identity": torch.tensor(identity_distances(crops, truth)),
        "mirrored": torch.tensor(identity_distances(mirrored, wanted)),
    }


def table(title: str, aged: DegradedBatch, filled: Tensor, methods: Mapping[str, Callable[..., Tensor]]) -> str:
    """Markdown: one line for the input and one for each method."""
    lines = [f"| {title} | PSNR, dB | SSIM | identity | mirrored | nearer |", "|---|---|---|---|---|---|"]
    before = describe(filled, aged.truth)
    for name, method in {"as it came": lambda crops: crops, **methods}.items():
        made = method(filled)
        now = describe(grayed(made, aged.gray), aged.truth)
        wins = (now["PSNR"] > before["PSNR"]).float().mean(), (now["identity"] < before["identity"]).float().mean()
        nearer = f"{wins[0]:.0%}, {wins[1]:.0%}" if made is not filled else ""
        cells = [f"{float(now['PSNR'].mean()):.2f}", *(f"{float(now[key].mean()):.4f}" for key in [*now][1:])]
        lines.append(f"| {name} | {' | '.join(cells)} | {nearer} |")
    return "\n".join(lines)


def seam(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    """Growth factors of the mean gradient along the paste border and inside; pictures (H, W, 3)."""
    mask = warp(feather(), cv2.invertAffineTransform(similarity(points)), before.shape[1::-1])
    slopes = [np.hypot(*np.gradient(picture.mean(2))) for picture in (before, after)]
    places = (mask > 0) & (mask < SEAM), mask > 1 - SEAM
    border, inside = (float(slopes[1][place].mean() / slopes[0][place].mean()) for place in places)
    return border, inside


def whole(stage: FaceRefiner, shards: Path, limit: int, seed: int) -> str:
    """Results on whole portraits, aged and unaltered."""
    seams, kept = [], []
    for number, (name, data) in enumerate(islice(read_shards(shards), limit)):
        photo = Photo.decode(data, name)
        pixels = torch.from_numpy(photo.pixels.transpose(2, 0, 1).copy())[None]
        for clean in (False, True):
            aged = pixels if clean else degrade(pixels, "faces", [seed + number]).aged
            before = aged[0].permute(1, 2, 0).numpy()
            restoration = stage(Restoration.start(Photo.from_array(before)))
            after = restoration.pixels[0].permute(1, 2, 0).numpy()
            for face in restoration.faces:
                if not face.status.startswith("refined"):
                    continue
                if not clean:
                    seams.append(seam(before, after, face.points))
                    continue
                crops = [align(picture, similarity(face.points)) for picture in (before, after)]
                pair = [torch.from_numpy(crop.transpose(2, 0, 1).copy())[None] for crop in crops]
                kept.append((float(psnr(*pair)), identity_distances(*pair)[0]))
    if not seams or not kept:
        return "no faces pasted"
    border, inside = np.array(seams).T
    slopes = f"along the border x {border.mean():.3f} (largest {border.max():.3f}), inside x {inside.mean():.3f}"
    harm = f"{len(kept)} sharp faces in their photos: {to_what_came(*np.array(kept).T)}"
    return f"{len(seams)} faces pasted: gradient {slopes}\n{harm}"


def to_what_came(quality: np.ndarray, identity: np.ndarray) -> str:
    """How much faces changed that needed no refinement."""
    far = f"identity {identity.mean():.4f} (most {identity.max():.4f})"
    return f"{quality.mean():.2f} dB to what came (least {quality.min():.2f}), {far}"


def milliseconds(stage: FaceRefiner, crops: Tensor, repeats: int = 3) -> float:
    """Median milliseconds per face for all crops at once, including the identity guard."""
    stage.refine(crops)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        stage.refine(crops)
        times.append(time.perf_counter() - begin)
    return 1000 * float(np.median(times)) / len(crops)


@torch.inference_mode()
def main() -> None:
    """Parse arguments, degrade, refine, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, help="a tar shard written by inference/align_faces.py")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="tar shards of damage to lay on")
    parser.add_argument("--portraits", type=Path, help="a tar shard of pictures with faces, not aligned")
    parser.add_argument("--weights", type=Path, help="a folder whose checkpoints go before the shipped ones")
    parser.add_argument("--fidelity", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=1000, help="no more crops and portraits than this")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    device, checkpoints = pick_device(arguments.device), Checkpoints(arguments.weights)
    stage = FaceRefiner.from_checkpoints(checkpoints, device, fidelity=arguments.fidelity)
    alone = FaceRefiner.from_checkpoints(checkpoints, device, fidelity=arguments.fidelity, aligned=True)
    translator = LatentTranslator.from_checkpoints(checkpoints, device)
    clean = read_crops(arguments.crops, arguments.limit)
    bank = OverlayBank.from_shards(arguments.overlays) if arguments.overlays else None
    blind = degrade(clean, "faces", range(arguments.seed, arguments.seed + len(clean)), bank)
    for title, aged in (("blind", blind), ("blind, all grey", as_gray(blind))):
        holes = fill_mask(dilate_edges(aged.damage()))
        filled = torch.cat([fill(*part) for part in zip(aged.aged.split(8), holes.split(8), strict=True)])

        methods: dict[str, Callable[..., Tensor]] = {
            "bicubic": bicubic,
            "unsharp mask": unsharp,
            "translate": partial(translated, translator, holes),
            "faces": partial(stage.refine, mask=holes),
            "translate, faces": partial(both, translator, alone, holes),
        }
        print(table(f"{len(clean)} faces, {title}", aged, filled, methods), end="\n\n")
    refined = stage.refine(clean)
    moved = np.array(identity_distances(refined, clean))
    print(f"sharp crops as they are: {to_what_came(psnr(refined, clean).numpy(), moved)}")
    one, twenty = milliseconds(stage, clean[:1]), milliseconds(stage, clean[:20])
    print(f"{torch.get_num_threads()} threads: {one:.0f} ms for one face, {twenty:.0f} ms a face for twenty at once")
    if arguments.portraits:
        print(whole(stage, arguments.portraits, arguments.limit, arguments.seed))


if __name__ == "__main__":
    main()
