"""The deep image prior: a network fitted to one photo, from noise, with nothing learned from other photos.

Ulyanov et al., "Deep Image Prior" (2018). A network learns the regular parts of a photo before damage and noise, so its
output in places outside the loss fills them, and its early output is a denoised photo. Pixels that are held back from
the loss decide when to stop; the outputs are averaged over the iterations, as in Cheng et al., "A Bayesian Perspective
on the Deep Image Prior" (2019).
"""

import math
import time
from dataclasses import replace

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
from bringback.stages.prior.settings import FORMS, OnIteration, PriorSettings, Progress

CHANNELS, AMPLITUDE = 32, 0.1  # of the network's input: uniform noise in [0, AMPLITUDE]
BLOCK = 8  # pixels a side of the squares held back for inpainting: like a hole, not like a pixel of noise
EVERY = 10  # iterations between two evaluations on the pixels held back
WARM_UP, LOWEST = 20, 0.1  # iterations in which the learning rate rises; the share of it at the end
FEWEST = 50  # iterations before which the output is not yet a picture; a hole is then filled without the network
A_PIXEL = 3300  # bytes at the working size, measured with the larger network in float32
TILE, OVERLAP, WINDOW = 512, 16, 7  # pixels a side, for the filter of a large photo's own detail
QUIET = 0.2  # the share of a tile that is assumed to be mostly noise


def inpaint(
    pixels: Tensor,
    mask: Tensor,
    *,
    settings: PriorSettings | None = None,
    device: Compute | torch.device | str = "cpu",
    on_step: OnIteration | None = None,
) -> Tensor:
    """Fill the damaged places of a photo with the output of a network that was fitted to the rest of it.

    `pixels` is (1, 3, H, W) in [0, 1], `mask` (1, 1, H, W) in [0, 1] with 1 = damaged: 0 keeps the pixel exactly, 1
    replaces it, values between them blend. A photo larger than `settings.size` is solved at that size and the result
    enlarged. The network's error around a hole is carried into it by the push-pull fill, so that no seam is left; the
    share of the network in this, from 0 (only the fill) to 1, is the best one for the pixels held back. `on_step`
    is called after each iteration and once at the end. With a `device` other than a `Compute`, the network computes in
    bfloat16 if the device supports it. Deterministic for one device and number of threads, without a limit of seconds.
    Raises `PhotoError` if everything is damaged.
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
    on_step: OnIteration | None = None,
) -> tuple[Tensor, float]:
    """The network's output for a damaged photo, (1, 3, H, W), and its share in the result of `inpaint`."""
    settings = settings or PriorSettings()
    shown, trust = _shrunk(pixels, mask, settings.size)
    solved, held, last = _fit(shown, trust, BLOCK, settings, device, on_step)
    share = _share(shown, solved, trust, held)
    if on_step:
        on_step(replace(last, share=share))
    return _enlarged(solved, pixels), share


@torch.no_grad()
def blended(pixels: Tensor, surface: Tensor, mask: Tensor, share: float) -> Tensor:
    """Fill a photo's holes with a share of the surface, and carry its error at their rims inwards."""
    return torch.where(mask > 0, _seamless(pixels, surface, mask, share), pixels)


def denoise(
    pixels: Tensor,
    *,
    settings: PriorSettings | None = None,
    mask: Tensor | None = None,
    device: Compute | torch.device | str = "cpu",
    on_step: OnIteration | None = None,
) -> Tensor:
    """Denoise a photo (1, 3, H, W) in [0, 1]: the output of a network that is stopped before it learns the noise.

    Pixels that `mask`, (1, 1, H, W) in [0, 1], marks as damaged are left out of the loss. A photo larger than
    `settings.size` is solved at that size; finer detail is the photo's own, as far as it is stronger than the noise
    (Lee, "Digital image enhancement and noise filtering by use of local statistics", 1980). Everything else is as in
    `inpaint`. Raises `PhotoError` also if the time is too short for a picture to appear.
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
    """Bytes for fitting a network to a photo of this size, at its working size."""
    scale = min(settings.size / max(height, width), 1)
    return int(A_PIXEL * max(height * scale, 64) * max(width * scale, 64))


@torch.no_grad()
def _shrunk(pixels: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A photo and the trust in each of its pixels, at its own size or with a longer side of `size`."""
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
    # The fill needs colors in [0, 1]; except for that range and the edges that it follows, it is linear.
    missed = (pixels - surface).clamp_(-1, 1).add_(1).div_(2)
    fill_into(missed, mask)
    return surface.add_(missed.mul_(2).sub_(1)).clamp_(0, 1)


@torch.no_grad()
def _share(shown: Tensor, solved: Tensor, trust: Tensor, held: Tensor) -> float:
    """The share of the surface that fits the pixels held back best, by least squares; all of it if there are none."""
    if not held.any():
        return 1.0
    mask = torch.maximum(1 - trust ** (1 / TRUST), held)
    nothing, everything = (_seamless(shown, solved, mask, share) for share in (0.0, 1.0))
    way = (everything - nothing) * held
    return ((way * (shown - nothing)).sum() / way.square().sum().clamp_min(1e-12)).clamp(0, 1).item()


def _standing_out(detail: Tensor, sound: Tensor) -> Tensor:
    """The part of a photo's detail (1, 3, h, w) above the noise: Lee's filter, one gain for all channels."""
    power, share = (
        F.avg_pool2d(x, WINDOW, stride=1, padding=WINDOW // 2) for x in (detail.square().mean(1, keepdim=True), sound)
    )
    power = power / share.clamp_min(1e-6)
    seen = power[share > 0]  # holes must not lower the estimate of the noise
    noise = seen.quantile(QUIET) if len(seen) else 0
    return detail * (1 - noise / power.clamp_min(1e-12)).clamp_min(0)


class _Kept:
    """The moving average of a network's outputs, and its best value so far on the pixels held back."""

    def __init__(self, shown: Tensor, held: Tensor, averaging: float) -> None:
        self.shown, self.held, self.averaging = shown, held, averaging
        self.blind = not held.any()
        self.average = torch.full_like(shown, 0.5)
        self.kept, self.best, self.done, self.error = self.average, 0, 0.0, math.inf

    def add(self, made: Tensor, iteration: int) -> None:
        # Early outputs are hardly a picture, so a young average forgets faster.
        share = max(1 - self.averaging, 1 / (1 + iteration / 4))
        self.average = self.average.lerp(made, share)

    def judge(self, iteration: int, done: float) -> None:
        """Keep the average if it is the best so far; always, if nothing was held back."""
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
    """The share of the work done after this many iterations; 1 when there is no time for another one."""
    limit = settings.seconds or math.inf
    if iteration >= settings.iterations or seconds * (1 + 1 / iteration) > limit:
        return 1.0
    return max(iteration / settings.iterations, seconds / limit)


@torch.inference_mode(False)  # pipelines run without gradients, the fit needs them
@torch.enable_grad()
def _fit(
    shown: Tensor,
    trust: Tensor,
    block: int,
    settings: PriorSettings,
    device: Compute | torch.device | str,
    on_step: OnIteration | None,
) -> tuple[Tensor, Tensor, Progress]:
    """Fit a network to the trusted pixels of a picture (1, 3, H, W): its output, the mask held back, the progress."""
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
        last = Progress(done, iteration, seconds, height, width, kept.best, kept.decibels, stopped)
        if on_step:
            on_step(last)
    return kept.kept.to(shown.device), held.to(shown.device), last


def _falling(done: float) -> float:
    """The factor of the learning rate when a share of the work is done, from 1 down to `LOWEST`."""
    return LOWEST + (1 - LOWEST) * (0.5 + 0.5 * math.cos(math.pi * done))


def computing(device: Compute | torch.device | str) -> Compute:
    """A `Compute` unchanged; for a device, bfloat16 if that is native, because a prior is slow."""
    if isinstance(device, Compute):
        return device
    place = torch.device(device)
    return Compute(place, torch.bfloat16 if has_bfloat16(place) else torch.float32)


def _network(settings: PriorSettings) -> Hourglass | SegNet:
    """A new network whose random weights depend only on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        return FORMS[settings.form](CHANNELS)


def _noise(height: int, width: int, multiple: int, random: torch.Generator) -> Tensor:
    """The input for a picture of this size: reflection padding and batch norm need two pixels at the lowest level."""
    sides = [max(-(-side // multiple), 2) * multiple for side in (height, width)]
    return torch.rand(1, CHANNELS, *sides, generator=random) * AMPLITUDE


def _held_back(trust: Tensor, share: float, block: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hold back a share of the fully trusted squares of `block` pixels: the trust (1, 1, H, W) left, their mask."""
    squares = -F.max_pool2d(-trust, block, ceil_mode=True)
    whole = (squares >= 1).flatten().nonzero()[:, 0].cpu()
    chosen = torch.zeros_like(squares)
    chosen.view(-1)[whole[torch.randperm(len(whole), generator=random)[: int(share * len(whole))]]] = 1
    held = F.interpolate(chosen, scale_factor=float(block))[..., : trust.shape[-2], : trust.shape[-1]]
    return trust * (1 - held), held
