"""Throughput on a folder: photos per second, and how much of the time the networks wait.

python benchmarks/folder.py [--photos FOLDER] [--count 10] [--side 512] [--threads 2] [--repeats 3] [--device auto]
    [--dtype auto] [--batch-size N] [--json]

Restores a folder (without `--photos`: synthetic scratched photos with a face) in this process, with weights already
loaded. `networks` is the share of the time in which a network computes; `finding faces` that of dlib's detector, which
runs on the CPU with one core per photo of a batch (so it can exceed 100 %); `reading` and `writing` run in their own
threads and cost nothing as long as they keep up. `waiting` is all time outside the networks, including face detection.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from photos import scratched
from PIL import Image
from torch import nn

from bringback.batch import runner as folders
from bringback.pipeline import Pipeline
from bringback.stages.faces.detector import FaceFinder


class Watch:
    """Accumulated seconds of wrapped functions, by name."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.device = device

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = self._now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += self._now() - begin

        return call

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def networks(pipeline: Pipeline) -> list[tuple[nn.Module, str]]:
    """The networks of the stages, and the names of their methods that compute."""
    asked = ("forward", "encode", "decode", "look", "curves")
    parts = [part for stage in pipeline.stages for part in vars(stage).values() if isinstance(part, nn.Module)]
    return [(part, method) for part in parts for method in asked if method in vars(type(part))]


def run(pipeline: Pipeline, photos: Path, out: Path) -> dict[str, float]:
    """Restore once and return the measurements."""
    watch = Watch(pipeline.compute.device)
    restorer = folders._Steps
    with (
        patch.object(FaceFinder, "find", watch.timed("faces", FaceFinder.find)),
        patch.object(restorer, "read", watch.timed("read", restorer.read)),
        patch.object(restorer, "write", watch.timed("write", restorer.write)),
    ):
        for part, method in networks(pipeline):
            setattr(part, method, watch.timed("networks", getattr(part, method)))
        begin = time.perf_counter()
        entries = folders.restore_folder([photos], out, pipeline)
        total = time.perf_counter() - begin
        for part, method in networks(pipeline):
            delattr(part, method)
    failed = [entry["message"] for entry in entries if entry["status"] != "done"]
    if failed:
        raise SystemExit(failed[0])
    shares = {f"{name}_share": seconds / total for name, seconds in watch.seconds.items()}
    faces = sum(entry["faces"]["count"] for entry in entries)
    return {"photos_per_s": len(entries) / total, "faces": faces, "waiting": 1 - shares["networks_share"]} | shares


def main() -> None:
    """Parse arguments and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pipeline = Pipeline.from_pretrained(device=given.device, dtype=given.dtype, batch_size=given.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        photos = given.photos or Path(scratch) / "photos"
        if given.photos is None:
            photos.mkdir()
            for number in range(given.count):
                picture = Image.fromarray(scratched(given.side, given.side, number))
                picture.save(photos / f"{number:03}.jpg", quality=95)
        runs = [run(pipeline, photos, Path(scratch) / f"out-{number}") for number in range(given.repeats + 1)][1:]
    report = {name: median(one[name] for one in runs) for name in runs[0]}
    report |= {"device": str(pipeline.compute.device), **pipeline.compute.settings}
    if given.json:
        print(json.dumps(report))
        return
    print(f"{report['device']}, {report['dtype']}, batches of {report['batch_size']}: ", end="")
    print(f"{report['photos_per_s']:.2f} photos a second, {report['faces']:.0f} faces")
    names = {"networks_share": "networks", "waiting": "waiting", "faces_share": "finding faces"}
    names |= {"read_share": "reading, beside", "write_share": "writing, beside"}
    print("of the time: " + ", ".join(f"{label} {report[name]:.1%}" for name, label in names.items()))


if __name__ == "__main__":
    main()
