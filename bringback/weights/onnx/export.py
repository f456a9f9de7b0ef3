"""The networks as ONNX graphs, for runtimes other than torch: a file holds a graph, its weights and what they mean."""

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

OPSET = 20  # the first that samples volumes, as the curves of `relight` are


# What axes of a free size are while a graph is traced: all different, lest two are taken for one, and on no grid, lest
# padding is left out.
_TRACED = {"batch": 2, "height": 70, "width": 91, "rows": 18, "columns": 23, "key rows": 5, "key columns": 6}


def proto(graph: Graph, facts: dict[str, str]) -> bytes:
    """A graph as an ONNX file, with `facts` among its metadata. Raises `MissingExtra`."""
    with extra("export"):
        import onnx.helper
        import onnxscript  # noqa: F401 # which torch asks for in many lines
    shapes = [shape for shape, _ in graph.inputs.values()]
    examples = [torch.zeros([axis if isinstance(axis, int) else _traced(axis) for axis in one]) for one in shapes]
    free = [{at: torch.export.Dim.DYNAMIC for at, axis in enumerate(one) if isinstance(axis, str)} for one in shapes]
    module = _Function(graph.network, graph.function)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about itself
        traced = torch.export.export(module, tuple(examples), dynamic_shapes=(tuple(free),), strict=False)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.output),
            verbose=False,
        )
    assert program is not None  # which it is where a file is asked for
    model = program.model_proto
    del model.graph.value_info[:]  # sizes of what is between, in names that nobody knows
    for value in (*model.graph.input, *model.graph.output):
        shape, value.doc_string = (graph.inputs | graph.output)[value.name]
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if isinstance(size, str):
                axis.dim_param = size
    model.producer_name, model.producer_version, model.doc_string = "bringback", __version__, graph.about
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


def _traced(axis: str) -> int:
    """What a free axis is while a graph is traced; its name may be divided (`height/4`) or multiplied (`2*rows`)."""
    name, _, part = axis.partition("/")
    *times, name = name.split("*")
    return -(-_TRACED[name] * int(times[0] if times else 1) // int(part or 1))


def export(name: str, out: Path, weights: Path | str | None = None, *, overwrite: bool = False) -> list[Path]:
    """Write the graphs of the checkpoint `name` (one of `MODELS`) as ONNX files, all or none; returns their paths.

    `out` is a file `*.onnx`, beside which other graphs of the network go (`model.onnx`, `model-look.onnx`), or a folder
    for `NAME.onnx`. `weights` is a folder of checkpoints that go before the shipped. Raises ValueError for a name that
    has no graph, FileExistsError for a file that is there (without `overwrite`), `MissingWeights`, `MissingExtra`, and
    `WriteError`.
    """
    if name not in MODELS:
        raise ValueError(f"no network {name!r} to export; there are {', '.join(MODELS)}")
    with extra("export"):
        import onnx  # noqa: F401 # before minutes are spent
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
    """The graphs of a checkpoint's network. Raises ValueError for one that has none, as those of the family paper."""
    if name not in MODELS or not isinstance(network, MODELS[name].network):
        raise ValueError(f"there is no ONNX graph of the network {type(network).__name__}: use the engine torch")
    return MODELS[name].graphs(network)


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
