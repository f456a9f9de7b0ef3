"""Face generator: coarse to fine, modulated by the degraded face at every scale (SPADE: Park et al. 2019)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import ChannelNorm, zero_init

_REMOVED = 8.0  # makes what other networks removed, a few of 255, as strong as the faces themselves
Box = tuple[int, int, int, int]  # left, top, right, bottom


class _Modulated(nn.Module):
    """Residual block with spatially adaptive modulation by the degraded face."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = ChannelNorm()
        self.told = nn.Conv2d(4, hidden, 3, padding=1)
        self.gamma_beta = nn.Conv2d(hidden, 2 * channels, 1)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        zero_init(self.second)
        nn.init.normal_(self.second.weight, std=0.1 * (channels * 9) ** -0.5)
        zero_init(self.gamma_beta)

    def forward(self, x: Tensor, degraded: Tensor) -> Tensor:
        in_place = not torch.is_grad_enabled()
        gamma, beta = self.gamma_beta(F.silu(self.told(degraded), inplace=in_place)).chunk(2, 1)
        normed = self.norm(x)
        modulated = torch.addcmul(normed, normed, gamma).add_(beta)  # as * (1 + gamma) + beta, in fewer passes
        return self.second(F.silu(self.first(modulated), inplace=in_place)).add_(x)


class _Scale(nn.ModuleList):
    """The modulated blocks of one scale."""

    def __init__(self, channels: int, blocks: int, hidden: int) -> None:
        super().__init__(_Modulated(channels, hidden) for _ in range(blocks))

    def forward(self, x: Tensor, degraded: Tensor) -> Tensor:
        for block in self:
            x = block(x, degraded)
        return x


class FaceGenerator(Network, license="apache-2.0", tags=["face-restoration"]):
    """Aligned faces (B, 3, S, S) in [0, 1] -> restored faces, same shape; S is a multiple of 64, 256 in our use.

    The mask (B, 1, S, S) marks filled pixels, 1 = filled, whose content is a guess; None means no pixel was filled. How
    the faces `came` (B, 3, S, S), before other networks cleaned them, tells what those removed; None means nothing. An
    encoder goes down to 1/64 of the side and a decoder up again, modulated at each scale by the degraded face. Predicts
    the residual and starts as the identity.
    Args: widths: channels at 1/4, 1/8, ... of the side (face and mask enter as 4x4 blocks of pixels); blocks: at each
    scale of the decoder; hidden: channels of the modulation.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 96, 128, 192, 192),
        blocks: tuple[int, ...] = (4, 3, 2, 2, 2),
        hidden: int = 24,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(64, widths[0], 3, padding=1)
        self.stem_removed = nn.Conv2d(48, widths[0], 3, padding=1, bias=False)
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in steps)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in steps)
        self.build = nn.ModuleList(_Scale(w, n, hidden) for w, n in zip(widths, blocks, strict=True))
        self.head = nn.Conv2d(widths[0], 48, 3, padding=1)
        zero_init(self.stem_removed)
        zero_init(self.head)

    def forward(self, degraded: Tensor, mask: Tensor | None = None, came: Tensor | None = None) -> Tensor:
        return self.inside(degraded, mask, None, came)

    def inside(self, degraded: Tensor, mask: Tensor | None, box: Box | None, came: Tensor | None = None) -> Tensor:
        """`forward` for where only a box is needed; outside it the face comes back as it came. None: the whole.

        The coarse scales see the whole face. The fine ones, which take most of the time, are computed in the box alone,
        which grows by one place on each side from scale to scale: near its edges the result differs a little.
        """
        mask = torch.zeros_like(degraded[:, :1]) if mask is None else mask
        dtype = self.stem.weight.dtype
        told = torch.cat([(degraded * 2 - 1).to(dtype), mask.to(dtype)], 1)
        blocks, means = F.conv2d(told, _in_blocks(told), stride=4).split((64, 4), 1)
        x = self.stem(blocks)
        if came is not None:
            x = x + self.stem_removed(F.pixel_unshuffle((came - degraded) * _REMOVED, 4).to(dtype))
        seen = [means]
        skips = [x]
        for down in self.down:
            x = down(F.silu(x))
            skips.append(x)
            seen.append(F.avg_pool2d(seen[-1], 2))
        shown = None
        for level in reversed(range(len(skips))):
            places = box and _places(box, level, *seen[level].shape[:-3:-1])
            if level < len(skips) - 1:
                x = F.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
                left, top = (2 * shown[0], 2 * shown[1]) if shown else (0, 0)
                x = _cut(skips[level], places) + _cut(x, places, left, top)
            # one copy for all blocks: each convolution would make its own
            x = self.build[level](x, _cut(seen[level], places).contiguous(memory_format=torch.channels_last))
            shown = places
        change = F.pixel_shuffle(self.head(x), 4).to(degraded.dtype)
        result = degraded.clone()
        left, top, right, bottom = (4 * edge for edge in shown) if shown else (0, 0, *degraded.shape[:-3:-1])
        # scaled by 0.1, so that one optimizer step changes the image by less than noise
        result[..., top:bottom, left:right].add_(change, alpha=0.1)
        return result


def _in_blocks(like: Tensor) -> Tensor:
    """A kernel (68, 4, 4, 4) that gives the 4x4 pixels of a block as channels, as `F.pixel_unshuffle` does, and their
    means. As a convolution, because that leaves channels last, and takes a quarter of the time on a CPU.
    """
    pixels = torch.eye(64, dtype=like.dtype, device=like.device).view(64, 4, 4, 4)
    return torch.cat([pixels, pixels.view(4, 16, 4, 4, 4).mean(1)]).contiguous(memory_format=torch.channels_last)


def _places(box: Box, level: int, width: int, height: int) -> Box:
    """What is computed for a box of pixels at a level of this size."""
    size = 4 << level
    left, top = (max(edge // size - level, 0) for edge in box[:2])
    right, bottom = (min(-(-edge // size) + level, side) for edge, side in zip(box[2:], (width, height), strict=True))
    return left, top, right, bottom


def _cut(x: Tensor, box: Box | None, left: int = 0, top: int = 0) -> Tensor:
    """A box of features, or all; the first of them is at `left` and `top` of where the box is."""
    return x if box is None else x[..., box[1] - top : box[3] - top, box[0] - left : box[2] - left]
