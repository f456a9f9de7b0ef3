"""A baseline for the translation: a plain U-Net of the same cost, trained on the same number of crops.

python benchmarks/yardstick.py train --data-dir data --minutes 20 -o runs/yardstick
python benchmarks/yardstick.py compare PHOTOS --overlays damage-val-000.tar --weights runs/yardstick

The U-Net (Ronneberger et al. 2015, with residual blocks) has the same input as the translation, filled photos and their
masks, and predicts the difference to the truth. `train` uses the settings of configs/translation.yaml; `compare` prints
PSNR, SSIM and perceptual distance of the whole pipeline with either of them.
"""

import argparse
import logging
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self
from unittest.mock import patch

import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bringback import stages
from bringback.degradations import DegradedBatch, OverlayBank
from bringback.evaluation.protocol import protocol_table, run_protocol
from bringback.models.base import Network
from bringback.models.layers import ResidualBlock, pad_to, zero_init
from bringback.models.translation.mapping import LatentMapping, translate
from bringback.models.translation.vae import VAE
from bringback.ops.masks import fill_mask
from bringback.ops.tiling import run_tiled
from bringback.runtime.compute import Compute
from bringback.stages.record import Restoration
from bringback.training.config import TrainConfig, load_config
from bringback.training.data import Batch
from bringback.training.loop import train
from bringback.training.task import Losses
from bringback.training.tasks.filled import Filled, FilledTask, filled_pairs, validate_restoration
from bringback.training.tasks.translation import TranslationTask, pixel_losses
from bringback.weights.checkpoints import Checkpoints

CONFIG = Path(__file__).parents[1] / "configs" / "translation.yaml"


class PlainUNet(Network):
    """Filled photos (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) -> restored photos.

    Any size; starts as the identity.
    Args: widths: channels of the levels at 1/2, 1/4, ... of the size; blocks: residual blocks per level and side.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 160), blocks: tuple[int, ...] = (1, 2, 2, 3)) -> None:
        super().__init__()
        self.stem, self.head = (nn.Conv2d(*pair, 3, padding=1) for pair in ((16, widths[0]), (widths[0], 12)))
        zero_init(self.head)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.before, self.after = (
            nn.ModuleList(
                nn.Sequential(*(ResidualBlock(w) for _ in range(n))) for w, n in zip(widths, blocks, strict=True)
            )
            for _ in range(2)
        )

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        x = F.pixel_unshuffle(pad_to(torch.cat([pixels * 2 - 1, mask], 1), 2 ** len(self.before)), 2)
        x, skips = self.stem(x), []
        for before, down in zip(self.before, [*self.down, nn.Identity()], strict=True):
            skips.append(before(x))
            x = down(skips[-1])
        x = self.after[-1](x)
        for up, after, skip in zip(reversed(self.up), reversed(self.after[:-1]), reversed(skips[:-1]), strict=True):
            x = after(skip + F.interpolate(up(x), scale_factor=2.0, mode="nearest"))
        return pixels + F.pixel_shuffle(self.head(x), 2)[..., :height, :width]


class YardstickTask(FilledTask):
    """Trains the plain U-Net like the translation: on the same pictures, with the same pixel losses."""

    OPTIONS: ClassVar = TranslationTask.OPTIONS

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("yardstick", PlainUNet)
        self.detector = self.load_detector()

    def networks(self) -> dict[str, Network]:
        return {"yardstick": self.net}

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> Filled:
        return filled_pairs(aged, seeds, self.detector)

    def forward(self, phase: str, prepared: Filled) -> Losses:
        pixels, mask, truth = prepared
        made = self.net(pixels, mask).float()
        parts = pixel_losses(made, truth)
        return Losses(parts["l1"] + self.options["log"] * parts["log"], parts)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        def restore(aged: DegradedBatch) -> tuple[Filled, Tensor]:
            prepared = self.prepare_aged(aged, batch.seeds)
            return prepared, self.net(prepared[0], prepared[1])

        return validate_restoration(batch, overlays, restore)


class Yardstick:
    """The U-Net as the stage `translate`."""

    name, weights = "translate", Path()

    def __init__(self, network: PlainUNet) -> None:
        self.network = network

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute) -> Self:
        return cls(Checkpoints(cls.weights).load("yardstick", PlainUNet))

    def __call__(self, restoration: Restoration) -> Restoration:
        tensors = [restoration.pixels, fill_mask(restoration.damage())]
        restoration.pixels = run_tiled(self.network, tensors, tile=640, overlap=96, multiple=16).clamp(0, 1)
        return restoration


def gmac(checkpoints: Checkpoints) -> tuple[float, float]:
    """The cost of the translation and of the U-Net for 256x256 pixels, in GMAC (10^9 multiply-adds)."""
    pixels, mask = torch.zeros(1, 3, 256, 256), torch.zeros(1, 1, 256, 256)
    old, new = (checkpoints.load(name, VAE) for name in ("old_vae", "clean_vae"))
    mapping = checkpoints.load("mapping", LatentMapping)
    costs = []
    for compute in (lambda: translate(old, mapping, new, pixels, mask), lambda: PlainUNet()(pixels, mask)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            compute()
        costs.append(counter.get_total_flops() / 2e9)
    return costs[0], costs[1]


def main() -> None:
    """Train or compare, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    learn, compare = commands.add_parser("train"), commands.add_parser("compare")
    learn.add_argument("--data-dir", required=True)
    learn.add_argument("--minutes", type=float, required=True)
    learn.add_argument("-o", "--out", required=True)
    learn.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override config values")
    compare.add_argument("photos", type=Path)
    compare.add_argument("--overlays", type=Path, action="append", default=[])
    compare.add_argument("--backbone", default="")
    compare.add_argument("--limit", type=int)
    compare.add_argument("--weights", type=Path, required=True, help="the output folder of `train`")
    options = parser.parse_args()
    if options.command == "train":
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        places = [f"data_dir={options.data_dir}", f"output_dir={options.out}", f"max_train_minutes={options.minutes}"]
        config = load_config(CONFIG, [*places, "init_from=", "network={}", *options.set])
        set_seed(config.seed)
        print("GMAC at 256x256: translation {:.2f}, U-Net {:.2f}".format(*gmac(Checkpoints())))
        train(YardstickTask(config), config)
        return
    settings = {"overlays": options.overlays, "backbone": options.backbone, "limit": options.limit}
    print("translation\n" + protocol_table(run_protocol(options.photos, **settings)), flush=True)
    Yardstick.weights = options.weights
    known = dict(stages.STAGES) | {"translate": Yardstick}
    with patch.dict(stages.FAMILIES, lean=known):
        print("U-Net\n" + protocol_table(run_protocol(options.photos, **settings)))


if __name__ == "__main__":
    main()
