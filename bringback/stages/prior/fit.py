"""The deep image prior: a network fitted to one photo, from noise, with nothing learned from other photos.

Ulyanov et al., "Deep Image Prior" (2018). A network learns what is regular in a photo before it learns damage and
noise, so what it says of places that it was not shown is a filling, and what it says early on is a denoised photo. When
to stop is told by pixels that are held back from it; its outputs are averaged on the way, as in Cheng et al., "A
Bayesian Perspective on the Deep Image Prior" (2019).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.errors import PhotoError
from bringback.models.hourglass import Hourglass, SegNet
from bringback.ops.metrics import PSNR_CAP
from bringback.ops.push_pull import TRUST
from bringback.ops.tiled_fill import fill_into
from bringback.ops.tiling import run_tiled
from bringback.runtime.compute import Compute, has_bfloat16

FORMS: dict[str, type[Hourglass] | type[SegNet]] = {"unet": Hourglass, "segnet": SegNet}

CHANNELS, AMPLITUDE = 32, 0.1  # of the noise that a network is given: uniform, in [0, AMPLITUDE]
BLOCK = 8  # pixels a side of what is held back when holes are to be filled: like a hole, not like a pixel of noise
EVERY = 10  # iterations from one look at the pixels held back to the next
WARM_UP, LOWEST = 20, 0.1  # iterations in which the learning rate rises; what is left of it in the end
FEWEST = 50  # iterations before which there is no picture yet; a hole is then filled without the network
A_PIXEL = 3300  # bytes of what is solved, measured with the larger network in float32
TILE, OVERLAP, WINDOW = 512, 16, 7  # pixels a side, in which a large photo's own detail is weighed
QUIET = 0.2  # the share of a tile where there is little but noise


@dataclass(frozen=True, slots=True)
class PriorSettings:
    """How a network is fitted to a photo. Raises ValueError, one line, for what cannot be.

    Args: form: "unet" (an hourglass with narrow skips) or "segnet" (max-pool indices in their place);
    iterations: at most so many; seconds: the time that a photo may take, None for no limit; seed: of all that is
    random; noise: deviation of what is added to the network's input in each iteration, as a share of the input's range;
    averaging: what the average of the outputs keeps of itself in an iteration; held_back: the share of the undamaged
    pixels that tell when to stop; patience: the share of the whole work after which it ends without a better average;
    rate: Adam's; size: pixels of the longer side that a photo is solved at, if it is larger.
    """

    form: str = "unet"
    iterations: int = 1400
    seconds: float | None = None
    seed: int = 0
    noise: float = 0.3
    averaging: float = 0.99
    held_back: float = 0.05
    patience: float = 0.5
    rate: float = 0.01
    size: int = 384

    def __post_init__(self) -> None:
        wrong = {
            "form": (self.form not in FORMS, f"one of {', '.join(FORMS)}"),
            "iterations": (self.iterations < 1, "1 or more"),
            "seconds": (self.seconds is not None and not self.seconds > 0, "more than 0"),
            "seed": (not 0 <= self.seed < 2**64, "0 or more, of 64 bits"),
            "noise": (not self.noise >= 0, "0 or more"),
            "averaging": (not 0 <= self.averaging < 1, "0 to below 1"),
            "held_back": (not 0 <= self.held_back < 1, "0 to below 1"),
            "patience": (not self.patience > 0, "more than 0"),
            "rate": (not self.rate > 0, "more than 0"),
            "size": (self.size < 64, "64 or more"),
        }
        for name, (bad, wanted) in wrong.items():
            if bad:
                raise ValueError(f"prior: {name} {getattr(self, name)!r}: wants {wanted}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the fitting of a photo has come; the last one tells what was done.

    `done` is the share of the iterations or of the time, whichever is further; `height` and `width` the pixels that it
    is solved at; `best` the iteration of the average that is kept so far and `held_back` its PSNR in dB on the pixels
    held back, None where there are none; `stopped_early` says that no better one was to be expected; `share` is how
    much of what the network made goes into the photo, in [0, 1], None until that is known.
    """

    done: float
    iteration: int
    seconds: float
    height: int
    width: int
    best: int
    held_back: float | None
    stopped_early: bool = False
    share: float | None = None

    @property
    def finished(self) -> bool:
        """Whether this is the last one."""
        return self.share is not None

    def __str__(self) -> str:
        """One line for people."""
        held_back = "" if self.held_back is None else f", {self.held_back:.1f} dB on pixels held back"
        early = ", stopped early" if self.stopped_early else ""
        size = f"{self.width}x{self.height} pixels"
        share = "" if self.share is None else f", used by {100 * self.share:.0f} %"
        return f"{size}, {self.iteration} iterations in {self.seconds:.0f} s{early}{held_back}{share}"

    @property
    def notes(self) -> dict[str, int | float | bool | str | None]:
        """For the manifest: what was done, in plain numbers."""
        return {
            "working_size": f"{self.width}x{self.height}",
            "iterations": self.iteration,
            "best_iteration": self.best,
            "held_back_psnr": None if self.held_back is None else round(self.held_back, 2),
            "stopped_early": self.stopped_early,
            "share": None if self.share is None else round(self.share, 3),
        }


OnStep = Callable[[Progress], None]


def inpaint(
    pixels: Tensor,
    mask: Tensor,
    *,
    settings: PriorSettings | None = None,
    device: Compute | torch.device | str = "cpu",
    on_step: OnStep | None = None,
) -> Tensor:
    """Fill the damaged places of a photo with what a network that has seen the others expects there.

    `pixels` is (1, 3, H, W) in [0, 1], `mask` (1, 1, H, W) in [0, 1] with 1 = damaged: 0 gives the pixel back exactly,
    1 replaces it, between them both are blended. A photo larger than `settings.size` is solved at that size and the
    result enlarged. What the network misses next to a hole is carried into it by the push-pull fill, so that no seam is
    left; the share of the network in this, from nothing but the fill to all, is what serves the pixels held back best.
    `on_step` is called after each iteration and once in the end. A `device` that is no `Compute` computes in bfloat16
    where it has it. Deterministic, on one device and number of threads, without a limit of seconds. Raises `PhotoError`
    where everything is damaged.
    """
    if not mask.any():
        return pixels.clone()
    surface, share = expected(pixels, mask, settings=settings, device=device, on_step=on_step)
    return blended(pixels, surface, mask, share)


def expected(
    pixels: Tensor,
    mask: Tensor,
    *,
    settings: PriorSettings | None = None,
    device: Compute | torch.device | str = "cpu",
    on_step: OnStep | None = None,
) -> tuple[Tensor, float]:
    """What the network by itself takes a damaged photo for, (1, 3, H, W), and the share that `inpaint` gives it."""
    settings = settings or PriorSettings()
    shown, trust = _shrunk(pixels, mask, settings.size)
    solved, held, last = _fit(shown, trust, BLOCK, settings, device, on_step)
    share = _share(shown, solved, trust, held)
    if on_step:
        on_step(replace(last, share=share))
    return _enlarged(solved, pixels), share


@torch.no_grad()
def blended(pixels: Tensor, surface: Tensor, mask: Tensor, share: float) -> Tensor:
    """A photo whose holes are filled by a share of the surface and, from the rims, by all that is missing of it."""
    return torch.where(mask > 0, _seamless(pixels, surface, mask, share), pixels)


def denoise(
    pixels: Tensor,
    *,
    settings: PriorSettings | None = None,
    mask: Tensor | None = None,
    device: Compute | torch.device | str = "cpu",
    on_step: OnStep | None = None,
) -> Tensor:
    """What a network has learned of a photo (1, 3, H, W) in [0, 1] before it would have learned the noise; of its size.

    What `mask`, (1, 1, H, W) in [0, 1], calls damaged is not shown to the network. Of a photo larger than
    `settings.size` the network makes what that size can show; the finer detail is the photo's own, as far as it stands
    out of the noise (Lee, "Digital image enhancement and noise filtering by use of local statistics", 1980). The rest
    is as with `inpaint`. Raises `PhotoError` also where the time is too short for a picture to appear.
    """
    settings = settings or PriorSettings()
    mask = torch.zeros_like(pixels[:, :1]) if mask is None else mask
    shown, trust = _shrunk(pixels, mask, settings.size)
    clean, _, last = _fit(shown, trust, 1, settings, device, on_step)
    if last.iteration < min(FEWEST, settings.iterations) and not last.stopped_early:
        raise PhotoError(
            f"in {settings.seconds:g} seconds a prior gets no further than iteration {last.iteration} of the "
            f"{FEWEST} that it wants at the least: allow more time, or a smaller size than {settings.size} pixels"
        )
    if on_step:
        on_step(replace(last, share=1.0))
    if clean.shape == pixels.shape:
        return clean
    with torch.no_grad():
        sound = 1 - mask
        detail = run_tiled(
            _standing_out, ((pixels - _enlarged(shown, pixels)) * sound, sound), tile=TILE, overlap=OVERLAP
        )
        return detail.add_(_enlarged(clean, pixels)).clamp_(0, 1)


def working_memory(height: int, width: int, settings: PriorSettings) -> int:
    """Bytes that fitting a network to a photo of this size takes, at the size that it is solved at."""
    scale = min(settings.size / max(height, width), 1)
    return int(A_PIXEL * max(height * scale, 64) * max(width * scale, 64))


@torch.no_grad()
def _shrunk(pixels: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A photo and how far each of its pixels can be trusted, at its own size or with a longer side of `size`."""
    trust = (1 - mask) ** TRUST
    height, width = pixels.shape[-2:]
    scale = size / max(height, width)
    if scale >= 1:
        return pixels, trust
    small = (max(round(height * scale), 1), max(round(width * scale), 1))
    weight = F.interpolate(trust, small, mode="area")
    return F.interpolate(pixels * trust, small, mode="area") / weight.clamp_min(1e-6), weight


@torch.no_grad()
def _enlarged(solved: Tensor, photo: Tensor) -> Tensor:
    if solved.shape == photo.shape:
        return solved
    return F.interpolate(solved, photo.shape[-2:], mode="bicubic", align_corners=False)


def _seamless(pixels: Tensor, surface: Tensor, mask: Tensor, share: float) -> Tensor:
    surface = share * surface
    # the fill wants colours in [0, 1]; it is linear but for them and for the edges that it follows
    missed = (pixels - surface).clamp_(-1, 1).add_(1).div_(2)
    fill_into(missed, mask)
    return surface.add_(missed.mul_(2).sub_(1)).clamp_(0, 1)


@torch.no_grad()
def _share(shown: Tensor, solved: Tensor, trust: Tensor, held: Tensor) -> float:
    """How much of the surface serves the places held back best, by least squares; all of it where there are none."""
    if not held.any():
        return 1.0
    mask = torch.maximum(1 - trust ** (1 / TRUST), held)
    nothing, everything = (_seamless(shown, solved, mask, share) for share in (0.0, 1.0))
    way = (everything - nothing) * held
    return ((way * (shown - nothing)).sum() / way.square().sum().clamp_min(1e-12)).clamp(0, 1).item()


def _standing_out(detail: Tensor, sound: Tensor) -> Tensor:
    """The part of a photo's detail (1, 3, h, w) that is more than noise: Lee's filter, all channels alike."""
    power, share = (
        F.avg_pool2d(x, WINDOW, stride=1, padding=WINDOW // 2) for x in (detail.square().mean(1, keepdim=True), sound)
    )
    power = power / share.clamp_min(1e-6)
    seen = power[share > 0]  # a hole is not quiet, it is not there
    noise = seen.quantile(QUIET) if len(seen) else 0
    return detail * (1 - noise / power.clamp_min(1e-12)).clamp_min(0)


class _Kept:
    """The average of a network's outputs, and of its values the one that came nearest to the pixels held back."""

    def __init__(self, shown: Tensor, held: Tensor, averaging: float) -> None:
        self.shown, self.held, self.averaging = shown, held, averaging
        self.blind = not held.any()
        self.average = torch.full_like(shown, 0.5)
        self.kept, self.best, self.done, self.error = self.average, 0, 0.0, math.inf

    def add(self, made: Tensor, iteration: int) -> None:
        # early outputs are hardly a picture: a young average forgets faster
        share = max(1 - self.averaging, 1 / (1 + iteration / 4))
        self.average = self.average.lerp(made, share)

    def judge(self, iteration: int, done: float) -> None:
        """Keep the average if it is the best so far; the last one where nothing was held back."""
        if self.blind:
            self.kept, self.best, self.done = self.average, iteration, done
            return
        error = ((self.average - self.shown).square() * self.held).sum() / self.held.sum() / self.shown.shape[1]
        if error.item() < self.error:
            self.kept, self.best, self.done, self.error = self.average, iteration, done, error.item()

    @property
    def decibels(self) -> float | None:
        return None if self.error == math.inf else min(-10 * math.log10(max(self.error, 1e-12)), PSNR_CAP)


def _done(settings: PriorSettings, iteration: int, seconds: float) -> float:
    """The share of the work that is done after so many iterations; 1 when there is no time for another one."""
    limit = settings.seconds or math.inf
    if iteration >= settings.iterations or seconds * (1 + 1 / iteration) > limit:
        return 1.0
    return max(iteration / settings.iterations, seconds / limit)


@torch.inference_mode(False)  # a pipeline runs without gradients
@torch.enable_grad()
def _fit(
    shown: Tensor,
    trust: Tensor,
    block: int,
    settings: PriorSettings,
    device: Compute | torch.device | str,
    on_step: OnStep | None,
) -> tuple[Tensor, Tensor, Progress]:
    """What a network makes of a picture (1, 3, H, W) of which it is shown what can be trusted; what was held back."""
    begin, compute, random = time.perf_counter(), computing(device), torch.Generator().manual_seed(settings.seed)
    trust, held = _held_back(trust, settings.held_back, block, random)
    if not trust.any():
        raise PhotoError("the damage mask covers all of the photo: a prior has nothing to go by")
    network = _network(settings)
    (height, width), place, layout = shown.shape[-2:], compute.device, torch.channels_last
    noise = _noise(height, width, network.multiple, random)
    network = network.to(place, memory_format=layout)  # type: ignore[call-overload]
    picture, trust, held, noise = (x.clone().to(place, memory_format=layout) for x in (shown, trust, held, noise))
    shaking = torch.Generator(place).manual_seed(settings.seed)
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    kept, iteration, done, stopped = _Kept(picture, held, settings.averaging), 0, 0.0, False
    while done < 1 and not stopped:
        optimizer.param_groups[0]["lr"] = settings.rate * min((iteration + 1) / WARM_UP, 1) * _falling(done)
        shaken = noise + settings.noise * AMPLITUDE * torch.empty_like(noise).normal_(generator=shaking)
        with compute.autocast():
            made = network(shaken)[..., :height, :width]
        optimizer.zero_grad()
        ((made - picture).square() * trust).sum().div(trust.sum()).backward()
        optimizer.step()
        iteration += 1
        kept.add(made.detach(), iteration)
        done = _done(settings, iteration, time.perf_counter() - begin)
        if iteration % EVERY == 0 or done == 1:
            kept.judge(iteration, done)
            stopped = done - kept.done > settings.patience
        seconds = time.perf_counter() - begin
        told = Progress(done, iteration, seconds, height, width, kept.best, kept.decibels, stopped)
        if on_step:
            on_step(told)
    return kept.kept.to(shown.device), held.to(shown.device), told


def _falling(done: float) -> float:
    """The learning rate along the way, from 1 down to `LOWEST`."""
    return LOWEST + (1 - LOWEST) * (0.5 + 0.5 * math.cos(math.pi * done))


def computing(device: Compute | torch.device | str) -> Compute:
    """Itself, or on a device bfloat16 where that is native: a prior is slow enough."""
    if isinstance(device, Compute):
        return device
    place = torch.device(device)
    return Compute(place, torch.bfloat16 if has_bfloat16(place) else torch.float32)


def _network(settings: PriorSettings) -> Hourglass | SegNet:
    """A new network, its weights drawn by the seed and by nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        return FORMS[settings.form](CHANNELS)


def _noise(height: int, width: int, multiple: int, random: torch.Generator) -> Tensor:
    """What a network is given for a picture of this size: mirrored borders and batch norm want two pixels below."""
    sides = [max(-(-side // multiple), 2) * multiple for side in (height, width)]
    return torch.rand(1, CHANNELS, *sides, generator=random) * AMPLITUDE


def _held_back(trust: Tensor, share: float, block: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Trust (1, 1, H, W) without, and the mask of, a share of the squares of `block` pixels that are wholly trusted."""
    squares = -F.max_pool2d(-trust, block, ceil_mode=True)
    whole = (squares >= 1).flatten().nonzero()[:, 0].cpu()
    chosen = torch.zeros_like(squares)
    chosen.view(-1)[whole[torch.randperm(len(whole), generator=random)[: int(share * len(whole))]]] = 1
    held = F.interpolate(chosen, scale_factor=float(block))[..., : trust.shape[-2], : trust.shape[-1]]
    return trust * (1 - held), held
