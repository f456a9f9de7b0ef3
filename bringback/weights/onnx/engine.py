"""Run networks by onnxruntime instead of torch: the methods that stages call are replaced by ONNX graphs."""

import hashlib
import json
import logging
import os
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, Self

import torch
from torch import Tensor

import bringback
from bringback.models.base import Network
from bringback.models.graphs import Graph
from bringback.models.registry import MODELS
from bringback.runtime.extras import extra
from bringback.runtime.files import PASSING
from bringback.weights.onnx.export import OPSET, facts_of, graphs, proto

_LOG = logging.getLogger(__name__)


def attach(network: Network, name: str, folder: Path, device: torch.device) -> None:
    """Make the network of the checkpoint `name` in `folder` run by onnxruntime in float32.

    Graphs are exported at the first use of these weights, which takes seconds each, and cached in `cache_dir()`. They
    use as many threads as torch does at the time of the call. Raises ValueError for a network without graphs or a
    device that onnxruntime does not support here, `MissingExtra` if it is not installed.
    """
    found = graphs(name, network)
    providers = _providers(device)
    facts = facts_of(name, folder)
    facts |= {"config": json.dumps(network._hub_mixin_config, sort_keys=True)}
    MODELS[name].attach(network, {graph.name: Session(cached(graph, facts), providers) for graph in found})


class Session:
    """A graph callable with tensors on any device; the result is float32, on the device of the first input.

    Calls raise ValueError if a gradient is required.
    """

    def __init__(self, model: bytes, providers: list[Any]) -> None:
        """Args: model: the ONNX file's bytes; providers: onnxruntime's execution providers."""
        self.model, self.providers, self.threads = model, providers, torch.get_num_threads()
        self.opened: Any = None
        self.opening = Lock()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        """Itself, as nothing in it changes: copies of a network share their graphs."""
        return self

    @property
    def session(self) -> Any:
        """Opened on first use: a graph takes several times its file size in memory, and few photos need all graphs."""
        with self.opening:
            if self.opened is None:
                self.opened, self.model = self._open(), b""
            return self.opened

    def _open(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.enable_cpu_mem_arena = False  # the arena would keep the peak memory and saves no time
        options.log_severity_level = 3  # errors only; the warnings are about where shapes are computed
        return onnxruntime.InferenceSession(self.model, options, providers=self.providers)

    def __call__(self, *inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            raise ValueError("the engine onnx gives no gradients: use the engine torch")
        names = [port.name for port in self.session.get_inputs()]
        arrays = (x.detach().to("cpu", torch.float32).contiguous().numpy() for x in inputs)
        (made,) = self.session.run(None, dict(zip(names, arrays, strict=True)))
        return torch.from_numpy(made).to(inputs[0].device)


def cache_dir() -> Path:
    """The cache folder: $BRINGBACK_CACHE, or `bringback` in the platform's cache location."""
    given = os.environ.get("BRINGBACK_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"), "bringback", "cache")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bringback"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "bringback")


def cached(graph: Graph, facts: dict[str, str]) -> bytes:
    """The graph's ONNX bytes, from the cache if possible; a cache that is not writable is ignored.

    A cached file ends with the SHA-256 of its content; truncated or corrupt files are exported again.
    """
    makers = [torch.__version__, *(version(name) for name in ("onnx", "onnxscript"))]
    key = hashlib.sha256(f"{facts} {OPSET} {makers} {_sources()}".encode()).hexdigest()[:16]
    path = cache_dir() / "onnx" / f"{'-'.join(filter(None, (facts['checkpoint'], graph.name)))}-{key}.graph"
    with suppress(OSError):
        kept = path.read_bytes()
        if hashlib.sha256(kept[:-32]).digest() == kept[-32:]:
            return kept[:-32]
    _LOG.warning("onnx: making %s, once for these weights", path.name)
    made = proto(graph, facts)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # a unique name, as other processes may export the same graph
        with tempfile.NamedTemporaryFile(prefix=PASSING, suffix=".part", dir=path.parent, delete=False) as stream:
            stream.write(made + hashlib.sha256(made).digest())
        try:
            os.replace(stream.name, path)
        finally:
            Path(stream.name).unlink(missing_ok=True)
    return made


def _sources() -> str:
    """A hash of the code that exports graphs: in a clone it can change without the version."""
    top = Path(bringback.__file__).parent
    files = (top / "weights" / "onnx" / "export.py", *sorted((top / "models").rglob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _providers(device: torch.device) -> list[Any]:
    with extra("export"):
        import onnxruntime
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # exact float32, no TF32
        return [("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": "0"}), "CPUExecutionProvider"]
    other = "install onnxruntime-gpu in place of onnxruntime, or " if device.type == "cuda" else ""
    raise ValueError(f"the engine onnx has no {device.type} here: {other}use --device cpu, or --engine torch")
