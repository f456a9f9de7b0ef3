"""Graphs of each network for other runtimes, and how to attach them to a network.

A graph is a function of a network with descriptions of its inputs and output; `weights.onnx` exports them.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bringback.models.colorizer import ColorUNet
from bringback.models.faces.generator import FaceGenerator
from bringback.models.native_scale import BINS, NativeScale
from bringback.models.relight import RelightNet
from bringback.models.tone import ToneCurves
from bringback.models.translation.blend_gate import LOOKED
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.partial_nonlocal import PartialNonLocal
from bringback.models.translation.vae import VAE
from bringback.models.unet import EAGER, ScratchUNet
from bringback.models.upscale import FACTOR, UpscaleNet

Runs: TypeAlias = dict[str, Callable[..., Tensor]]
"""Callables that run the graphs of a network, by name."""

Ports: TypeAlias = dict[str, tuple[tuple[int | str, ...], str]]


@dataclass(frozen=True)
class Graph:
    """A function of a network, with shape and description of each input and of the output; all float32.

    Dynamic axes are named; divided ones (`height/4`) are rounded up. `name` is unique within the network.
    """

    name: str
    about: str
    network: nn.Module
    function: Callable[..., Tensor]
    inputs: Ports
    output: Ports


class _Attention(nn.Module):
    """Dense `PartialNonLocal`: every position is a query, and invalid keys get zero weight. The result is the same.

    Memory grows with positions times keys; `PartialNonLocal.pool` limits keys to 4096.
    """

    def __init__(self, attention: PartialNonLocal) -> None:
        super().__init__()
        self.own = attention

    def forward(self, x: Tensor, mask: Tensor, seen: Tensor | None) -> Tensor:
        inner = self.own.inner
        seen = self.own.look(x, mask) if seen is None else seen
        key, value, count = seen.flatten(2).split([inner, inner, 1], 1)
        some, valid = count.clamp_min(1.0), count.sign()
        query = self.own.query(x).flatten(2).transpose(1, 2) * inner**-0.5
        share = torch.softmax(query @ (key / some) + (valid - 1) * 1e30, -1)
        found = (share @ (value / some).transpose(1, 2)).transpose(1, 2) * valid.amax(2, keepdim=True)
        return x + mask * self.own.out(found.unflatten(2, (x.shape[-2], x.shape[-1])))


def _photo(about: str = "RGB in [0, 1]", channels: int = 3) -> Ports:
    return {"pixels": (("batch", channels, "height", "width"), about)}


def _divided(name: str, by: int, channels: int, about: str) -> Ports:
    return {name: (("batch", channels, f"height/{by}", f"width/{by}"), about)}


_PROCESSED = "RGB, not clamped"


def of_scale(network: NativeScale) -> list[Graph]:
    inputs: Ports = {"levels": (("batch", 4, BINS), "log10 of the power by frequency, see `native_scale.spectra`")}
    output: Ports = {"octaves": (("batch",), "log2 of how many times the photo can be shrunk; 0 = sharp to the pixel")}
    return [Graph("", "The native scale of a photo, from its spectrum.", network, network.forward, inputs, output)]


def of_scratches(network: ScratchUNet) -> list[Graph]:
    meaning = f"sigmoid(logits + {EAGER}) is the damage mask; from 0.5 on a place is damaged"
    output: Ports = {"logits": (("batch", 1, "height", "width"), meaning)}
    about = "Where a photo is damaged: scratches, dust, stains, cracks. At the resolution given."
    return [Graph("", about, network, network.forward, _photo(), output)]


def of_old_vae(network: VAE) -> list[Graph]:
    latent = _divided("latent", network.stride, network.stem.out_channels, "of an old photo")
    about = "Encoder of old photos, whose damage has been filled."
    return [Graph("", about, network, network.encode, _photo(), latent)]


def of_clean_vae(network: VAE) -> list[Graph]:
    def decode(latent: Tensor) -> Tensor:
        return network.decode(latent, (latent.shape[-2] * network.stride, latent.shape[-1] * network.stride))

    latent: Ports = {"latent": (("batch", network.stem.out_channels, "rows", "columns"), "of a clean photo")}
    size = f"{network.stride}*rows", f"{network.stride}*columns"
    pixels: Ports = {"pixels": (("batch", 3, *size), f"{_PROCESSED}; cut it to the photo's own size")}
    return [Graph("", "Decoder of clean photos.", network, decode, latent, pixels)]


def of_mapping(network: LatentMapping) -> list[Graph]:
    channels, seen, by = network.stem.in_channels - 1, 2 * network.attention.inner + 1, 2 ** len(network.down)
    told: Ports = {"latent": (("batch", channels, "rows", "columns"), "of an old photo, from old_vae")}
    told |= {"mask": (("batch", 1, "rows", "columns"), "how far filled, in [0, 1], by the most filled pixel of each")}
    below = "keys and values where they are valid, zeros elsewhere, and whether they are"
    keys = "what `look` gives, of the photo or of its tiles side by side; above 4096 places sums over cells of places"
    looked: Ports = {"seen": (("batch", seen, f"rows/{by}", f"columns/{by}"), below)}
    given: Ports = {"seen": (("batch", seen, "key rows", "key columns"), keys)}
    judged = _photo() | {"decoded": (("batch", 3, "height", "width"), "the same decoded")}
    judged |= {"mask": (("batch", 1, "height", "width"), "how far each pixel was filled, in [0, 1]")}
    judged |= {"looked": (("batch", LOOKED), "what `noise` gives of the whole photo")}
    kept = "added to the log odds of trust where nothing was filled: more is kept of scans larger than they are sharp"
    judged |= {"keeps": (("batch", 1, 1, 1), kept)}
    meaning = "trust * pixels + (1 - trust) * decoded is the restored photo"
    noise: Ports = {"looked": (("batch", LOOKED), "shares of its cells; of parts of a photo, their mean")}
    trusted: Ports = {"trust": (("batch", 1, "height", "width"), meaning)}
    translated: Ports = {"translated": (("batch", channels, "rows", "columns"), "for clean_vae")}
    own: Any = deepcopy(network)
    own.attention = _Attention(own.attention)
    whole = "Translates the latent of an old photo, whose damage has been filled, into that of a clean one."
    tile = f"{whole[:-1]}, where what filled places look at is given: for tiles and for more than 1024x1024 pixels."
    return [
        Graph("", whole, own, own.forward, told, translated),
        Graph("tile", tile, own, own.forward, told | given, translated),
        Graph("look", "What filled places of a photo can look at.", network, network.look, told, looked),
        Graph("noise", "How noise is distributed over a photo.", network.trust, network.trust.levels, _photo(), noise),
        Graph("trust", "Where a photo is better than it comes decoded.", network.trust, network.trust, judged, trusted),
    ]


def of_faces(network: FaceGenerator) -> list[Graph]:
    inputs: Ports = {
        "degraded": (("batch", 3, "64*rows", "64*columns"), "aligned faces, RGB in [0, 1]; 256x256 as it has learned"),
        "mask": (("batch", 1, "64*rows", "64*columns"), "what was filled, in [0, 1]; 0 nothing"),
        "came": (("batch", 3, "64*rows", "64*columns"), "the faces before other networks cleaned them, or `degraded`"),
    }
    output: Ports = {"refined": (("batch", 3, "64*rows", "64*columns"), _PROCESSED)}
    return [Graph("", "Makes aligned faces clear.", network, network.forward, inputs, output)]


def of_relight(network: RelightNet) -> list[Graph]:
    cells = -(-network.side // 8)
    thumbnail: Ports = {
        "thumbnail": (
            ("batch", 4, network.side, network.side),
            "of the whole photo: mean colour of each cell, and the highest luminance of the means of its quarters",
        )
    }
    added = (
        ("batch", 1, network.knots + 1, cells, cells),
        "added to luminance at the knots of each place's curve",
    )
    places = (("batch", 2, "height", "width"), "x and y in the photo, from -1 to 1 at its edges")
    inputs: Ports = _photo("the photo or a part of it, RGB in [0, 1], without salt and pepper")
    inputs |= {"curves": added, "places": places}
    relit: Ports = {"relit": (("batch", 3, "height", "width"), _PROCESSED)}
    about = "Light for a photo by the curves of the whole, and its noise taken away."
    return [
        Graph("", about, network, network.relit, inputs, relit),
        Graph("curves", "Curves that light a photo.", network, network.curves, thumbnail, {"curves": added}),
    ]


def of_colorize(network: ColorUNet) -> list[Graph]:
    inputs: Ports = {
        "light": (("batch", 1, "height", "width"), "luminance (Rec. 601) in [0, 1], a short side of some 200 pixels"),
        "hints": (("batch", 3, "height", "width"), "known colours: 1, a* / 110, b* / 110 there; zeros elsewhere"),
    }
    meaning = "of colours: a* -90, -80, ... 100; of each b* -110 ... 100"
    output = _divided("logits", 4, network.head.out_channels, meaning)
    return [Graph("", "Which colours a grey photo may have had.", network, network.forward, inputs, output)]


def of_tone(network: ToneCurves) -> list[Graph]:
    inputs: Ports = {
        "thumbnail": (
            ("batch", 4, network.side, network.side),
            "mean colour of each cell's undamaged pixels, from -1 to 1, and their share",
        ),
        "cumulated": (("batch", 3, 256), "the share of undamaged pixels up to each level"),
    }
    output: Ports = {"curves": (("batch", 3, network.samples), "a curve a channel at even steps over 0..1")}
    return [Graph("", "Tone curves that undo fading and casts.", network, network.curves, inputs, output)]


def of_upscale(network: UpscaleNet) -> list[Graph]:
    enlarged: Ports = {"enlarged": (("batch", 3, f"{FACTOR}*height", f"{FACTOR}*width"), _PROCESSED)}
    about = "Doubles a photo: its bicubic enlargement and the fine luminance that this lacks."
    return [Graph("", about, network, network.forward, _photo(), enlarged)]


def method(method: str) -> Callable[[Any, Runs], None]:
    """Attach function for a network with one graph, which replaces `method`."""
    return lambda network, run: setattr(network, method, run[""])


def attach_faces(network: Any, run: Runs) -> None:
    network.forward = run[""]
    network.inside = lambda degraded, mask, box, came: run[""](degraded, mask, came)


def attach_clean_vae(network: Any, run: Runs) -> None:
    # graphs compute in float32, whatever `dtype` is asked for
    network.decode = lambda latent, size, dtype=torch.float32: run[""](latent)[..., : size[0], : size[1]]


def attach_mapping(network: Any, run: Runs) -> None:
    attention = network.attention

    def forward(latent: Tensor, mask: Tensor, seen: Tensor | None = None) -> Tensor:
        if not mask.any():  # no keys are needed
            seen = latent.new_zeros(1, 2 * attention.inner + 1, 1, 1)
        elif seen is None:
            cells = 2 ** len(network.down)
            size = -(-latent.shape[-2] // cells), -(-latent.shape[-1] // cells)
            if size[0] * size[1] <= attention.max_keys:
                return run[""](latent, mask)
            seen = attention.pool(network.look(latent, mask), size)
        return run["tile"](latent, mask, seen[torch.arange(len(latent)) % len(seen)])

    def trust(
        pixels: Tensor, decoded: Tensor, mask: Tensor, looked: Tensor | None = None, keeps: Tensor | float = 0.0
    ) -> Tensor:
        looked = gate.look(pixels) if looked is None else looked
        return run["trust"](pixels, decoded, mask, looked, pixels.new_zeros(len(pixels), 1, 1, 1) + keeps)

    gate = network.trust
    network.forward, network.look, gate.levels, gate.forward = forward, run["look"], run["noise"], trust


def attach_relight(network: Any, run: Runs) -> None:
    network.curves = run["curves"]
    network.relit = lambda pixels, curves, places: run[""](pixels, curves, places.expand(len(pixels), -1, -1, -1))
