"""Native scale: learns from photos that are enlarged as by a scanner how far their spectrum reaches."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.degradations.scan import KERNELS, scanner
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.models.native_scale import TILE, NativeScale, levels_of
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.task import Losses, TrainingTask

_SPARE = 4  # pixels around a piece to be enlarged, which its kernel reaches
_SMALLER = 1.3  # the exponent of the share of octaves: small factors are drawn more often
_LEFT = 1.6  # estimates above this of photos that are not enlarged cost `over` more: they might be shrunk
# Spectra (N, 4, 64), base-2 logarithms of the factors (N,), and the quantiles that are learned (N,).
_Prepared = tuple[Tensor, Tensor, Tensor]


class NativeScaleTask(TrainingTask):
    """Trains `scale` on sound and degraded photos, each enlarged several times by random factors and kernels.

    Blurred and then scanned, a photo looks like one that was enlarged: so degraded photos that are not enlarged are
    seen as they are, without a scanner's noise, and nothing is learned from the others.

    The spectra that are kept are in no saved state: a resumed run collects new ones, and gives other numbers than an
    undisturbed one.

    Options:
        times: how often each photo is enlarged.
        as_it_is: the share that is not enlarged.
        untouched: the share of these, if they are sound, that no scanner has seen either.
        usual: the share of scanners with blur, noise and JPEG as most have them.
        largest: the largest factor.
        tiles: how many tiles are taken of each, from all over the photo.
        dust: the share with sharp hairs and specks, of the scanner's glass.
        low, low_worn: the quantiles that are learned, of sound and of degraded photos: below a half, the network rather
            says too little, which loses no detail.
        over: the weight of what photos that are not enlarged are estimated too high.
        kept, learned: spectra that are kept, and how many of them a step learns from. Making them takes all the time.
    """

    OPTIONS: ClassVar = {
        "times": 7, "as_it_is": 0.3, "untouched": 0.75, "usual": 0.6, "largest": 10.0, "tiles": 9, "dust": 0.15,
        "low": 0.5, "low_worn": 0.25, "over": 1.0, "kept": 12000, "learned": 1024,
    }  # fmt: skip

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.resolution < TILE + 2 * _SPARE:
            raise ConfigError(f"resolution: {config.resolution}: wants {TILE + 2 * _SPARE} or more, a tile and its rim")
        self.net = self.load_or_create("scale", NativeScale)
        self._kept: _Prepared | None = None

    def networks(self) -> dict[str, Network]:
        return {"scale": self.net}

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> _Prepared:
        worn = ((aged.aged - aged.truth).abs().amax((1, 2, 3)) > 0).tolist()
        fresh = self._enlarged(aged.aged, seeds, worn)
        if self._kept is not None:
            fresh = [torch.cat(parts)[-self.options["kept"] :] for parts in zip(self._kept, fresh, strict=True)]
        levels, octaves, low = fresh
        self._kept = levels, octaves, low
        random = np.random.default_rng(seeds)
        chosen = torch.from_numpy(random.integers(len(levels), size=self.options["learned"])).to(levels.device)
        return levels[chosen], octaves[chosen], low[chosen]

    def forward(self, phase: str, prepared: _Prepared) -> Losses:
        levels, octaves, low = prepared
        with torch.autocast(levels.device.type, enabled=False):
            found = self.net(levels)
        missing = octaves - found
        loss = torch.maximum(low * missing, (low - 1) * missing)
        too_much = torch.where(octaves == 0, (found - np.log2(_LEFT)).clamp_min(0), 0.0)
        return Losses((loss + self.options["over"] * too_much).mean())

    def _enlarged(self, pixels: Tensor, seeds: list[int], worn: list[bool]) -> list[Tensor]:
        levels, facts = [], []
        for photo, seed, spoilt in zip(pixels.permute(0, 2, 3, 1).cpu().numpy(), seeds, worn, strict=True):
            random = np.random.default_rng(seed)
            for _ in range(self.options["times"]):
                factor, scanned = 1.0, True
                if random.random() >= self.options["as_it_is"]:
                    factor = self.options["largest"] ** (random.random() ** _SMALLER)
                else:
                    scanned = not spoilt and random.random() >= self.options["untouched"]
                tiles = self._tiles(photo, factor, random, scanned=scanned)
                levels.append(levels_of(torch.from_numpy(tiles)[None]))
                facts.append((np.log2(factor), self.options["low_worn" if spoilt else "low"]))
        octaves, low = torch.tensor(facts, dtype=torch.float32, device=pixels.device).unbind(1)
        return [torch.cat(levels).to(pixels.device), octaves, low]

    def _tiles(self, photo: np.ndarray, factor: float, random: np.random.Generator, *, scanned: bool) -> np.ndarray:
        """Tiles (N, 3, 128, 128) of a photo (H, W, 3), one in each cell of a grid, enlarged and scanned."""
        kernel = KERNELS[random.integers(len(KERNELS))]
        side = min(int(np.ceil(TILE / factor)) + 2 * _SPARE, *photo.shape[:2])
        scan = scanner(random, blurs=factor > 1, usual=self.options["usual"])
        dusty = scanned and random.random() < self.options["dust"]
        count = self.options["tiles"]
        grid = -(-count // round(count**0.5)), round(count**0.5)
        tiles = []
        for number in range(count):
            cell = divmod(number, grid[1])
            places = zip(cell, grid, photo.shape[:2], strict=True)
            y, x = (int((length - side) * (at + random.random()) / cells) for at, cells, length in places)
            piece = np.ascontiguousarray(photo[y : y + side, x : x + side])
            if factor != 1:
                piece = cv2.resize(piece, None, fx=factor, fy=factor, interpolation=kernel)
            middle = [(length - TILE) // 2 for length in piece.shape[:2]]
            tile = piece[middle[0] : middle[0] + TILE, middle[1] : middle[1] + TILE]
            if dusty:
                tile = _dust(tile, random)
            tiles.append((scan(tile) if scanned else tile).transpose(2, 0, 1))
        return np.stack(tiles)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        aged = degrade(batch.pixels, self.config.recipe, batch.seeds, overlays).aged
        metrics, errors = {}, []
        for name, pixels in (("clean", batch.pixels), ("aged", aged)):
            levels, octaves, _ = self._enlarged(pixels, batch.seeds, [name == "aged"] * len(pixels))
            error = self.net(levels).float() - octaves
            metrics[f"{name}_octaves_off"] = float(error.abs().mean())
            metrics[f"{name}_too_much"] = float((error > 0.5).float().mean())
            errors.append(error.abs().mean())
        return {"score": -float(torch.stack(errors).mean()), **metrics}, aged[:8]


def _dust(tile: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A few hairs and specks, one to three pixels wide, on a tile."""
    tile = np.array(tile, order="C")
    for _ in range(random.integers(0, 4)):
        start, end = random.integers(0, TILE, (2, 2)).tolist()
        level = float(random.choice([0.05, 0.95]))
        cv2.line(tile, start, end, (level,) * 3, int(random.integers(1, 4)), cv2.LINE_AA)
    return tile
