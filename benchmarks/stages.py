"""Cost of each stage: milliseconds, GMAC and GMAC/s, on the CPU and, if available, on a GPU.

python benchmarks/stages.py [--sides 256 512 1024] [--devices cpu cuda] [--dtypes float32 bfloat16] [--peak TFLOPS]
    [--config lean] [--weights DIR] [--threads 2] [--repeats 5] [--profile] [--json]

A scratched photo with a face goes through the pipeline stage by stage; times are medians after one warm-up round. GMAC
counts convolutions, matrix products and attention (torch's flop counter, halved), so `GMAC/s` measures network
throughput for stages that do little else; `--peak` (the device's TFLOPS in that dtype) adds the utilization.
`--profile` prints the slowest operations.
"""

import argparse
import json
import time
from statistics import median
from typing import Any

import torch
from photos import scratched
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from bringback.images.photo import Photo
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration


def macs(pipeline: Pipeline, photo: Photo) -> dict[str, float]:
    """Multiply-accumulates of each stage on a photo."""
    found: dict[str, float] = {}
    restoration = Restoration.start(photo)
    for stage in pipeline.stages:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            restoration = stage(restoration)
        found[stage.name] = counter.get_total_flops() / 2
    return found


def seconds(pipeline: Pipeline, photo: Photo, repeats: int) -> dict[str, float]:
    """Median seconds of each stage, and of the whole pipeline."""
    runs: dict[str, list[float]] = {stage.name: [] for stage in pipeline.stages} | {"all": []}
    for number in range(repeats + 1):
        begin = time.perf_counter()
        restoration = pipeline.restore(photo)
        if pipeline.compute.device.type == "cuda":
            torch.cuda.synchronize()
        if number:  # the first round is a warm-up
            runs["all"].append(time.perf_counter() - begin)
            for name, notes in restoration.notes.items():
                runs[name].append(notes["seconds"])
    return {name: median(values) for name, values in runs.items()}


def measure(given: argparse.Namespace, device: str, dtype: str, side: int) -> list[dict[str, Any]]:
    """One row per stage."""
    config = {"weights": given.weights, "config": given.config, "device": device, "dtype": dtype}
    pipeline, photo = Pipeline.from_pretrained(**config), Photo.from_array(scratched(side, side))
    counted, timed = macs(pipeline, photo), seconds(pipeline, photo, given.repeats)
    counted["all"] = sum(counted.values())
    about = {"device": device, "dtype": dtype, "side": side}
    rows = []
    for name, took in timed.items():
        row = about | {"stage": name, "ms": 1e3 * took, "gmac": counted[name] / 1e9}
        row["gmac_per_s"] = row["gmac"] / max(took, 1e-4)
        if given.peak:
            row["of_peak"] = 2e-3 * row["gmac_per_s"] / given.peak
        rows.append(row)
    if given.profile:
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device != "cpu")
        with profile(activities=kinds) as watched:
            pipeline.restore(photo)
        order = "self_cuda_time_total" if device != "cpu" else "self_cpu_time_total"
        print(watched.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=48))
    return rows


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=(256, 512, 1024))
    parser.add_argument("--devices", nargs="+", default=["cpu"] + ["cuda"] * torch.cuda.is_available())
    parser.add_argument("--dtypes", nargs="+", default=("float32", "bfloat16"))
    parser.add_argument("--peak", type=float, metavar="TFLOPS")
    parser.add_argument("--config", default=None)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if not given.json:
        print(f"{'device':>6} {'dtype':>9} {'side':>5} {'stage':>10} {'ms':>8} {'GMAC':>7} {'GMAC/s':>7}  of peak")
    for device in given.devices:
        for dtype in given.dtypes:
            for side in given.sides:
                for row in measure(given, device, dtype, side):
                    print(json.dumps(row) if given.json else _line(row), flush=True)


def _line(row: dict[str, Any]) -> str:
    share = f"{row['of_peak']:8.1%}" if "of_peak" in row else ""
    cost = f"{row['ms']:8.1f} {row['gmac']:7.2f} {row['gmac_per_s']:7.0f}"
    return f"{row['device']:>6} {row['dtype']:>9} {row['side']:5} {row['stage']:>10} {cost} {share}"


if __name__ == "__main__":
    main()
