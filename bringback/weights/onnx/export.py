"""Export networks as ONNX files, each with a graph, its weights, and descriptions of inputs and output."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bringback import __version__
from bringback.models.base import Network
from bringback.models.graphs import Graph
from bringback.models.registry import MODELS
from bringback.runtime.extras import extra
from bringback.runtime.files import write_all
from bringback.weights.catalog import Weight
from bringback.weights.checkpoints import Checkpoints

OPSET = 20  # the first with volumetric GridSample, which `relight` needs


# Example sizes of the dynamic axes: distinct odd sizes, so torch.export neither merges axes nor drops the padding.
_TRACED = {"batch": 2, "height": 70, "width": 91, "rows": 18, "columns": 23, "key rows": 5, "key columns": 6}


def proto(graph: Graph, facts: dict[str, str]) -> bytes:
    """Export a graph to the bytes of an ONNX file with `facts` in its metadata. Raises `MissingExtra`."""
    with extra("export"):
        import onnx.helper
        import onnxscript  # noqa: F401 # torch's own error for its absence is long
    shapes = [shape for shape, _ in graph.inputs.values()]
    examples = [torch.zeros([axis if isinstance(axis, int) else _traced(axis) for axis in one]) for one in shapes]
    free = [{at: torch.export.Dim.DYNAMIC for at, axis in enumerate(one) if isinstance(axis, str)} for one in shapes]
    module = _Function(graph.network, graph.function)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        traced = torch.export.export(module, tuple(examples), dynamic_shapes=(tuple(free),), strict=False)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.output),
            verbose=False,
        )
    assert program is not None  # it is None only if exported to a file
    model = program.model_proto
    del model.graph.value_info[:]  # shapes of intermediate values, with generated names
    for value in (*model.graph.input, *model.graph.output):
        shape, value.doc_string = (graph.inputs | graph.output)[value.name]
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if isinstance(size, str):
                axis.dim_param = size
    model.producer_name, model.producer_version, model.doc_string = "bringback", __version__, graph.about
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


def _traced(axis: str) -> int:
    """Example size of a dynamic axis; its name may be divided (`height/4`, rounded up) or multiplied (`2*rows`)."""
    name, _, part = axis.partition("/")
    *times, name = name.split("*")
    return -(-_TRACED[name] * int(times[0] if times else 1) // int(part or 1))


def export(name: str, out: Path, weights: Path | str | None = None, *, overwrite: bool = False) -> list[Path]:
    """Export the graphs of the checkpoint `name` (a key of `MODELS`) to ONNX files; returns their paths.

    `out` is a file `*.onnx`, next to which further graphs of the network are written (`model.onnx`, `model-look.onnx`),
    or a folder for `NAME.onnx`. `weights` is a folder of checkpoints, or its hub id, that override the shipped ones.
    Raises ValueError for an unknown name, FileExistsError if a file exists (without `overwrite`), `MissingWeights`,
    `MissingExtra`, and `WriteError`.
    """
    if name not in MODELS:
        raise ValueError(f"no network {name!r} to export; there are {', '.join(MODELS)}")
    with extra("export"):
        import onnx  # noqa: F401 # fail early
    checkpoints = Checkpoints(weights)
    network = checkpoints.load(name, MODELS[name].network)
    first = out if out.suffix == ".onnx" else out / f"{name}.onnx"
    found = {first.with_stem(first.stem + f"-{one.name}" * bool(one.name)): one for one in graphs(name, network)}
    there = [path for path in found if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]}: is there already; use --overwrite or another name")
    facts = facts_of(name, checkpoints.folder(name))
    write_all({path: proto(graph, facts) for path, graph in found.items()})
    return list(found)


def graphs(name: str, network: Network) -> list[Graph]:
    """The graphs of a checkpoint's network. Raises ValueError if it has none, as in the family `paper`."""
    if name not in MODELS or not isinstance(network, MODELS[name].network):
        raise ValueError(f"there is no ONNX graph of the network {type(network).__name__}: use the engine torch")
    return MODELS[name].graphs(network)


def facts_of(name: str, folder: Path) -> dict[str, str]:
    """Metadata of an ONNX file: name, network, license and SHA-256 of the checkpoint in `folder`."""
    weight = Weight.of(name, folder / "model.safetensors")
    facts = {"checkpoint": name, "network": weight.network, "license": weight.licence}
    return facts | {"weights_sha256": weight.sha256}


class _Function(nn.Module):
    """Wraps a function of a network as a module, as torch.export requires."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.function(*arguments)
