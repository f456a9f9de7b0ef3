"""Partial non-local block: damaged positions attend to undamaged ones, in memory linear in the number of positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.layers import zero_init

# Scores that a CPU has in bfloat16 at once: 10 bytes each, 160 MB for a heavily damaged tile if they were as many as
# elsewhere. These fit into its cache, too.
_ON_CPU = 1 << 20


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None, budget: int = 1 << 24) -> Tensor:
    """softmax(scale q k^T) v for (N, d), (M, d), (M, c) -> (N, c), M > 0; `scale` is 1 / sqrt(d) unless given.

    torch's fused attention does not store the scores if it has a kernel for the device. In case it has none, queries
    are split into chunks of at most `budget` scores, so memory is O(N + M). On the CPU it gains nothing in bfloat16;
    there the scores are computed in float32, since rounding them would affect the softmax most.
    """
    rows = max(1, budget // key.shape[0])
    if value.dtype == torch.bfloat16 and value.device.type == "cpu":
        scale = query.shape[1] ** -0.5 if scale is None else scale
        rows = max(1, min(budget, _ON_CPU) // key.shape[0])
        with torch.autocast("cpu", enabled=False):
            keys = key.float().T
            shares = (torch.softmax((q.float() * scale) @ keys, -1).to(value.dtype) for q in query.split(rows))
            return torch.cat([share @ value for share in shares])
    keys, values = key[None, None], value[None, None]
    return torch.cat(
        [F.scaled_dot_product_attention(q[None, None], keys, values, scale=scale)[0, 0] for q in query.split(rows)]
    )


class PartialNonLocal(nn.Module):
    """Attention over undamaged positions only (Wan et al. 2020, section 3.3), added to damaged ones.

    x (B, C, H, W) and mask (B, 1, H, W), 1 = damaged -> (B, C, H, W): x + mask * attention(x). Positions with a mask
    above 0.5 are not keys. The original multiplies the softmax over all keys by validity and renormalizes, which is
    equivalent to the softmax over valid keys used here. Without valid keys the attention is zero before its projection.
    For tiles, `seen` provides keys and values of the whole photo: `look` of each tile's own part, summed by `pool`.
    Args: channels; inner: channels of queries, keys and values; max_keys: larger numbers of keys are averaged over
    cells of the image, so that the cost stays linear for large photos.
    """

    def __init__(self, channels: int, inner: int, max_keys: int = 4096) -> None:
        super().__init__()
        self.inner, self.max_keys = inner, max_keys
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        zero_init(self.out)

    def look(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, 2 * inner + 1, H, W) float32: keys, values and validity (1 or 0), all zero where invalid."""
        valid = (mask <= 0.5).to(x.dtype)
        return torch.cat([self.key(x) * valid, self.value(x) * valid, valid], 1).float()

    def pool(self, looked: Tensor, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Tensor:
        """Sums over the cells (B, 2 * inner + 1, h, w) of an image of `size` positions.

        `looked` is the part of it that starts at `origin`; the results of disjoint parts can be added.
        """
        cells = 1
        while size[0] * size[1] / cells**2 > self.max_keys:
            cells += 1
        if cells == 1 and looked.shape[-2:] == size:
            return looked
        for axis, side, first in zip((-2, -1), size, origin, strict=True):
            # pad to whole cells, sum in the same order on every device, then pad to the image
            before = first % cells
            after = -(before + looked.shape[axis]) % cells
            padding = (before, after) if axis == -1 else (0, 0, before, after)
            sums = F.pad(looked, padding).unflatten(axis, (-1, cells)).sum(axis)
            begin, count = first // cells, -(-side // cells)
            around = (begin, count - begin - sums.shape[axis])
            looked = F.pad(sums, around if axis == -1 else (0, 0, *around))
        return looked

    def forward(self, x: Tensor, mask: Tensor, seen: Tensor | None = None) -> Tensor:
        holes = mask.flatten(1) > 0
        if torch.is_grad_enabled() and self.query.weight.requires_grad:
            holes = torch.ones_like(holes)  # so that every weight gets a gradient
        elif not holes.any():
            return x
        if seen is None:
            seen = self.pool(self.look(x, mask), (x.shape[-2], x.shape[-1]))
        found = torch.zeros_like(query := self.query(x).flatten(2))
        # one by one, as the number of valid keys differs
        for number, hole in enumerate(holes):
            sums, count = seen[number % len(seen)].flatten(1).split([2 * self.inner, 1])
            keep = count[0] > 0
            if keep.any() and hole.any():
                keys = (sums[:, keep] / count[:, keep]).to(query.dtype).T
                found[number, :, hole] = attend(query[number, :, hole].T, *keys.split(self.inner, 1)).T.to(found.dtype)
        return x + mask * self.out(found.view(*found.shape[:2], *x.shape[-2:]))
