"""Train the judge of what dlib's detector takes for a face, but not surely (`models.faces.judge`).

python train/face_judge.py --portraits faces-train-*.tar --old old-train-*.tar --photos photos-train-*.tar

Faces: what views of portraits, squeezed, tilted and aged, and of old portraits show where the plain detector sees a
face. Not faces: what they show in photos. `face_judge.csv` says what was seen by eye: faces in the photos, and what is
shown in old portraits without a sure face; what is neither (half a face, one upside down) is left out. What
benchmarks/find_faces.py judges by is not learned from. A quarter of an hour on a CPU.
"""

import argparse
import csv
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from bringback.degradations import degrade
from bringback.images.photo import Photo
from bringback.images.shards import held_out, read_shards
from bringback.models.faces.judge import WEIGHTS, FaceJudge
from bringback.stages.faces.detector import FaceFinder, Found, as_gray
from bringback.stages.faces.identity import face_features

LABELS = Path(__file__).with_name("face_judge.csv")
NO_PEOPLE = Path(__file__).parents[1] / "benchmarks" / "no_people.txt"
KINDS = ("portraits", "old", "photos")
OLD_PORTRAITS = ("kensanata", "voteview")  # name prefixes
FIRST = 2**32 // 12  # the benchmark takes old portraits held out from training, then those of the lowest checksums
RECIPES = ("portraits", "worn", "unstructured", "small-copy", "faded", "grainy-bw", "dark-noisy", "second-order")
AGED = 0.3  # share of the photos without faces that are aged, too
HIDDEN, MEMBERS, STEPS, BATCH, RATE, DECAY = 20, 3, 400, 256, 3e-3, 1e-2
UNSEEN, NOISE = 0.2, 0.1  # share of the inputs that are dropped, deviation of the noise on them


Labels = dict[str, list[tuple[float, float, str]]]  # shares of width and height; 1 a face, 0 none, "left out" neither


class Lesson(NamedTuple):
    """What the judge sees (256,), (9,), and whether it is a face."""

    features: Tensor
    facts: list[float]
    face: bool


def read_labels() -> Labels:
    """What was seen by eye, by the name of the picture."""
    labels: Labels = defaultdict(list)
    with LABELS.open(encoding="utf-8", newline="") as lines:
        for name, x, y, word in csv.reader(lines):
            labels[name].append((float(x), float(y), word))
    return labels


def aged(pixels: np.ndarray, draws: random.Random, recipes: tuple[str, ...] = RECIPES) -> np.ndarray:
    """A photo (H, W, 3) by one of the recipes."""
    photo = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return degrade(photo, draws.choice(recipes), [draws.randrange(1 << 30)]).aged[0].permute(1, 2, 0).numpy()


def squeezed(pixels: np.ndarray, draws: random.Random) -> np.ndarray:
    """A smaller portrait, half of them tilted, some narrower, as a face is that is half turned."""
    zoom, narrow = draws.uniform(0.3, 0.9), draws.choice([1.0, 1.0, draws.uniform(0.68, 1)])
    size = round(pixels.shape[1] * zoom * narrow), round(pixels.shape[0] * zoom)
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), draws.choice([0, draws.uniform(-25, 25)]), 1)
    return cv2.warpAffine(small, turn, size, borderMode=cv2.BORDER_REPLICATE).clip(0, 1)


def lessons(finder: FaceFinder, kind: str, name: str, pixels: np.ndarray, labels: Labels) -> Iterator[Lesson]:
    """Those of one picture (H, W, 3)."""
    draws = random.Random(zlib.crc32(name.encode()))
    sure: list[Found] = []
    if kind == "portraits":
        pixels = squeezed(pixels, draws)
    if kind != "photos":
        sure = finder.sure(as_gray(pixels))
    if kind == "portraits" or (kind == "photos" and draws.random() < AGED):
        pixels = aged(pixels, draws)
    height, width = pixels.shape[:2]
    for one in finder.doubtful(as_gray(pixels)):
        center = one.face.points.mean(0)
        near = (word for x, y, word in labels[name]
                if np.hypot(*(center - (x * width, y * height))) < 0.3 * one.face.side)  # fmt: skip
        unseen = "0" if kind == "photos" else "1" if any(one.face.same(face) for face in sure) else "left out"
        word = next(near, unseen)
        if word != "left out":
            features = face_features(torch.from_numpy(one.crop)[None, None])[0]
            yield Lesson(features, one.facts, word == "1")


def learned(seen: Tensor, faces: Tensor, seed: int, steps: int = STEPS) -> FaceJudge:
    """One member, trained with faces and others weighted alike."""
    torch.manual_seed(seed)
    judge = FaceJudge(HIDDEN)
    judge.mean, judge.spread = seen.mean(0), seen.std(0) + 1e-4
    weights = torch.where(faces > 0, 0.5 / faces.mean(), 0.5 / (1 - faces.mean()))
    optimizer = torch.optim.AdamW(judge.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        some = torch.randint(len(seen), (BATCH,))
        noisy = F.dropout(judge.normed(seen[some]), UNSEEN) + NOISE * torch.randn(BATCH, seen.shape[1])
        loss = F.binary_cross_entropy_with_logits(judge.odds(noisy), faces[some], weights[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge


def main() -> None:
    """Parse arguments, look at pictures, train, write the judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="+", required=True, help="tar shards, a face in every picture")
    parser.add_argument("--old", type=Path, nargs="+", required=True, help="tar shards of real old photos")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="tar shards of photos of all kinds")
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    finder, labels, judged = FaceFinder(), read_labels(), set(NO_PEOPLE.read_text(encoding="utf-8").split())
    all_of_them = list[Lesson]()
    for kind in KINDS:
        for shard in getattr(arguments, kind):
            for name, data in read_shards(shard):
                if name not in judged and (kind != "old" or _old(name)):
                    all_of_them += lessons(finder, kind, name, Photo.decode(data, name).pixels, labels)
    seen = torch.stack([torch.cat([one.features, torch.tensor(one.facts)]) for one in all_of_them])
    faces = torch.tensor([float(one.face) for one in all_of_them])
    members = [learned(seen, faces, seed) for seed in range(MEMBERS)]
    save(members, arguments.out)
    print(f"{len(seen)} lessons, {int(faces.sum())} of them faces -> {arguments.out}")


def save(members: list[FaceJudge], file: Path) -> None:
    """Write the mean of several judges, which is one with all their units, in half precision."""
    judge = FaceJudge(HIDDEN * len(members))
    judge.mean, judge.spread = members[0].mean, members[0].spread
    judge.first.weight.data = torch.cat([one.first.weight for one in members]).detach()
    judge.first.bias.data = torch.cat([one.first.bias for one in members]).detach()
    judge.last.weight.data = torch.cat([one.last.weight for one in members], 1).detach() / len(members)
    judge.last.bias.data = torch.stack([one.last.bias for one in members]).detach().mean(0)
    weights = {key for key, _ in judge.named_parameters()}
    save_file({key: value.half() if key in weights else value for key, value in judge.state_dict().items()}, file)


def _old(name: str) -> bool:
    return name.startswith(OLD_PORTRAITS) and not held_out(name) and zlib.crc32(name.encode()) >= FIRST


if __name__ == "__main__":
    main()
