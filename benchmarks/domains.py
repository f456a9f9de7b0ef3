"""Domain gap between real old photos and synthetically aged ones, in pixels and in the latents of an old VAE.

python benchmarks/domains.py --data-dir DATA -o RUNS

The old VAE should map both to one latent space (the triplet domain of Wan et al. 2020); what classifiers can still
separate there is the gap left for the mapping, which is trained on aged photos only. Besides the shipped VAE, three are
trained here for --steps steps: without real photos, with them, and with them and the latent discriminator.

Trivial cues are removed: every picture is gray, has a short side of 256 pixels before aging, loses a tenth at each
border (scan frames) and ends as the same JPEG; portraits are in both sets. Content remains a cue; the columns `not
aged` show its effect.
"""

import argparse
import io
import logging
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bringback.degradations import OverlayBank, degrade
from bringback.images.photo import Photo
from bringback.images.shards import find_entries
from bringback.models.translation.vae import VAE
from bringback.ops.color import luminance
from bringback.stages.record import Restoration
from bringback.training.config import load_config
from bringback.training.loop import train
from bringback.training.tasks.vae import OldVAETask
from bringback.weights.checkpoints import Checkpoints

ROOT = Path(__file__).parents[1]
SHORT, BORDER, SIDE, CROPS, QUALITY = 256, 0.1, 128, 2, 85
CLEAN = "{path: photos-train-*.tar, weight: 0.4}, {path: faces-train-*.tar, weight: 0.1}"
REAL = "{path: old-train-*.tar, weight: 0.5, domain: old}"
TRAINED = {
    "old VAE, no real photos": (f"train_data=[{CLEAN}]",),
    "old VAE, real photos": (f"train_data=[{CLEAN}, {REAL}]",),
    "old VAE, real photos, discriminator": (f"train_data=[{CLEAN}, {REAL}]", "options.adversarial={adversarial}"),
}
Sets = tuple[Tensor, Tensor]  # gray crops (N, 3, SIDE, SIDE) for training and test


def _split(name: str) -> int | None:
    """0: training, half of the pictures; 1: test, a tenth (for real old photos, those held out from all training)."""
    number = zlib.crc32(PurePath(name).name.encode()) % 10
    return 1 if number == 0 else 0 if number % 2 else None


def crops_of(shards: list[Path], alter: Callable[[Tensor, int], Tensor], most: tuple[int, int]) -> Sets:
    """Crops of the pictures in the shards, `alter`ed (pixels, seed) after resizing; `most` limits pictures per set."""
    found: tuple[list[Tensor], list[Tensor]] = [], []
    entries = [entry for shard in shards for entry in find_entries(shard)]
    for entry in sorted(entries, key=lambda entry: zlib.crc32(entry.name.encode())):  # mixes the sources
        which = _split(entry.name)
        if which is None or len(found[which]) >= most[which] * CROPS:
            continue
        pixels = Restoration.start(Photo.decode(entry.read(), entry.name)).pixels
        if min(pixels.shape[-2:]) >= SHORT:
            seed = zlib.crc32(entry.name.encode())
            found[which].extend(_crops(_frameless(alter(_shrunk(pixels), seed)), seed))
    return torch.cat(found[0]), torch.cat(found[1])


def _shrunk(pixels: Tensor) -> Tensor:
    scale = SHORT / min(pixels.shape[-2:])
    size = [round(length * scale) for length in pixels.shape[-2:]]
    gray = luminance(pixels).expand_as(pixels)
    return F.interpolate(gray, size, mode="bicubic", antialias=True).clamp(0, 1)


def _frameless(pixels: Tensor) -> Tensor:
    height, width = pixels.shape[-2:]
    top, left = int(height * BORDER), int(width * BORDER)
    return pixels[..., top : height - top, left : width - left]


def _crops(pixels: Tensor, seed: int) -> list[Tensor]:
    rng, crops = np.random.default_rng(seed), []
    for _ in range(CROPS):
        top, left = (int(rng.integers(length - SIDE + 1)) for length in pixels.shape[-2:])
        crop = luminance(pixels[..., top : top + SIDE, left : left + SIDE])[0, 0]
        file = io.BytesIO()
        Image.fromarray((crop * 255).round().byte().numpy()).save(file, "JPEG", quality=QUALITY)
        gray = torch.from_numpy(np.array(Image.open(file))).float() / 255
        crops.append(gray.expand(1, 3, SIDE, SIDE))
    return crops


def accuracies(real: Sets, other: Sets) -> tuple[float, float]:
    """Balanced accuracy of two classifiers on feature maps (N, C, h, w): logistic regression and a two-layer convnet.

    The former gets mean and standard deviation of each channel, the latter the maps.
    """
    learn, test = (torch.cat([a, b]) for a, b in zip(real, other, strict=True))
    wanted = [(torch.arange(len(a) + len(b)) < len(a)).float() for a, b in zip(real, other, strict=True)]
    center, spread = learn.mean((0, 2, 3), keepdim=True), learn.std((0, 2, 3), keepdim=True).clamp_min(1e-4)
    maps = [(x - center) / spread for x in (learn, test)]
    pooled = [torch.cat([x.mean((2, 3)), x.std((2, 3))], 1) for x in maps]
    mean, std = pooled[0].mean(0), pooled[0].std(0).clamp_min(1e-4)
    pooled = [(x - mean) / std for x in pooled]
    torch.manual_seed(0)
    c = learn.shape[1]
    layers = [nn.Conv2d(c, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1)]
    convnet = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 1))
    return _taught(nn.Linear(2 * c, 1), pooled, wanted), _taught(convnet, maps, wanted)


def _taught(model: nn.Module, x: list[Tensor], wanted: list[Tensor], steps: int = 500) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    weight = (1 - wanted[0]).sum() / wanted[0].sum()  # balances the classes
    for _ in range(steps):
        chosen = torch.randint(len(x[0]), (64,))
        loss = F.binary_cross_entropy_with_logits(model(x[0][chosen])[:, 0], wanted[0][chosen], pos_weight=weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = ((model.eval()(x[1])[:, 0] > 0).float() == wanted[1]).float()
    return float((right[wanted[1] > 0].mean() + right[wanted[1] == 0].mean()) / 2)


def wasserstein(a: Tensor, b: Tensor) -> float:
    """2-Wasserstein distance of Gaussians fitted to the vectors of maps (N, C, h, w), relative to their deviation."""
    vectors = [x.movedim(1, -1).flatten(0, -2).double() for x in (a, b)]
    means, covariances = [x.mean(0) for x in vectors], [x.T.cov() for x in vectors]
    root = _root(covariances[0])
    squared = (means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace()
    squared -= 2 * _root(root @ covariances[1] @ root).trace()
    return float((squared.clamp_min(0) / ((covariances[0] + covariances[1]).trace() / 2)).sqrt())


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T


@torch.no_grad()
def maps_of(vae: VAE | None, crops: Tensor) -> Tensor:
    """Latents; without a VAE, pixels as 4x4 blocks of the gray crop with 16 channels."""
    if vae is None:
        return F.pixel_unshuffle(crops[:, :1], 4)
    return torch.cat([vae.encode(part) for part in crops.split(32)])


def train_vaes(options: argparse.Namespace) -> dict[str, VAE]:
    """The three old VAEs, loaded from their folders if present."""
    vaes = {}
    for number, (name, settings) in enumerate(TRAINED.items()):
        out = options.out / f"old-vae-{number}"
        if not (out / "old_vae").is_dir():
            small = ["resolution=96", "train_batch_size=8", "validation_data=[]", "validation_overlays="]
            steps = [
                f"max_train_steps={options.steps}",
                f"checkpointing_steps={options.steps}",
                "max_train_minutes=1e9",
            ]
            places = [f"data_dir={options.data_dir}", f"output_dir={out}", f"init_from={ROOT / 'checkpoints'}"]
            own = [setting.replace("{adversarial}", str(options.adversarial)) for setting in settings]
            config = load_config(ROOT / "configs" / "old_vae.yaml", [*small, *steps, *places, *own])
            torch.manual_seed(config.seed)
            train(OldVAETask(config), config)
        vaes[name] = Checkpoints(out).load("old_vae", VAE)
    return vaes


def main() -> None:
    """Train the VAEs, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="a folder whose VAEs are looked at instead of the shipped ones")
    parser.add_argument("--steps", type=int, default=400, help="0: train none")
    parser.add_argument("--pictures", type=int, default=10_000, help="learn from at most so many old ones")
    parser.add_argument("--adversarial", type=float, default=0.01, help="weight of the discriminator of latents")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    checkpoints = Checkpoints(options.weights)
    spaces: dict[str, VAE | None] = {"pixels": None, "clean VAE": checkpoints.load("clean_vae", VAE)}
    spaces |= {"old VAE": checkpoints.load("old_vae", VAE)} | (train_vaes(options) if options.steps else {})
    bank = OverlayBank.from_shards(sorted(options.data_dir.glob("damage-train-*.tar")))
    olds, photos, faces = (sorted(options.data_dir.glob(f"{name}-train-*.tar")) for name in ("old", "photos", "faces"))
    real = crops_of(olds, lambda pixels, _: pixels, (options.pictures, options.pictures))
    as_many = len(real[0]) // CROPS, len(real[1]) // CROPS
    aged = crops_of(photos + faces, lambda pixels, seed: degrade(pixels, "mixed", [seed], bank).aged, as_many)
    clean = crops_of(photos + faces, lambda pixels, _: pixels, as_many)
    print(
        f"real, aged: {len(real[0])}, {len(aged[0])} crops to learn from, {len(real[1])}, {len(aged[1])} to test with"
    )
    print("| space | logistic | convnet | distance | among real | logistic, not aged | convnet | distance |")
    print("|---" * 8 + "|")
    for name, vae in spaces.items():
        old, made, pure = (tuple(maps_of(vae, crops) for crops in sets) for sets in (real, aged, clean))
        half = len(old[0]) // 2
        cells = [*(f"{100 * x:.0f} %" for x in accuracies(old, made)), f"{wasserstein(old[0], made[0]):.3f}"]
        cells += [f"{wasserstein(old[0][:half], old[0][half:]):.3f}"]
        cells += [*(f"{100 * x:.0f} %" for x in accuracies(old, pure)), f"{wasserstein(old[0], pure[0]):.3f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
