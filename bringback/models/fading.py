"""Has a photo faded? Judged by what it shows, before and after its correction, and by its tones."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 128  # pixels of the squares that are looked at
FACTS = 3 * 64 + 3 * 33 + 1
# The first four stages of EfficientNet-Lite0: kernel, stride, channels, blocks; the first one does not expand.
_STAGES = ((3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3))
_STEM, _EXPANSION = 32, 6
_LIMIT = 5.0  # standard deviations to which facts are clamped: what is farther off was never seen


def _as_it_is(x: Tensor) -> Tensor:
    return x


class _Same(nn.Conv2d):
    """Convolution padded as in TensorFlow, where the weights come from: at the right and bottom if it is uneven."""

    def forward(self, x: Tensor) -> Tensor:
        more = self.kernel_size[0] - self.stride[0]
        return super().forward(F.pad(x, (more // 2, more - more // 2) * 2))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection (Sandler et al. 2018, MobileNetV2), batch norms folded into them.

    Args: before, after: channels; size, stride: of the depthwise convolution; expansion: of the channels, 1 for none.
    """

    def __init__(self, before: int, after: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = nn.Conv2d(before, wide, 1) if expansion > 1 else None
        self.depthwise = _Same(wide, wide, size, stride, groups=wide)
        self.project = nn.Conv2d(wide, after, 1)
        self.keeps = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        made = self.project(F.relu6(self.depthwise(wide)))
        return x + made if self.keeps else made


class Trunk(nn.Module):
    """Photos (B, 3, 128, 128) in [0, 1] -> what they show (B, 144): mean features at 1/4, 1/8 and 1/16 of the side.

    The beginning of EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet and not trained further.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Same(3, _STEM, 3, 2)
        widths = [_STEM, *(after for _, _, after, _ in _STAGES)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    InvertedResidual(
                        after if n else before, after, size, 1 if n else stride, _EXPANSION if number else 1
                    )
                    for n in range(blocks)
                )
            )
            for number, ((before, after), (size, stride, _, blocks)) in enumerate(
                zip(pairwise(widths), _STAGES, strict=True)
            )
        )

    def forward(self, photos: Tensor) -> Tensor:
        x = F.relu6(self.stem(photos * 2 - 1))
        seen = []
        for stage in self.stages:
            x = stage(x)
            seen.append(x.mean((2, 3)))
        return torch.cat(seen[1:], 1)


class FadingJudge(nn.Module):
    """A photo, its correction (B, 3, 128, 128), facts on its tones (B, 292) -> how far to correct it, (B,) in [0, 1].

    A narrow range of tones does not tell a faded photo from one of fog, snow or night; what they show does. Trained for
    the least error of what is blended by its answer, so it is the surer of fading the nearer to 1. Several small
    networks are asked, and the mean of their answers is taken.
    Args: members: how many; hidden: units of each.
    """

    def __init__(self, members: int = 4, hidden: int = 64) -> None:
        super().__init__()
        self.trunk = Trunk().requires_grad_(False)
        seen = FACTS + 2 * sum(after for _, _, after, _ in _STAGES[1:])
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("spread", torch.ones(seen))
        self.first = nn.Linear(seen, members * hidden)
        self.last = nn.Conv1d(members * hidden, members, 1, groups=members)

    def forward(self, photo: Tensor, corrected: Tensor, facts: Tensor) -> Tensor:
        """The mean of the answers to the photo and to its mirror image."""
        answers = [
            self.decide(torch.cat([facts, self.trunk(a), self.trunk(b)], 1))
            for a, b in ((photo, corrected), (photo.flip(-1), corrected.flip(-1)))
        ]
        return torch.stack(answers).mean(0)

    def decide(self, seen: Tensor) -> Tensor:
        """The answer (B,) from facts and what both photos show, (B, 580)."""
        return self.odds(seen).sigmoid().mean(1)

    def odds(self, seen: Tensor, drop: Callable[[Tensor], Tensor] = _as_it_is) -> Tensor:
        """What each member answers, (B, members), as log odds; `drop` is the dropout in training."""
        near = ((seen - self.mean) / self.spread).clamp(-_LIMIT, _LIMIT)
        hidden = F.gelu(self.first(drop(near)))
        return self.last(drop(hidden)[..., None])[..., 0]
