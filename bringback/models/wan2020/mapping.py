"""The original's three mappings: for unscratched, scratched, and high-resolution scratched photos."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.wan2020.attention import PatchAttention, ResidualNonLocal
from bringback.models.wan2020.blocks import Normed, NormedBlock


class PaperMapping(Network, license="mit", tags=["photo-restoration"]):
    """Old latent (B, C, h, w) and binary damage mask (B, 1, H, W) -> clean latent (B, C, h, w).

    The mask has the photo's size, 1 = damaged; without `attention` it is ignored. Instance norms use the whole latent.
    Args: widths: channels of the latent and of each layer of the stem; blocks: residual blocks outside the attention,
    two more with "patches"; attention: from damaged to undamaged positions: "" for none, "nonlocal" (Wan et al. 2020,
    section 3.3), or "patches", which copies the most similar undamaged patch of 8x8, 4x4 and 2x2 positions, for photos
    of high resolution. Other values raise ValueError.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        blocks: int = 6,
        attention: Literal["", "nonlocal", "patches"] = "",
    ) -> None:
        super().__init__()
        deep = widths[-1]
        if attention not in ("", "nonlocal", "patches"):
            raise ValueError(f"attention {attention!r}: '', 'nonlocal' or 'patches'")
        self.stem = nn.Sequential(*(_normed(a, b) for a, b in pairwise(widths)))
        looks: dict[int, nn.Module] = {}  # by index of the block that follows
        if attention == "nonlocal":
            looks = {0: ResidualNonLocal(deep)}
        elif attention == "patches":
            looks = {at: PatchAttention(deep, size) for at, size in ((2, 8), (4, 4), (6, 2))}
            blocks += 2
        middle: list[nn.Module] = []
        for number in range(blocks):
            if number in looks:
                middle.append(looks[number])
            middle.append(NormedBlock(deep))
        self.middle = nn.ModuleList(middle)
        back = widths[:0:-1]
        self.tail = nn.Sequential(
            *(_normed(a, b) for a, b in pairwise(back)), nn.Conv2d(back[-1], widths[0], 3, padding=1)
        )

    def forward(self, latent: Tensor, mask: Tensor) -> Tensor:
        x = self.stem(latent)
        for layer in self.middle:
            x = layer(x) if isinstance(layer, NormedBlock) else layer(x, mask)
        return self.tail(x)


def _normed(channels_in: int, channels: int) -> Normed:
    return Normed(nn.Conv2d(channels_in, channels, 3, padding=1))
