"""Fill damaged regions from their surroundings, without a network.

Used by the `fill` stage and by the training of the latent translation, so that both see the same pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.windows import window_maxima, window_means

TINY = 1e-6  # a coarse pixel with less total weight has no trusted source
TRUST = 4  # a pixel with mask m informs its neighbors with weight (1 - m) ** TRUST

SPECTRUM = 0.97  # spectral radius of the Jacobi iteration assumed by the Chebyshev acceleration
EDGE_REACH = 7  # pixels, side of the box filter (applied twice) that averages edge directions
EDGE_POWER = 4  # exponent of the anisotropy: the higher, the less color flows across edges
EDGE_DOUBT = 0.02  # weight of edge directions of filled pixels; intact pixels have weight 1


def push_pull(pixels: Tensor, mask: Tensor, *, smoothing: int = 8, plain: int = 0) -> Tensor:
    """Fill the damaged pixels with a smooth surface through the undamaged ones that continues edges.

    Pull-push of Gortler et al., "The Lumigraph" (1996): pull the trusted pixels into coarser and coarser levels, then
    push the coarse colors back into the gaps. On every level `smoothing` iterations bring the result close to the
    membrane, the harmonic function with the same border (Perez et al., "Poisson Image Editing", 2003), but with color
    flowing along edges rather than across them, as in Weickert, "Coherence-enhancing diffusion filtering" (1999).

    `pixels` is (B, 3, H, W) in [0, 1], `mask` (B, 1, H, W) in [0, 1] with 1 = damaged. A mask of 0 keeps the pixel
    exactly, 1 replaces it, values in between blend; partly damaged pixels have little weight as sources (`TRUST`). An
    image that is damaged everywhere gets its mean color. Differentiable in both inputs, with edge directions detached.
    The result has the device and dtype of `pixels`. On the `plain` finest levels there are no iterations, for photos
    that show nothing so fine.
    """
    original = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
    sound = 1 - mask.to(original.dtype)
    otherwise = original.mean((2, 3), keepdim=True)
    surface = membrane(original, sound**TRUST, otherwise, smoothing=smoothing, plain=plain)
    return mix(original, sound, surface).to(pixels.dtype)


def membrane(value: Tensor, weight: Tensor, otherwise: Tensor, *, smoothing: int = 8, plain: int = 0) -> Tensor:
    """The surface (B, 3, H, W) through colors `value` with weights `weight` (B, 1, H, W); see `push_pull`.

    `otherwise` (B, 3, 1, 1) is its color if all weights are zero.
    """
    values, weights = pull(value, weight)
    surface = torch.where(weights[-1] > TINY, values[-1], otherwise)
    return push(surface, values, weights, smoothing=smoothing, plain=plain)


def pull(value: Tensor, weight: Tensor, levels: int | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Pyramids of colors and weights, full size first: `levels` halvings, or down to a single pixel."""
    values, weights = [value], [weight]
    while max(values[-1].shape[-2:]) > 1 if levels is None else len(values) <= levels:
        value, weight = _pull(values[-1], weights[-1])
        values.append(value)
        weights.append(weight)
    return values, weights


def push(surface: Tensor, values: list[Tensor], weights: list[Tensor], *, smoothing: int = 8, plain: int = 0) -> Tensor:
    """Upsample a coarse surface level by level to the size of `values[0]`, using it to fill the gaps of each level.

    The `plain` finest levels are not smoothed.
    """
    for level in reversed(range(len(values))):
        value, weight = values[level], weights[level]
        surface = F.interpolate(surface, size=value.shape[-2:], mode="bilinear", align_corners=False)
        surface = weight * value + (1 - weight) * surface
        if level >= plain:
            surface = _diffuse(surface, value, weight, smoothing)
    return surface


def mix(original: Tensor, sound: Tensor, surface: Tensor) -> Tensor:
    """Blend: the photo where `sound` is 1, the surface where it is 0."""
    return sound * original + (1 - sound) * surface.clamp(0, 1)


def fill(pixels: Tensor, holes: Tensor) -> Tensor:
    """Fill the `holes` (B, 1, H, W) of a batch (B, 3, H, W) in [0, 1] by `push_pull`, with autocast disabled.

    Images without holes are skipped to save time.
    """
    marked = holes.flatten(1).any(1)
    result = pixels.clone()
    with torch.autocast(pixels.device.type, enabled=False):
        result[marked] = push_pull(pixels[marked], holes[marked])
    return result


def _pull(value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Halve a level: colors are averaged by weight, and the new weight is the weighted mean of the old ones.

    So one intact pixel counts as much as many (holes close fast from their rims), but many doubtful pixels remain
    doubtful: soft masks do not leak the color of the damage.
    """
    total = _halve(weight)
    safe = total.clamp_min(TINY)
    return _halve(value * weight) / safe, (_halve(weight.square()) / safe).clamp(max=1)


def _halve(x: Tensor) -> Tensor:
    """Half size, rounded up, by the kernel (1, 3, 3, 1) / 8. Slicing, unlike a convolution, ignores autocast."""
    height, width = x.shape[-2:]
    x = F.pad(x, (1, 1 + width % 2, 1, 1 + height % 2), mode="replicate")
    x = (x[..., :-3:2, :] + x[..., 3::2, :] + 3 * (x[..., 1:-2:2, :] + x[..., 2:-1:2, :])) / 8
    return (x[..., :-3:2] + x[..., 3::2] + 3 * (x[..., 1:-2:2] + x[..., 2:-1:2])) / 8


def _diffuse(surface: Tensor, value: Tensor, weight: Tensor, iterations: int) -> Tensor:
    """Jacobi iterations with Chebyshev acceleration: each pixel becomes the weighted mean of its neighbors."""
    known, unknown = weight * value, 1 - weight
    flow = [unknown * part for part in _flow(surface.detach(), weight.detach())]
    momentum = 2 / (1 + (1 - SPECTRUM**2) ** 0.5)
    before = surface
    for iteration in range(iterations):
        after = _with_neighbors(known, surface, flow)
        if iteration:
            after = torch.lerp(before, after, momentum)
        before, surface = surface, after
    return surface


def _flow(surface: Tensor, weight: Tensor) -> list[Tensor]:
    """Weights of the left, upper, upper left and upper right neighbors: four maps (B, 1, H, W).

    Opposite neighbors have equal weights; all eight sum to 1. They follow the direction of the structure tensor,
    represented by the cosine and sine of twice the gradient angle.
    """
    padded = F.pad(surface, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    doubt = window_maxima(1 - weight)
    tensor = torch.cat(((dx.square() - dy.square()).sum(1, keepdim=True), 2 * (dx * dy).sum(1, keepdim=True)), 1)
    tensor = tensor * (1 - doubt * (1 - EDGE_DOUBT))
    for _ in range(2):
        tensor = window_means(tensor, EDGE_REACH, EDGE_REACH)
    cosine, sine = (tensor * torch.rsqrt(tensor.square().sum(1, keepdim=True) + 1e-16)).split(1, 1)
    # (1 - cos 2a) / 2 is the squared cosine between edge and neighbor; diagonal neighbors are farther away
    flow = [((1 - along) / 2) ** EDGE_POWER / far for along, far in ((cosine, 1), (-cosine, 1), (sine, 2), (-sine, 2))]
    total = 2 * (flow[0] + flow[1] + flow[2] + flow[3])
    return [part / total for part in flow]


def _with_neighbors(known: Tensor, x: Tensor, flow: list[Tensor]) -> Tensor:
    """What is known, and of the eight neighbors, with replicated border, as much as `flow` says."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    left, middle, right = x[..., :-2], x[..., 1:-1], x[..., 2:]
    total = torch.addcmul(known, flow[0], left[..., 1:-1, :] + right[..., 1:-1, :])
    total.addcmul_(flow[1], middle[..., :-2, :] + middle[..., 2:, :])
    total.addcmul_(flow[2], left[..., :-2, :] + right[..., 2:, :])
    return total.addcmul_(flow[3], right[..., :-2, :] + left[..., 2:, :])
