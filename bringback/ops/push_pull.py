"""Filling of damaged places from their surroundings, without a network.

The same functions serve the `fill` stage and the training of the latent translation, so that both see the same pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-6  # below this total weight a coarse pixel has seen nothing that can be trusted
TRUST = 4  # a pixel that is damaged by m informs its neighbours with weight (1 - m) ** TRUST

SPECTRUM = 0.97  # of the smoothing, as the Chebyshev acceleration assumes it: damps what the coarser levels left over
EDGE_REACH = 7  # pixels, side of the box (applied twice) in which edge directions are averaged
EDGE_POWER = 4  # how much less colour flows across an edge than along it
EDGE_DOUBT = 0.02  # weight of a direction seen in the filled colours, where sound pixels weigh 1


def push_pull(pixels: Tensor, mask: Tensor, *, smoothing: int = 8) -> Tensor:
    """Fill the damaged places of `pixels` with a smooth surface spanned by the undamaged ones, edges carried through.

    Pull-push of Gortler et al., "The Lumigraph" (1996): pull the trusted pixels into coarser and coarser levels, then
    push the coarse colours back into the gaps. On every level `smoothing` iterations bring the result near the
    membrane, the harmonic function with the same border (Perez et al., "Poisson Image Editing", 2003), but with colour
    flowing along the edges rather than across, as in Weickert, "Coherence-enhancing diffusion filtering" (1999).

    `pixels` is (B, 3, H, W) in [0, 1], `mask` (B, 1, H, W) in [0, 1] with 1 = damaged. A mask of 0 gives the pixel back
    exactly, 1 replaces it, between them pixel and surface are blended; what is half damaged says little about its
    neighbours. Where a whole picture is damaged the result is its mean colour. Differentiable in both inputs, the edge
    directions taken as given; the result has the device and dtype of `pixels`.
    """
    original = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
    sound = 1 - mask.to(original.dtype)
    surface = membrane(original, sound**TRUST, original.mean((2, 3), keepdim=True), smoothing=smoothing)
    return mix(original, sound, surface).to(pixels.dtype)


def membrane(value: Tensor, weight: Tensor, otherwise: Tensor, *, smoothing: int = 8) -> Tensor:
    """The surface (B, 3, H, W) that the colours `value`, trusted by `weight` (B, 1, H, W), span; see `push_pull`.

    `otherwise`, (B, 3, 1, 1), is its colour where nothing can be trusted.
    """
    values, weights = pull(value, weight)
    surface = torch.where(weights[-1] > TINY, values[-1], otherwise)
    return push(surface, values, weights, smoothing=smoothing)


def pull(value: Tensor, weight: Tensor, levels: int | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Colours and trust at their own size and at each half of it, `levels` times, or down to a single pixel."""
    values, weights = [value], [weight]
    while max(values[-1].shape[-2:]) > 1 if levels is None else len(values) <= levels:
        value, weight = _pull(values[-1], weights[-1])
        values.append(value)
        weights.append(weight)
    return values, weights


def push(surface: Tensor, values: list[Tensor], weights: list[Tensor], *, smoothing: int = 8) -> Tensor:
    """A coarse surface brought level by level to the size of the first of the colours, its gaps filled on the way."""
    for value, weight in zip(reversed(values), reversed(weights), strict=True):
        surface = F.interpolate(surface, size=value.shape[-2:], mode="bilinear", align_corners=False)
        surface = _diffuse(weight * value + (1 - weight) * surface, value, weight, smoothing)
    return surface


def mix(original: Tensor, sound: Tensor, surface: Tensor) -> Tensor:
    """The photo where it is sound, the surface where it is not."""
    return sound * original + (1 - sound) * surface.clamp(0, 1)


def fill(pixels: Tensor, holes: Tensor) -> Tensor:
    """A batch (B, 3, H, W) in [0, 1] with its `holes` (B, 1, H, W) filled by `push_pull`, in full precision.

    Pictures without any, whose filling would cost as much, are passed over.
    """
    marked = holes.flatten(1).any(1)
    result = pixels.clone()
    with torch.autocast(pixels.device.type, enabled=False):
        result[marked] = push_pull(pixels[marked], holes[marked])
    return result


def _pull(value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Halve a level. Colours are averaged by trust; the trust in the result is the average trust in what made it.

    So one sound pixel in a hole is worth as much as many (holes close fast from their rims), yet any number of doubtful
    pixels stays doubtful: soft masks do not leak the colour of the damage.
    """
    total = _halve(weight)
    safe = total.clamp_min(TINY)
    return _halve(value * weight) / safe, (_halve(weight.square()) / safe).clamp(max=1)


def _halve(x: Tensor) -> Tensor:
    """Half size, rounded up, through the kernel (1, 3, 3, 1) / 8. In slices: autocast would round a convolution."""
    height, width = x.shape[-2:]
    x = F.pad(x, (1, 1 + width % 2, 1, 1 + height % 2), mode="replicate")
    x = (x[..., :-3:2, :] + x[..., 3::2, :] + 3 * (x[..., 1:-2:2, :] + x[..., 2:-1:2, :])) / 8
    return (x[..., :-3:2] + x[..., 3::2] + 3 * (x[..., 1:-2:2] + x[..., 2:-1:2])) / 8


def _diffuse(surface: Tensor, value: Tensor, weight: Tensor, iterations: int) -> Tensor:
    """Jacobi iterations with Chebyshev's acceleration: pixels become the mean of their neighbours."""
    flow = _flow(surface.detach(), weight.detach())
    known, unknown = weight * value, 1 - weight
    momentum = 2 / (1 + (1 - SPECTRUM**2) ** 0.5)
    before = surface
    for iteration in range(iterations):
        after = torch.addcmul(known, unknown, _neighbours(surface, flow))
        if iteration:
            after = torch.lerp(before, after, momentum)
        before, surface = surface, after
    return surface


def _flow(surface: Tensor, weight: Tensor) -> list[Tensor]:
    """How much colour comes from each of the neighbours left, above, above left and above right: four (B, 1, H, W).

    Opposite neighbours give alike; all eight sum to 1. They follow the direction of the structure tensor, held as the
    cosine and sine of twice the angle of the gradient.
    """
    padded = F.pad(surface, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    doubt = F.max_pool2d(1 - weight, 3, stride=1, padding=1)
    tensor = torch.cat(((dx.square() - dy.square()).sum(1, keepdim=True), 2 * (dx * dy).sum(1, keepdim=True)), 1)
    tensor = tensor * (1 - doubt * (1 - EDGE_DOUBT))
    for _ in range(2):
        for box in ((EDGE_REACH, 1), (1, EDGE_REACH)):
            padding = (box[0] // 2, box[1] // 2)
            tensor = F.avg_pool2d(tensor, box, stride=1, padding=padding, count_include_pad=False)
    cosine, sine = (tensor * torch.rsqrt(tensor.square().sum(1, keepdim=True) + 1e-16)).split(1, 1)
    # (1 - cos 2a) / 2 is the square of the cosine between edge and neighbour; diagonal ones are farther away
    flow = [((1 - along) / 2) ** EDGE_POWER / far for along, far in ((cosine, 1), (-cosine, 1), (sine, 2), (-sine, 2))]
    total = 2 * (flow[0] + flow[1] + flow[2] + flow[3])
    return [part / total for part in flow]


def _neighbours(x: Tensor, flow: list[Tensor]) -> Tensor:
    """The weighted mean of the eight neighbours, mirrored at the border."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    left, middle, right = x[..., :-2], x[..., 1:-1], x[..., 2:]
    mean = flow[0] * (left[..., 1:-1, :] + right[..., 1:-1, :])
    mean = torch.addcmul(mean, flow[1], middle[..., :-2, :] + middle[..., 2:, :])
    mean = torch.addcmul(mean, flow[2], left[..., :-2, :] + right[..., 2:, :])
    return torch.addcmul(mean, flow[3], right[..., :-2, :] + left[..., 2:, :])
