"""The networks as ONNX graphs, for runtimes other than torch: a file holds a graph, its weights and what they mean."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bringback import __version__
from bringback.models.base import Network
from bringback.models.colorizer import ColourUNet
from bringback.models.faces.generator import FaceGenerator
from bringback.models.relight import RelightNet
from bringback.models.tone import ToneCurves
from bringback.models.translation.mapping import Mapping
from bringback.models.translation.partial_nonlocal import PartialNonLocal
from bringback.models.translation.vae import VAE
from bringback.models.unet import EAGER, ScratchUNet
from bringback.runtime.extras import extra
from bringback.runtime.files import write_all
from bringback.weights.catalog import Weight
from bringback.weights.checkpoints import Checkpoints

OPSET = 20  # the first that samples volumes, as the curves of `relight` are

Ports: TypeAlias = dict[str, tuple[tuple[int | str, ...], str]]

# What axes of a free size are while a graph is traced: all different, lest two are taken for one, and on no grid, lest
# padding is left out.
_TRACED = {"batch": 2, "height": 70, "width": 91, "rows": 18, "columns": 23, "key rows": 5, "key columns": 6}


@dataclass(frozen=True)
class Graph:
    """A function of a network, with the shape and the meaning of each of its inputs and of its output; all float32.

    Axes of a free size have names; one that is divided is rounded up. `name` tells the graphs of a network apart.
    """

    name: str
    about: str
    network: nn.Module
    function: Callable[..., Tensor]
    inputs: Ports
    output: Ports

    def proto(self, facts: dict[str, str]) -> bytes:
        """The ONNX file, with `facts` among its metadata. Raises `MissingExtra`."""
        with extra("export"):
            import onnx.helper
            import onnxscript  # noqa: F401 # which torch asks for in many lines
        shapes = [shape for shape, _ in self.inputs.values()]
        examples = [torch.zeros([axis if isinstance(axis, int) else _traced(axis) for axis in one]) for one in shapes]
        free = [
            {at: torch.export.Dim.DYNAMIC for at, axis in enumerate(one) if isinstance(axis, str)} for one in shapes
        ]
        module = _Function(self.network, self.function)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about itself
            traced = torch.export.export(module, tuple(examples), dynamic_shapes=(tuple(free),), strict=False)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(self.inputs),
                output_names=list(self.output),
                verbose=False,
            )
        assert program is not None  # which it is where a file is asked for
        model = program.model_proto
        del model.graph.value_info[:]  # sizes of what is between, in names that nobody knows
        for value in (*model.graph.input, *model.graph.output):
            shape, value.doc_string = (self.inputs | self.output)[value.name]
            for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
                if isinstance(size, str):
                    axis.dim_param = size
        model.producer_name, model.producer_version, model.doc_string = "bringback", __version__, self.about
        onnx.helper.set_model_props(model, facts)
        return model.SerializeToString()


def _traced(axis: str) -> int:
    """What a free axis is while a graph is traced; its name may be divided (`height/4`) or multiplied (`2*rows`)."""
    name, _, part = axis.partition("/")
    *times, name = name.split("*")
    return -(-_TRACED[name] * int(times[0] if times else 1) // int(part or 1))


def export(name: str, out: Path, weights: Path | str | None = None, *, overwrite: bool = False) -> list[Path]:
    """Write the graphs of the checkpoint `name` (one of `NAMES`) as ONNX files, all or none; returns their paths.

    `out` is a file `*.onnx`, beside which other graphs of the network go (`model.onnx`, `model-look.onnx`), or a folder
    for `NAME.onnx`. `weights` is a folder of checkpoints that go before the shipped. Raises ValueError for a name that
    has no graph, FileExistsError for a file that is there (without `overwrite`), `MissingWeights`, `MissingExtra`, and
    `files.WriteError`.
    """
    if name not in _KINDS:
        raise ValueError(f"no network {name!r} to export; there are {', '.join(NAMES)}")
    with extra("export"):
        import onnx  # noqa: F401 # before minutes are spent
    checkpoints = Checkpoints(weights)
    network = checkpoints.load(name, _KINDS[name][0])
    first = out if out.suffix == ".onnx" else out / f"{name}.onnx"
    found = {first.with_stem(first.stem + f"-{one.name}" * bool(one.name)): one for one in graphs(name, network)}
    there = [path for path in found if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]}: is there already; use --overwrite or another name")
    facts = facts_of(name, checkpoints.folder(name))
    write_all({path: graph.proto(facts) for path, graph in found.items()})
    return list(found)


def graphs(name: str, network: Network) -> list[Graph]:
    """The graphs of a checkpoint's network. Raises ValueError for one that has none, as those of the family paper."""
    if name not in _KINDS or not isinstance(network, _KINDS[name][0]):
        raise ValueError(f"there is no ONNX graph of the network {type(network).__name__}: use the engine torch")
    return _KINDS[name][1](network)


def facts_of(name: str, folder: Path) -> dict[str, str]:
    """What a file tells of the checkpoint, in that folder, whose weights it holds."""
    weight = Weight.of(name, folder / "model.safetensors")
    facts = {"checkpoint": name, "network": weight.network, "license": weight.licence}
    return facts | {"weights_sha256": weight.sha256}


class _Function(nn.Module):
    """A function that a network computes, as a module."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.function(*arguments)


class _Attention(nn.Module):
    """A `PartialNonLocal` in which every position asks, and what is no key gets no share: the same numbers.

    Memory grows with positions times keys, of which `PartialNonLocal.pool` leaves 4096.
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


def _of_scratches(network: ScratchUNet) -> list[Graph]:
    meaning = f"sigmoid(logits + {EAGER}) is the damage mask; from 0.5 on a place is damaged"
    output: Ports = {"logits": (("batch", 1, "height", "width"), meaning)}
    about = "Where a photo is damaged: scratches, dust, stains, cracks. At the photo's own resolution."
    return [Graph("", about, network, network.forward, _photo(), output)]


def _of_old_vae(network: VAE) -> list[Graph]:
    latent = _divided("latent", network.stride, network.stem.out_channels, "of an old photo")
    about = "Encoder of old photos, whose damage has been filled."
    return [Graph("", about, network, network.encode, _photo(), latent)]


def _of_clean_vae(network: VAE) -> list[Graph]:
    def decode(latent: Tensor) -> Tensor:
        return network.decode(latent, (latent.shape[-2] * network.stride, latent.shape[-1] * network.stride))

    latent: Ports = {"latent": (("batch", network.stem.out_channels, "rows", "columns"), "of a clean photo")}
    size = f"{network.stride}*rows", f"{network.stride}*columns"
    pixels: Ports = {"pixels": (("batch", 3, *size), f"{_PROCESSED}; cut it to the photo's own size")}
    return [Graph("", "Decoder of clean photos.", network, decode, latent, pixels)]


def _of_mapping(network: Mapping) -> list[Graph]:
    channels, seen, by = network.stem.in_channels - 1, 2 * network.attention.inner + 1, 2 ** len(network.down)
    told: Ports = {"latent": (("batch", channels, "rows", "columns"), "of an old photo, from old_vae")}
    told |= {"mask": (("batch", 1, "rows", "columns"), "how far filled, in [0, 1], by the most filled pixel of each")}
    below = "keys and values where they are valid, zeros elsewhere, and whether they are"
    keys = "what `look` gives, of the photo or of its tiles side by side; above 4096 places sums over cells of places"
    looked: Ports = {"seen": (("batch", seen, f"rows/{by}", f"columns/{by}"), below)}
    given: Ports = {"seen": (("batch", seen, "key rows", "key columns"), keys)}
    three = _photo() | {"decoded": (("batch", 3, "height", "width"), "the same decoded")}
    three |= {"mask": (("batch", 1, "height", "width"), "how far each pixel was filled, in [0, 1]")}
    meaning = "trust * pixels + (1 - trust) * decoded is the restored photo"
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
        Graph("trust", "Where a photo is better than it comes decoded.", network.trust, network.trust, three, trusted),
    ]


def _of_faces(network: FaceGenerator) -> list[Graph]:
    inputs: Ports = {
        "degraded": (("batch", 3, "64*rows", "64*columns"), "aligned faces, RGB in [0, 1]; 256x256 as it has learned"),
        "mask": (("batch", 1, "64*rows", "64*columns"), "what was filled, in [0, 1]; 0 nothing"),
    }
    output: Ports = {"refined": (("batch", 3, "64*rows", "64*columns"), _PROCESSED)}
    return [Graph("", "Makes aligned faces clear.", network, network.forward, inputs, output)]


def _of_relight(network: RelightNet) -> list[Graph]:
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


def _of_colorize(network: ColourUNet) -> list[Graph]:
    inputs: Ports = {
        "light": (("batch", 1, "height", "width"), "luminance (Rec. 601) in [0, 1], a short side of some 200 pixels"),
        "hints": (("batch", 3, "height", "width"), "known colours: 1, a* / 110, b* / 110 there; zeros elsewhere"),
    }
    meaning = "of colours: a* -90, -80, ... 100; of each b* -110 ... 100"
    output = _divided("logits", 4, network.head.out_channels, meaning)
    return [Graph("", "Which colours a grey photo may have had.", network, network.forward, inputs, output)]


def _of_tone(network: ToneCurves) -> list[Graph]:
    inputs: Ports = {
        "thumbnail": (
            ("batch", 4, network.side, network.side),
            "mean colour of each cell's undamaged pixels, from -1 to 1, and their share",
        ),
        "cumulated": (("batch", 3, 256), "the share of undamaged pixels up to each level"),
    }
    output: Ports = {"curves": (("batch", 3, network.samples), "a curve a channel at even steps over 0..1")}
    return [Graph("", "Tone curves that undo fading and casts.", network, network.curves, inputs, output)]


_KINDS: dict[str, tuple[type[Any], Callable[[Any], list[Graph]]]] = {
    "scratches": (ScratchUNet, _of_scratches),
    "relight": (RelightNet, _of_relight),
    "tone": (ToneCurves, _of_tone),
    "old_vae": (VAE, _of_old_vae),
    "mapping": (Mapping, _of_mapping),
    "clean_vae": (VAE, _of_clean_vae),
    "faces": (FaceGenerator, _of_faces),
    "colorize": (ColourUNet, _of_colorize),
}
NAMES = tuple(_KINDS)
