"""The partial non-local block: damaged places look at undamaged ones, in memory linear in the number of positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.nets.blocks import silence


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None, budget: int = 1 << 24) -> Tensor:
    """softmax(scale q k^T) v for (N, d), (M, d), (M, c) -> (N, c), M > 0; `scale` is 1 / sqrt(d) unless given.

    torch's fused attention holds no scores where it has a kernel for the device, and the rows go in chunks of at most
    `budget` scores for where it has none, so memory grows with N + M and not with their product.
    """
    rows = max(1, budget // key.shape[0])
    keys, values = key[None, None], value[None, None]
    return torch.cat(
        [F.scaled_dot_product_attention(q[None, None], keys, values, scale=scale)[0, 0] for q in query.split(rows)]
    )


class PartialNonLocal(nn.Module):
    """Attention over undamaged positions only (Wan et al. 2020, section 3.3), added where the damage is.

    x (B, C, H, W) and mask (B, 1, H, W), 1 = damaged -> (B, C, H, W): x + mask * attention(x). Positions with a mask
    over 1/2 are no keys. The original's softmax over all keys, times validity, renormalised, is the same thing as this
    softmax over the valid keys alone. Where no key is valid there is nothing to attend to.
    Args: channels; inner: of queries, keys and values; max_keys: above so many keys, they are averaged over cells of
    the picture before they are attended to (cost stays linear for large photos).
    """

    def __init__(self, channels: int, inner: int, max_keys: int = 4096) -> None:
        super().__init__()
        self.max_keys = max_keys
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        silence(self.out)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        valid = (mask <= 0.5).to(x.dtype)
        query, key, value = self.query(x), self.key(x), self.value(x)
        cells = 1
        while x.shape[-2] * x.shape[-1] / cells**2 > self.max_keys:
            cells += 1
        if cells > 1:
            share = F.avg_pool2d(valid, cells, ceil_mode=True)
            key, value = (F.avg_pool2d(t * valid, cells, ceil_mode=True) / share.clamp_min(1e-6) for t in (key, value))
            valid = (share > 0).to(x.dtype)
        found = []
        # the number of valid keys differs from photo to photo
        for q, k, v, keep in zip(query.flatten(2), key.flatten(2), value.flatten(2), valid.flatten(1) > 0, strict=True):
            if keep.any():
                found.append(attend(q.T, k.T[keep], v.T[keep]).T)
            else:
                found.append(torch.zeros_like(q))
        return x + mask * self.out(torch.stack(found).view_as(query))
