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
_Prepared = tuple[Tensor, Tensor]  # spectra (N, 4, 64) and base-2 logarithms of the factors (N,)


class NativeScaleTask(TrainingTask):
    """Trains `scale` on degraded photos, each enlarged several times by random factors and kernels.

    Options:
        times: how often each photo is enlarged.
        as_it_is: the share that is not enlarged.
        largest: the largest factor.
        tiles: how many tiles are taken of each.
        dust: the share with sharp hairs and specks, of the scanner's glass.
        low: the quantile that is learned: below a half, the network rather says too little, which loses no detail.
    """

    OPTIONS: ClassVar = {"times": 4, "as_it_is": 0.4, "largest": 12.0, "tiles": 9, "dust": 0.2, "low": 0.25}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.resolution < TILE + 2 * _SPARE:
            raise ConfigError(f"resolution: {config.resolution}: wants {TILE + 2 * _SPARE} or more, a tile and its rim")
        self.net = self.load_or_create("scale", NativeScale)

    def networks(self) -> dict[str, Network]:
        return {"scale": self.net}

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> _Prepared:
        return self._enlarged(aged.aged, seeds)

    def forward(self, phase: str, prepared: _Prepared) -> Losses:
        levels, octaves = prepared
        with torch.autocast(levels.device.type, enabled=False):
            missing = octaves - self.net(levels)
        low = self.options["low"]
        return Losses(torch.maximum(low * missing, (low - 1) * missing).mean())

    def _enlarged(self, pixels: Tensor, seeds: list[int]) -> _Prepared:
        levels, octaves = [], []
        for photo, seed in zip(pixels.permute(0, 2, 3, 1).cpu().numpy(), seeds, strict=True):
            random = np.random.default_rng(seed)
            for _ in range(self.options["times"]):
                factor = 1.0
                if random.random() >= self.options["as_it_is"]:
                    factor = self.options["largest"] ** random.random()
                levels.append(levels_of(torch.from_numpy(self._tiles(photo, factor, random))[None]))
                octaves.append(np.log2(factor))
        return torch.cat(levels).to(pixels.device), torch.tensor(octaves, dtype=torch.float32, device=pixels.device)

    def _tiles(self, photo: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
        """Tiles (N, 3, 128, 128) of a photo (H, W, 3), enlarged and scanned."""
        kernel = KERNELS[random.integers(len(KERNELS))]
        side = min(int(np.ceil(TILE / factor)) + 2 * _SPARE, *photo.shape[:2])
        scan = scanner(random, blurs=factor > 1)
        dusty = random.random() < self.options["dust"]
        tiles = []
        for _ in range(self.options["tiles"]):
            y, x = (random.integers(0, length - side, endpoint=True) for length in photo.shape[:2])
            piece = np.ascontiguousarray(photo[y : y + side, x : x + side])
            if factor != 1:
                piece = cv2.resize(piece, None, fx=factor, fy=factor, interpolation=kernel)
            middle = [(length - TILE) // 2 for length in piece.shape[:2]]
            tile = piece[middle[0] : middle[0] + TILE, middle[1] : middle[1] + TILE]
            if dusty:
                tile = _dust(tile, random)
            tiles.append(scan(tile).transpose(2, 0, 1))
        return np.stack(tiles)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        aged = degrade(batch.pixels, self.config.recipe, batch.seeds, overlays).aged
        metrics, errors = {}, []
        for name, pixels in (("clean", batch.pixels), ("aged", aged)):
            levels, octaves = self._enlarged(pixels, batch.seeds)
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
