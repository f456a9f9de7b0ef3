"""Engraved lines, and noise, which they are told from."""

import torch

from bringback.ops.hatching import is_hatched


def test_lines_are_told_from_noise_and_from_a_smooth_picture() -> None:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    smooth = ((x + y) / 256).expand(1, 3, -1, -1)
    lines = (smooth + 0.3 * torch.sin(1.6 * (y + 6 * torch.sin(x / 20)))).clamp(0, 1)
    noise = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert is_hatched(lines)
    assert not is_hatched(smooth) and not is_hatched((smooth + 0.2 * noise).clamp(0, 1))
