"""What the translation must beat: a plain U-Net, as costly, trained as long on the same pictures, put in its place.

python benchmarks/yardstick.py train --data-dir data --minutes 17 -o runs/yardstick --set train_batch_size=32
python benchmarks/yardstick.py compare PHOTOS --overlays damage-val-000.tar --weights runs/yardstick

The U-Net (Ronneberger et al. 2015) gets what the mapping gets, filled photos and their masks, and learns what is
missing to the truth, by the same losses. `train` takes the settings of configs/mapping.yaml and says what both cost;
`compare` prints PSNR, SSIM and perceptual distance of the whole pipeline with either.
"""

import argparse
import logging
from itertools import pairwise
from pathlib import Path
from typing import Self
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bringback import stages
from bringback.aging import OverlayBank
from bringback.checkpoints import Checkpoints
from bringback.compute import Compute
from bringback.nets.blocks import Network, pad_to, silence
from bringback.nets.mapping import Mapping, translate
from bringback.nets.vae import VAE
from bringback.protocol import protocol_table, run_protocol
from bringback.restoration import Restoration
from bringback.stages.fill import replaced
from bringback.tiling import run_tiled
from bringback.training.config import TrainConfig, load_config
from bringback.training.data import Batch
from bringback.training.loop import train
from bringback.training.losses import charbonnier
from bringback.training.task import Losses, Phase
from bringback.training.tasks.mapping import MappingTask

CONFIG = Path(__file__).parents[1] / "configs" / "mapping.yaml"


def _convolutions(channels_in: int, channels: int) -> nn.Sequential:
    layers = [nn.Conv2d(a, channels, 3, padding=1) for a in (channels_in, channels)]
    return nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU())


class PlainUNet(Network):
    """Filled photos (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) -> restored photos, any size, at first the identity.

    Args: widths: channels of each level, each half as large as the one before.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 244)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_convolutions(a, b) for a, b in pairwise((4, *widths)))
        self.up = nn.ModuleList(_convolutions(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 3, 3, padding=1)
        silence(self.head)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        x, skips = pad_to(torch.cat([pixels * 2 - 1, mask], 1), 2 ** len(self.up)), []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for level, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            x = level(torch.cat([skip, F.interpolate(x, scale_factor=2.0, mode="bilinear")], 1))
        return pixels + self.head(x)[..., :height, :width]


class YardstickTask(MappingTask):
    """Trains the mapping and the plain U-Net side by side: step by step on the same pictures."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        begun = Checkpoints(config.init_from) if config.init_from else None
        self.plain = begun.load("yardstick", PlainUNet) if begun else PlainUNet()
        self.plain.requires_grad_(True)
        self.judging_plain = False

    def networks(self) -> dict[str, Network]:
        return {**super().networks(), "yardstick": self.plain}

    def saved(self, name: str, sha256: str) -> None:
        if name != "yardstick":
            super().saved(name, sha256)

    def phases(self) -> list[Phase]:
        plain = {id(parameter) for parameter in self.plain.parameters()}
        ours = [p for p in self.parameters() if p.requires_grad and id(p) not in plain]
        return [Phase("generator", ours), Phase("yardstick", self.plain.parameters())]

    def forward(self, phase: str, prepared: tuple[Tensor, Tensor, Tensor]) -> Losses:
        if phase == "generator":
            return super().forward(phase, prepared)
        pixels, mask, truth = prepared
        made = self.plain(pixels, mask).float()
        parts = {"plain_l1": charbonnier(made, truth), "plain_squares": F.mse_loss(made, truth)}
        total = parts["plain_l1"] + 10 * parts["plain_squares"]
        if self.distance is not None:
            total = total + self.options["perceptual"] * self.distance(made, truth).mean()
        return Losses(total, parts)

    def _restore(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return self.plain(pixels, mask) if self.judging_plain else super()._restore(pixels, mask)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        self.judging_plain = True
        plain, _ = super().validate(batch, overlays)
        self.judging_plain = False
        metrics, pictures = super().validate(batch, overlays)
        return metrics | {f"plain_{name}": value for name, value in plain.items()}, pictures


class Yardstick:
    """The U-Net as the stage `translate`."""

    name, weights = "translate", Path()

    def __init__(self, network: PlainUNet) -> None:
        self.network = network

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute) -> Self:
        return cls(Checkpoints(cls.weights).load("yardstick", PlainUNet))

    def __call__(self, restoration: Restoration) -> Restoration:
        tensors = [restoration.pixels, replaced(restoration.damage())]
        restoration.pixels = run_tiled(self.network, tensors, tile=640, overlap=96, multiple=16).clamp(0, 1)
        return restoration


def gmac(mapping: Mapping) -> tuple[float, float]:
    """What the translation and the U-Net cost on 256x256 pixels, in 10^9 multiplications."""
    pixels, mask, shipped = torch.zeros(1, 3, 256, 256), torch.zeros(1, 1, 256, 256), Checkpoints(None)
    parts = shipped.load("old_vae", VAE), mapping, shipped.load("clean_vae", VAE)
    costs = []
    for work in (lambda: translate(*parts, pixels, mask), lambda: PlainUNet()(pixels, mask)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            work()
        costs.append(counter.get_total_flops() / 2e9)
    return costs[0], costs[1]


def main() -> None:
    """Read the arguments, train or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    learn, compare = commands.add_parser("train"), commands.add_parser("compare")
    learn.add_argument("--data-dir", required=True)
    learn.add_argument("--minutes", type=float, required=True, help="of both, side by side")
    learn.add_argument("-o", "--out", required=True)
    learn.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay over configs/mapping.yaml")
    compare.add_argument("photos", type=Path)
    compare.add_argument("--overlays", type=Path, action="append", default=[])
    compare.add_argument("--backbone", default="")
    compare.add_argument("--limit", type=int)
    compare.add_argument("--weights", type=Path, required=True, help="the folder that `train` wrote")
    options = parser.parse_args()
    if options.command == "train":
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        places = [f"data_dir={options.data_dir}", f"output_dir={options.out}", f"max_train_minutes={options.minutes}"]
        config = load_config(CONFIG, [*places, *options.set])
        torch.manual_seed(config.seed)
        task = YardstickTask(config)
        print("GMAC at 256x256: translation {:.2f}, U-Net {:.2f}".format(*gmac(task.net)))
        train(task, config)
        return
    settings = {"overlays": options.overlays, "backbone": options.backbone, "limit": options.limit}
    print(
        "translation\n" + protocol_table(run_protocol(options.photos, weights=options.weights, **settings)), flush=True
    )
    Yardstick.weights = options.weights
    known = dict(stages.STAGES) | {"translate": Yardstick}
    with patch.dict(stages.FAMILIES, lean=known):
        print("U-Net\n" + protocol_table(run_protocol(options.photos, **settings)))


if __name__ == "__main__":
    main()
