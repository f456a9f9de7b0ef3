"""Second-order degradation: two rounds of operations in random order and at random resolutions.

Simulates prints that are copied, screened, scanned, shrunk, compressed and enlarged again. The steps of each sample are
drawn before anything is computed; samples whose next step has the same kind and size are batched.
"""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bringback.degradations.eval_recipes import DegradedBatch, Overlays, completed
from bringback.degradations.rng import Draws
from bringback.degradations.second_order import codecs, filters, noise, resampling, surfaces
from bringback.degradations.second_order.spectra import together
from bringback.ops.color import luminance

CLEAN, GRAY = 0.12, 0.3  # shares of the samples
FACTORS = {1.25: 2, 1.5: 4, 2.0: 4, 2.5: 3, 3.0: 2.5, 4.0: 1, 5.0: 0.35, 6.0: 0.2}  # downscaling: sampling weight
PHASES = (-0.375, -0.25, 0.0, 0.0, 0.25, 0.375)
SMALLEST = 16  # minimum side in pixels after shrinking
_RANDOM = {noise.noise, noise.impulses, noise.rows, surfaces.silk, surfaces.linen, surfaces.rough}  # take `draws`

Size = tuple[int, int]


class Step(NamedTuple):
    """An operation, its arguments shared by a batch, and its per-sample arguments."""

    operation: Callable[..., Tensor]
    shared: tuple[Any, ...] = ()
    own: tuple[Any, ...] = ()


class Round(NamedTuple):
    """Parameters of one round: `severity` in [0, 1], current downscaling factor `scale`, `color` or gray."""

    dice: Random
    severity: float
    scale: float
    color: bool

    def strength(self) -> float:
        """Random strength of one operation, in [0, 1]."""
        return self.severity * self.dice.uniform(0.25, 1)


def second_order(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """Two rounds of blur, noise, resizing, codecs, sharpening, screens and paper; keeps tones. 12 % stay untouched."""
    return _degraded(pixels, draws, program)


def small_copy(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A small noisy file that was enlarged 1.5 to 6 times, its noise and its blocks with it; keeps tones."""
    return _degraded(pixels, draws, enlarged)


def _degraded(pixels: Tensor, draws: Draws, make: Callable[[Random, Size, bool], list[Step]]) -> DegradedBatch:
    """Carry out for each photo the steps that `make` draws; three tenths are gray."""
    size = pixels.shape[-2], pixels.shape[-1]
    dice = [Random(seed) for seed in draws.integers(0, 2**62)]
    is_gray = [die.random() < GRAY for die in dice]
    programs = [make(die, size, not gray) for die, gray in zip(dice, is_gray, strict=True)]
    photos = [luminance(photo[None])[0] if gray else photo for photo, gray in zip(pixels, is_gray, strict=True)]
    truth, aged = (
        torch.stack([photo.expand(3, -1, -1) for photo in batch])
        for batch in (photos, carried_out(programs, photos, draws))
    )
    return completed(aged, truth, None, torch.tensor(is_gray, device=pixels.device))


def carried_out(programs: Sequence[Sequence[Step]], photos: Sequence[Tensor], draws: Draws) -> list[Tensor]:
    """Apply to each photo (C, H, W) its program."""
    photos = list(photos)
    for turn in range(max(map(len, programs))):
        groups: dict[Any, list[int]] = {}
        for i, (steps, photo) in enumerate(zip(programs, photos, strict=True)):
            if turn < len(steps):
                step = steps[turn]
                groups.setdefault((step.operation, step.shared, len(step.own), photo.shape), []).append(i)
        for (operation, shared, *_), chosen in groups.items():
            part = (draws[chosen],) if operation in _RANDOM else ()
            own = zip(*(programs[i][turn].own for i in chosen), strict=True)
            done = operation(together([photos[i] for i in chosen]), *part, *shared, *own)
            for i, photo in zip(chosen, done, strict=True):
                photos[i] = photo
    return photos


def program(dice: Random, size: Size, color: bool) -> list[Step]:
    """The random steps for one photo; none for a clean one."""
    if dice.random() < CLEAN:
        return []
    severity = dice.random() ** 1.3
    steps = one_round(dice, size, color, severity, 1.0)
    if dice.random() < 0.6:
        steps += one_round(dice, size, color, severity * dice.uniform(0.2, 0.7), 0.5)
    return steps


def enlarged(dice: Random, size: Size, color: bool) -> list[Step]:
    """The random steps of a small copy: blurred, shrunk, noisy, compressed, and only then enlarged and saved again."""
    severity = dice.random() ** 1.3
    most = max(1.0, min(size) / SMALLEST)
    factor, phase = dice.choice([min(f, most) for f in FACTORS if f >= 1.5]), dice.choice(PHASES)
    full, small, after = (Round(dice, severity * s, f, color) for s, f in ((1, 1.0), (1, factor), (0.5, 1.0)))
    inside = [make(small) for make, chance in _INSIDE if dice.random() < chance]
    dice.shuffle(inside)
    tiny = resampling.shrunk_size(size, factor)
    shrink = Step(resampling.resized, (tiny,), (_pick(dice, resampling.SHRINKING), phase))
    enlarge = Step(resampling.resized, (size,), (_pick(dice, resampling.ENLARGING), phase))
    first, last = ([make(at) for make, chance in _AROUND if dice.random() < chance] for at in (full, after))
    return [*first, shrink, *inside, enlarge, *last, Step(codecs.eight_bit)]


def one_round(dice: Random, size: Size, color: bool, severity: float, likelihood: float) -> list[Step]:
    """A random choice of operations in random order, some of them possibly at reduced resolution."""
    chosen = [make for make, probability in _OPERATIONS if dice.random() < probability * likelihood]
    dice.shuffle(chosen)
    # lost detail cannot be restored, so only high severity shrinks strongly
    most = min(1.5 + 5 * severity, min(size) / SMALLEST)
    factor = _pick(dice, {f: p if f <= most else 0 for f, p in FACTORS.items()}) if most >= min(FACTORS) else 1.0
    if dice.random() > 0.65 * likelihood:
        factor = 1.0
    before = dice.randint(0, len(chosen) // 2) if dice.random() < 0.6 else 0
    during = dice.randint(before, len(chosen)) if dice.random() < 0.6 else len(chosen)
    full, small = Round(dice, severity, 1.0, color), Round(dice, severity, factor, color)
    steps = [make(full) for make in chosen[:before]]
    inside = [make(small) for make in chosen[before:during]]
    if factor > 1:
        tiny, phase = resampling.shrunk_size(size, factor), dice.choice(PHASES)
        shrink = Step(resampling.resized, (tiny,), (_pick(dice, resampling.SHRINKING), phase))
        enlarge = Step(resampling.resized, (size,), (_pick(dice, resampling.ENLARGING), phase))
        inside = [shrink, *inside, enlarge]
    steps += inside + [make(full) for make in chosen[during:]]
    return [*steps, Step(codecs.eight_bit)] if dice.random() < 0.6 else steps


def _pick(dice: Random, weighted: dict[Any, float]) -> Any:
    return dice.choices(list(weighted), list(weighted.values()))[0]


def _between(dice: Random, low: float, high: float) -> float:
    """A log-uniform value."""
    return low * (high / low) ** dice.random()


def _blur(now: Round) -> Step:
    dice = now.dice
    sigma = 0.15 + (0.15 + 2.7 * now.strength()) * dice.random() / now.scale
    kind = dice.random()
    if kind < 0.6:
        ratio = dice.uniform(0.4, 1) if dice.random() < 0.5 else 1.0
        tail = dice.uniform(0, 0.25) if dice.random() < 0.3 else 0.0
        reach = 24 if tail else 8  # two standard deviations of the widest halo
        return Step(filters.gaussian_blur, (reach,), (sigma, ratio, dice.uniform(0, math.pi), tail))
    if kind < 0.78:
        return Step(filters.disc_blur, (), (1.7 * sigma,))
    if kind < 0.9:
        return Step(filters.box_blur, (), (3.2 * sigma, 0.5, dice.uniform(0, math.pi)))
    return Step(filters.box_blur, (), (3 * sigma, 3 * sigma, 0.0))


def _noise(now: Round) -> Step:
    dice = now.dice
    channels = 3 if now.color and dice.random() < 0.65 else 1
    chroma = dice.uniform(0.5, 1) if channels > 1 and dice.random() < 0.35 else 0.0
    profile = _pick(dice, {"flat": 4, "shot": 3, "speckle": 1.5})
    level = (1.5 + 34 * now.strength() * dice.uniform(0.3, 1)) / 255
    level *= {"flat": 1.0, "shot": 1.5, "speckle": 1.7}[profile]
    sigmas = () if dice.random() < 0.35 else (_between(dice, 0.25, max(0.5, 3 / now.scale)),)
    return Step(noise.noise, (channels, profile), (level, chroma, *sigmas))


def _grain(now: Round) -> Step:
    level = (2 + 26 * now.strength()) / 255
    return Step(noise.noise, (1, "grain"), (level, 0.0, _between(now.dice, 0.4, max(0.6, 2 / now.scale))))


def _impulses(now: Round) -> Step:
    return Step(noise.impulses, (), (0.0003 + 0.01 * now.strength() ** 2,))


def _rows(now: Round) -> Step:
    level = (0.7 + 8 * now.strength()) / 255
    return Step(noise.rows, (now.dice.random() < 0.3,), (level, _between(now.dice, 0.2, 4 / now.scale)))


def _few_tones(now: Round) -> Step:
    dithered = now.dice.random() < 0.4
    fewest = 6 if dithered else 14
    return Step(noise.posterized, (), (round(64 * (fewest / 64) ** now.strength()), float(dithered)))


def _jpeg(now: Round) -> Step:
    dice = now.dice
    quality = max(15.0, 98 - 90 * now.strength() ** 0.5 * dice.uniform(0.4, 1.1))
    subsampled = now.color and dice.random() < 0.6
    return Step(codecs.jpeg_file, (subsampled,), (quality, dice.randrange(16), dice.randrange(16)))


def _webp(now: Round) -> Step:
    return Step(codecs.webp_file, (), (95 - 80 * now.strength(),))


def _sharpen(now: Round) -> Step:
    return Step(filters.sharpened, (), (_between(now.dice, 0.5, 3), 0.2 + 1.8 * now.strength() * now.dice.random()))


def _median(now: Round) -> Step:
    return Step(filters.median)


def _halftone(now: Round) -> Step:
    dice, strength = now.dice, 0.1 + 0.7 * now.strength()
    pitch = _between(dice, 2, max(2.5, 8 / now.scale))
    angle, start = dice.uniform(0, math.pi / 2), dice.uniform(0, pitch)
    spread = math.radians(30) if now.color and dice.random() < 0.5 else 0.0
    return Step(surfaces.halftone, (), (pitch, angle, start, spread, _between(dice, 0.8, 6), strength))


def _paper(now: Round) -> Step:
    dice, angle, level = now.dice, now.dice.uniform(0, math.pi), 0.008 + 0.05 * now.strength()
    start = dice.uniform(0, 12)
    kind = dice.random()
    if kind < 0.4:
        return Step(surfaces.silk, (), (_between(dice, 3, 12), angle, start, dice.uniform(0, 2 * math.pi), level))
    if kind < 0.65:
        return Step(surfaces.linen, (), (_between(dice, 2.5, 8), angle * dice.choice((0.02, 1)), start, level))
    return Step(surfaces.rough, (), (_between(dice, 0.7, 3), 2 * angle, level))


_OPERATIONS: tuple[tuple[Callable[[Round], Step], float], ...] = (
    (_blur, 0.5), (_noise, 0.6), (_noise, 0.15), (_grain, 0.15), (_impulses, 0.03), (_rows, 0.06), (_few_tones, 0.03),
    (_jpeg, 0.65), (_webp, 0.025), (_sharpen, 0.2), (_median, 0.03), (_halftone, 0.045), (_paper, 0.05),
)  # fmt: skip
_INSIDE: tuple[tuple[Callable[[Round], Step], float], ...] = (
    (_noise, 0.75), (_grain, 0.2), (_jpeg, 0.75), (_sharpen, 0.15),
)  # fmt: skip
_AROUND: tuple[tuple[Callable[[Round], Step], float], ...] = ((_blur, 0.4), (_sharpen, 0.1), (_jpeg, 0.3))
