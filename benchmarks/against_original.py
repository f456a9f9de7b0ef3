"""The original's execution compared with ours, as whole commands: five processes with files between them, or one.

python benchmarks/against_original.py [--photos FOLDER] [--weights DIR] [--original DIR] [--out FOLDER] [--json]

"Bringing Old Photos Back to Life" (2020) runs detection, translation, face detection, face enhancement and warp back in
sequence, each a Python process that loads torch and its weights, one photo at a time in float32 with PNG files between
them; faces are detected twice, and each is warped over the whole photo. `five` does that with the family `paper` and
the original's dense attention (`--attention linear`: ours), on the CPU; the other ways are `bringback restore` with the
same networks or the lean ones. `--original` also runs a checkout of the original.

Without `--photos`, ten photos of 512x512 are made: scikit-image's astronaut with procedural scratches. Without
`--weights` (from `bringback convert`), stand-ins of the same sizes pass photos through, so that there are faces to
find; times do not depend on weights. All ways run alternately, `--repeats` times, each time into a fresh folder;
reports medians. `peak` is the memory of the largest process. The PSNR of bfloat16 and of `lean` with its default dtype
is relative to float32.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice, product
from pathlib import Path
from statistics import fmean, median
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bringback.assets import presets
from bringback.images.photo import LUMA, Photo
from bringback.models.base import Network
from bringback.models.layers import zero_init
from bringback.models.wan2020 import strips
from bringback.models.wan2020.attention import ResidualNonLocal, holes
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.unet import PaperUNet
from bringback.models.wan2020.vae import PaperVAE
from bringback.ops.color import luminance
from bringback.stages.faces.alignment import CROP, similarity
from bringback.stages.faces.detector import LEFT_TO_RIGHT
from bringback.stages.wan2020.resizing import rounded
from bringback.stages.wan2020.scratches import PaperScratchDetector
from bringback.stages.wan2020.translate import PaperTranslator
from bringback.weights.checkpoints import Checkpoints, save_network
from bringback.weights.dlib_files import model_file

ROOT, CPU = Path(__file__).parents[1], torch.device("cpu")
FACES_AT_ONCE = 4  # the original's --batchSize
MATRICES = 5  # N x N float matrices of its attention: scores, softmax, mask, their product, the renormalized product
DAMAGED = 0.03  # share of the first photo that the stand-in detector marks as damaged
FIVE, ORIGINAL = "five", "original"
OURS = {  # label, arguments of `bringback restore`
    "paper-float32": ("paper networks, one process, float32", ("--weights", "{}", "--dtype", "float32")),
    "paper-bfloat16": ("paper networks, one process, bfloat16", ("--weights", "{}", "--dtype", "bfloat16")),
    "lean-float32": ("lean, one process, float32", ("--dtype", "float32")),
    "lean": ("lean, one process", ()),
}
LABELS = {FIVE: "paper networks, five processes, float32", ORIGINAL: "the original's own run.py"}
LABELS |= {way: label for way, (label, _) in OURS.items()}
PAIRS = (("paper-bfloat16", "paper-float32"), ("lean", "lean-float32"))  # compared for PSNR


class WentWrong(RuntimeError):
    """A run that failed; one line."""


# The original's five processes, with the same folders.


def detection(photos: Path, weights: Path, out: Path) -> None:
    """Write the photos at rounded sizes, and their scratch masks."""
    detector = PaperScratchDetector.from_checkpoints(Checkpoints(weights), CPU)
    for path in sorted(photos.iterdir()):
        photo = Image.open(path).convert("RGB")
        photo = photo.resize([rounded(side, 16) for side in photo.size], Image.Resampling.BICUBIC)
        masks = out / "stage_1_restore_output" / "masks"
        write(masks / "input" / f"{path.stem}.png", np.asarray(photo))
        write(masks / "mask" / f"{path.stem}.png", as_picture(detector.detect(as_tensor(np.asarray(photo)))))


def translation(photos: Path, weights: Path, out: Path) -> None:
    """Write the restored photos, without face enhancement, and two copies of the input as the original does."""
    translator = PaperTranslator.from_checkpoints(Checkpoints(weights), CPU)
    folder = out / "stage_1_restore_output"
    for path in sorted((folder / "masks" / "input").iterdir()):
        pixels, mask = as_tensor(read(path)), as_tensor(read(folder / "masks" / "mask" / path.name))[:, :1]
        with patch.object(strips, "BUDGET", sys.maxsize):  # disables recomputation in strips, which the original lacks
            restored = translator.translate(pixels, mask)
        write(folder / "input_image" / path.name, as_picture(stretched(torch.maximum(pixels, mask))))
        write(folder / "restored_image" / path.name, as_picture(stretched(restored)))
        write(folder / "origin" / path.name, read(path))


def face_detection(photos: Path, weights: Path, out: Path) -> None:
    """Write aligned crops of all faces."""
    find = face_finder()
    for path in sorted((out / "stage_1_restore_output" / "restored_image").iterdir()):
        picture = read(path)
        for number, matrix in enumerate(find(picture)):
            write(out / "stage_2_detection_output" / f"{path.stem}_{number}.png", eight_bit(aligned(picture, matrix)))


@torch.inference_mode()
def face_enhancement(photos: Path, weights: Path, out: Path) -> None:
    """Write the refined crops."""
    generator = Checkpoints(weights).load("paper_faces_256", PaperFaceGenerator)
    paths = sorted((out / "stage_2_detection_output").glob("*"))
    for some in (paths[at : at + FACES_AT_ONCE] for at in range(0, len(paths), FACES_AT_ONCE)):
        made = generator(torch.cat([as_tensor(read(path)) for path in some]))
        for path, face in zip(some, made.split(1), strict=True):
            write(out / "stage_3_face_output" / "each_img" / path.name, as_picture(face))


def warp_back(photos: Path, weights: Path, out: Path) -> None:
    """Detect and align all faces again, and paste the refined ones."""
    from skimage.transform import warp

    find = face_finder()
    for path in sorted((out / "stage_1_restore_output" / "restored_image").iterdir()):
        picture = read(path)
        blended = picture / 255
        for number, matrix in enumerate(find(picture)):
            face = read(out / "stage_3_face_output" / "each_img" / f"{path.stem}_{number}.png")
            face = matched(face, eight_bit(aligned(picture, matrix)))
            back = partial(warp, inverse_map=np.vstack([matrix, (0, 0, 1)]), output_shape=picture.shape)
            mask = back(np.ones(face.shape, np.uint8), order=0, cval=0.0, preserve_range=True) * 255.0
            mask = cv2.erode(mask, np.ones((9, 9), np.uint8), iterations=3)
            mask = cv2.GaussianBlur(mask, (25, 25), 0) / 255.0
            blended = back(face, order=3) * mask + (1 - mask) * blended
        write(out / "final_output" / path.name, eight_bit(blended))


STEPS = {step.__name__: step for step in (detection, translation, face_detection, face_enhancement, warp_back)}


def dense_attention(block: ResidualNonLocal, x: Tensor, mask: Tensor) -> Tensor:
    """`ResidualNonLocal` with the original's N x N matrices: softmax over all positions, masked, renormalized."""
    size = (x.shape[-2], x.shape[-1])
    damaged = torch.maximum(holes(mask, size), F.interpolate(mask, size, mode="nearest"))
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    scores = query.mT @ key
    shares = scores.softmax(2)
    sound = (1 - damaged).flatten(2).repeat(1, scores.shape[1], 1)
    shares = F.normalize(sound * shares, p=1, dim=2)
    found = block.out((shares @ value.mT).mT.reshape(x.shape))
    return torch.lerp(x, block.blocks(found), damaged)


def keep_results(out: Path) -> None:
    """Copy the restored photos to the final folder, as the original's run.py does for photos without faces."""
    shutil.copytree(out / "stage_1_restore_output" / "restored_image", out / "final_output")


def face_finder() -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from a picture (H, W, 3) uint8 to the similarities of its faces; dlib without upsampling."""
    import dlib

    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))

    def find(picture: np.ndarray) -> list[np.ndarray]:
        faces = [landmarks(picture, box).parts() for box in detector(picture)]
        return [similarity(np.array([(p.x, p.y) for p in points], np.float64)[LEFT_TO_RIGHT]) for points in faces]

    return find


def aligned(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The crop (256, 256, 3) float64 of a picture (H, W, 3) uint8 under a similarity."""
    from skimage.transform import warp

    return warp(picture, np.linalg.inv(np.vstack([matrix, (0, 0, 1)])), output_shape=(CROP, CROP, 3))


def matched(face: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """A face (S, S, 3) uint8 with the histograms of `wanted`, per channel."""
    made = np.empty_like(face)
    for channel in range(3):
        shares = [np.cumsum(np.bincount(one[..., channel].ravel(), minlength=256)) for one in (face, wanted)]
        made[..., channel] = np.searchsorted(shares[1], shares[0]).clip(0, 255)[face[..., channel]]
    return made


def stretched(pixels: Tensor) -> Tensor:
    """Stretch to the full range, as the original does when saving."""
    low, high = pixels.min(), pixels.max()
    return (pixels - low) / (high - low).clamp_min(1e-5)


def read(path: Path) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8."""
    return np.asarray(Image.open(path).convert("RGB"))


def write(path: Path, picture: np.ndarray) -> None:
    """Write a uint8 picture, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def eight_bit(pixels: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] to uint8."""
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8, order="C")  # dlib ignores strides


def as_picture(pixels: Tensor) -> np.ndarray:
    """(1, 3, H, W) or (1, 1, H, W) in [0, 1] -> (H, W, 3) or (H, W) uint8."""
    picture = eight_bit(pixels[0].permute(1, 2, 0).numpy())
    return picture if picture.shape[2] == 3 else picture[..., 0]


def as_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255


# Stand-ins for the published weights that pass the luminance through; random weights would give noise without faces.
# Instance norms remove mean and deviation, which the last layer restores. ReLUs would remove the dark half, so every
# signal x is a pair of channels, relu(x) and relu(-x), and each layer starts with their difference. Layers of stride 2
# turn the pixels of a 2x2 block into four pairs, and the decoder reverses that.


def carry(layer: nn.Conv2d | nn.ConvTranspose2d, links: Iterable[tuple[int, int, int, int]]) -> None:
    """Silence a layer except for links: output signal, input signal, row and column of the kernel tap."""
    zero_init(layer)
    weight = layer.weight.data.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight.data
    for made, taken, row, column in links:
        weight[2 * made : 2 * made + 2, 2 * taken : 2 * taken + 2, row, column] = torch.tensor([[1.0, -1], [-1, 1]])


def quarters(signals: int) -> list[tuple[int, int, int, int]]:
    """Links of a stride-2 layer that maps each signal to four, one for each pixel of a 2x2 block."""
    return [(4 * s + 2 * y + x, s, y + 1, x + 1) for s, y, x in product(range(signals), range(2), range(2))]


def pass_through_vae(vae: PaperVAE, contrast: float = 0.6) -> PaperVAE:
    """Make a VAE of at least 32 channels keep the luminance; `contrast` is its deviation before tanh."""
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            zero_init(layer)
    luma = torch.from_numpy(LUMA)
    vae.encoder[0].conv.weight.data[:2, :, 3, 3] = torch.stack([luma, -luma])
    for number, signals in ((1, 1), (2, 4)):
        links = quarters(signals)
        carry(vae.encoder[number].conv, links)
        carry(vae.decoder[-1 - number].conv, [(taken, made, *tap) for made, taken, *tap in links])
    vae.decoder[-1].weight.data[:, :2, 3, 3] = torch.tensor([contrast, -contrast])
    return vae


def pass_through_mapping(mapping: PaperMapping) -> PaperMapping:
    """Make a mapping of at least 32 channels the identity; damaged positions become a mean of undamaged ones."""
    for layer in mapping.modules():
        if isinstance(layer, nn.Conv2d):
            zero_init(layer)
    for layer in (*mapping.stem, *mapping.tail):
        carry(getattr(layer, "conv", layer), [(signal, signal, 1, 1) for signal in range(16)])
    for block in mapping.middle:
        if isinstance(block, ResidualNonLocal):
            for layer in (block.query, block.key):
                nn.init.normal_(layer.weight, std=0.05)
            for layer in (block.value, block.out):
                nn.init.dirac_(layer.weight)
    return mapping


def pass_through_faces(generator: PaperFaceGenerator) -> PaperFaceGenerator:
    """Make a generator whose last block has at least 6 channels return its input face; the rest stays random."""
    last: Any = generator.blocks[-1]
    told = last.second_norm.told
    for layer in (last.first, last.around, told, generator.head):
        zero_init(layer)
    colors = [(color, color, 1, 1) for color in range(3)]
    for color in range(3):
        told.weight.data[2 * color : 2 * color + 2, color, 1, 1] = torch.tensor([1.0, -1])
        generator.head.weight.data[color, 2 * color : 2 * color + 2, 1, 1] = torch.tensor([0.8, -0.8])
    carry(last.second_norm.beta, colors)
    carry(last.second, colors)
    return generator


@torch.inference_mode()
def calibrated_detector(detector: PaperUNet, photo: Tensor) -> PaperUNet:
    """Random weights, scaled so that logits on a photo have deviation 4 and `DAMAGED` of it is marked as damaged."""
    random = torch.Generator().manual_seed(2)
    for layer in detector.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=random)
            nn.init.zeros_(layer.bias)
    logits = detector.eval()(F.interpolate(luminance(photo), (256, 256), mode="bilinear"))
    gain = 4 / logits.std()
    detector.head.weight.data *= gain
    detector.head.bias.data.fill_(math.log(0.4 / 0.6) - gain * logits.quantile(1 - DAMAGED))  # 0.4: its threshold
    return detector


def full_size() -> dict[str, Network]:
    """The networks for scratched photos, at the original's sizes, by checkpoint name."""
    torch.manual_seed(0)
    return {
        "paper_scratches": PaperUNet(),
        "paper_old_vae": PaperVAE(),
        "paper_mapping_scratch": PaperMapping(attention="nonlocal"),
        "paper_clean_vae_scratch": PaperVAE(),
        "paper_faces_256": PaperFaceGenerator(),
    }


def stand_in(networks: dict[str, Network], photo: Tensor, folder: Path) -> Path:
    """Write stand-ins for the original's weights to a folder, as `bringback convert` does."""
    makers = {PaperVAE: pass_through_vae, PaperMapping: pass_through_mapping, PaperFaceGenerator: pass_through_faces}
    makers[PaperUNet] = partial(calibrated_detector, photo=photo)
    for name, network in networks.items():
        save_network(makers[type(network)](network), folder / name, half=False)
    shutil.copyfile(presets()["paper"], folder / "pipeline.yaml")
    return folder


def made_photos() -> Iterator[Photo]:
    """The astronaut with scratches from successive seeds, where dlib finds the face."""
    from skimage import data

    from bringback.degradations import degrade

    find, clean = face_finder(), as_tensor(data.astronaut())
    for seed in count():
        aged = as_picture(degrade(clean, "structured", [seed], None).aged)
        if find(aged):
            yield Photo.from_array(aged)


def prepare(source: Path | None, number: int, folder: Path) -> list[Path]:
    """Write the photos for all ways to a folder, as PNG."""
    from bringback.images.shards import find_pictures

    photos = made_photos() if source is None else map(Photo.read, sorted(find_pictures(source)))
    for index, photo in enumerate(islice(photos, number)):
        folder.mkdir(exist_ok=True)
        replace(photo, format="PNG", extra={}).write(folder / f"{index:03}.png")
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise ValueError(f"{source}: no photos there")
    return paths


def check_memory(paths: Iterable[Path]) -> None:
    """Raise ValueError if this machine cannot hold the original's attention matrices for one of the photos."""
    largest = max(np.prod([rounded(side, 16) // 4 for side in Image.open(path).size]) for path in paths)
    wanted, there = MATRICES * 4 * int(largest) ** 2, psutil.virtual_memory().total
    if wanted > there:
        raise ValueError(
            f"the original's attention wants {wanted / 1e9:.0f} GB for {16e-6 * largest:.2f} megapixels, this machine "
            f"has {there / 1e9:.0f}: take smaller photos, --attention linear, or --ways without {FIVE}"
        )


@dataclass
class Run:
    """One run: total seconds, seconds per step, peak bytes of its largest process, faces found and refined."""

    seconds: float = 0.0
    peak: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    faces: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Bench:
    """The common settings of all runs."""

    photos: Path
    weights: Path
    original: Path | None
    attention: str
    threads: int

    def run(self, way: str, out: Path) -> Run:
        """Restore the photos one way into a new folder; raises WentWrong."""
        out.mkdir(parents=True)
        begin = time.perf_counter()
        run = self._five(out) if way == FIVE else self._original(out) if way == ORIGINAL else self._ours(way, out)
        run.seconds = time.perf_counter() - begin
        if way in OURS:
            lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]
            faces = [face["status"] for line in lines for face in line["faces"]["each"]]
            run.faces = len(faces), sum(status.startswith("refined") for status in faces)
        else:
            folders = ("stage_2_detection_output", "stage_3_face_output/each_img")
            found, refined = (len([*(out / folder).glob("*")]) for folder in folders)
            run.faces = found, refined
        return run

    def _five(self, out: Path) -> Run:
        run = Run()
        given = ["--photos", self.photos, "--weights", self.weights, "--out", out, "--attention", self.attention]
        for step in STEPS:
            begin = time.perf_counter()
            peak = self._process([sys.executable, __file__, "--step", step, *given])
            if step == "translation":
                keep_results(out)
            run.steps[step], run.peak = time.perf_counter() - begin, max(run.peak, peak)
        return run

    def _ours(self, way: str, out: Path) -> Run:
        arguments = [argument.format(self.weights) for argument in OURS[way][1]]
        command = [sys.executable, "-m", "bringback", "restore", self.photos, "-o", out, "--device", "cpu"]
        return Run(peak=self._process([*command, *arguments]))

    def _original(self, out: Path) -> Run:
        folders = ["--input_folder", self.photos, "--output_folder", out]
        command = [sys.executable, "run.py", *folders, "--GPU", "-1", "--with_scratch"]
        run = Run(peak=self._process(command, self.original))
        if not any((out / "final_output").glob("*")):
            raise WentWrong(f"run.py wrote nothing to {out / 'final_output'}")
        return run

    def _process(self, command: list[Any], folder: Path | None = ROOT) -> int:
        """Run a command; returns its peak memory in bytes."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(self.threads))
        # the original calls the `python` on the path
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        with tempfile.TemporaryFile("w+", errors="replace") as told:
            process = subprocess.Popen(
                [*map(str, command)], cwd=folder, env=os.environ | threads | {"PATH": path}, stdout=told, stderr=told
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                told.seek(0)
                lines = [line.strip(" \n│") for line in told if any(map(str.isalnum, line))]  # rich draws boxes
                raise WentWrong(f"exit code {process.returncode}: {lines[-1] if lines else 'it said nothing'}")
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def quality(folder: Path, reference: Path) -> dict[str, float]:
    """PSNR in dB between pictures of the same name in two folders: mean and worst."""
    from bringback.ops.metrics import psnr

    pairs = [(as_tensor(read(path)), as_tensor(read(reference / path.name))) for path in folder.glob("*.png")]
    values = [float(psnr(*pair)) for pair in pairs]
    return {"mean": fmean(values), "worst": min(values)}


def summary(runs: list[Run], photos: int) -> dict[str, Any]:
    """Medians over the runs of one way."""
    seconds = median(run.seconds for run in runs)
    return {
        "seconds": round(seconds, 2),
        "seconds_a_photo": round(seconds / photos, 3),
        "seconds_each": [round(run.seconds, 2) for run in runs],
        "steps": {step: round(median(run.steps[step] for run in runs), 2) for step in runs[0].steps},
        "peak_bytes": max(run.peak for run in runs),
        "faces": runs[-1].faces[0],
        "refined": runs[-1].faces[1],
    }


def table(report: dict[str, Any]) -> str:
    """Plain text; `speed` is relative to the first way."""
    title = "{photos} photos, {megapixels} megapixels; {threads} threads, {attention} attention, {repeats} repeats"
    rows = {"": ("seconds", "a photo", "speed", "peak", "faces", "refined")}
    for way, row in report["ways"].items():
        cells = f"{row['seconds']:.1f}", f"{row['seconds_a_photo']:.2f}", f"{row['speed']:.2f} x"
        rows[LABELS[way]] = *cells, f"{row['peak_bytes'] / 1e9:.2f} GB", str(row["faces"]), str(row["refined"])
    lines = [title.format(**report)]
    lines += [f"{label:40}" + "".join(f"{cell:>9}" for cell in cells) for label, cells in rows.items()]
    for row in report["ways"].values():
        if row["steps"]:
            lines.append(
                "steps: "
                + ", ".join(f"{step.replace('_', ' ')} {seconds:.1f} s" for step, seconds in row["steps"].items())
            )
    for way, found in report["psnr"].items():
        lines.append(f"{LABELS[way]}, to float32: {found['mean']:.1f} dB on average, {found['worst']:.1f} at worst")
    return "\n".join(lines)


def compare(bench: Bench, ways: Iterable[str], repeats: int, results: Path) -> dict[str, Any]:
    """Run all ways alternately; those that fail are reported and left out."""
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    for repeat in range(repeats):
        for way in list(runs):
            print(f"{repeat + 1} of {repeats}: {LABELS[way]}", end="", file=sys.stderr, flush=True)
            try:
                runs[way].append(bench.run(way, results / way / str(repeat)))
                print(f", {runs[way][-1].seconds:.1f} s", file=sys.stderr)
            except (WentWrong, OSError) as error:
                print(f": left out: {error}", file=sys.stderr)
                del runs[way]
    paths = [*bench.photos.iterdir()]
    found = {way: summary(done, len(paths)) for way, done in runs.items()}
    first = next(iter(found.values()), {"seconds": 0})["seconds"]
    for row in found.values():
        row["speed"] = round(first / row["seconds"], 2)
    last = str(repeats - 1)
    pairs = [(way, other) for way, other in PAIRS if way in found and other in found]
    return {
        "photos": len(paths),
        "megapixels": round(sum(float(np.prod(Image.open(path).size)) for path in paths) / 1e6, 2),
        "threads": bench.threads,
        "attention": bench.attention,
        "repeats": repeats,
        "ways": found,
        "psnr": {way: quality(results / way / last, results / other / last) for way, other in pairs},
    }


def run(given: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Prepare and compare; raises ValueError on bad arguments."""
    if given.out and given.out.exists() and any(given.out.iterdir()):
        raise ValueError(f"{given.out}: is not empty")
    photos = prepare(given.photos, given.count, scratch / "photos")
    ways = [*given.ways, *([ORIGINAL] if given.original else [])]
    if FIVE in ways and given.attention == "dense":
        check_memory(photos)
    weights = given.weights or stand_in(full_size(), as_tensor(read(photos[0])), scratch / "weights")
    original = given.original.resolve() if given.original else None
    bench = Bench(photos[0].parent, weights.resolve(), original, given.attention, given.threads)
    return compare(bench, ways, given.repeats, (given.out or scratch / "results").resolve())


def main() -> None:
    """Parse arguments and run; exits with 2 and one line on bad arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photos; every way gets them as PNG")
    parser.add_argument("--count", type=int, default=10, help="at most so many photos")
    parser.add_argument("--weights", type=Path, help="folder of the original's weights, converted")
    parser.add_argument("--original", type=Path, help="a checkout of the original with its weights, to run as well")
    parser.add_argument("--ways", nargs="+", choices=[FIVE, *OURS], default=[FIVE, *OURS])
    parser.add_argument("--attention", choices=["dense", "linear"], default="dense", help=f"of the way {FIVE}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keep all results in this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--step", choices=[*STEPS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        if given.attention == "dense":
            ResidualNonLocal.forward = dense_attention
        STEPS[given.step](given.photos, given.weights, given.out)
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            report = run(given, Path(scratch))
        except (OSError, ValueError) as error:
            parser.exit(2, f"against_original: {error}\n")
    print(json.dumps(report) if given.json else table(report))


if __name__ == "__main__":
    main()
