"""onnxruntime compared with torch: numerical difference and speed.

python benchmarks/engines.py [--side 512] [--photo 768 1024] [--threads 1] [--repeats 5] [--weights DIR]

Every graph of the shipped weights gets its inputs for a scratched photo with a face, in turn through torch in float32,
in bfloat16, and through onnxruntime, so that other load affects all equally. Reports the largest difference between
onnxruntime and torch float32, the file size, and median times. Then the same for the whole pipeline on a photo. Prints
Markdown tables.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from photos import scratched
from torch import Tensor

from bringback.images.photo import Photo
from bringback.models.native_scale import spectra
from bringback.models.registry import MODELS, NETWORKS
from bringback.models.relight import RelightNet, places
from bringback.models.tone import ToneCurves, cumulated
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet
from bringback.ops.color import luminance
from bringback.pipeline import Pipeline
from bringback.runtime.compute import autocast_to
from bringback.weights.checkpoints import Checkpoints
from bringback.weights.onnx.engine import Session, cached
from bringback.weights.onnx.export import facts_of, graphs

STAGES = ["scratches", "tone", "fill", "translate", "faces"]


def inputs(checkpoints: Checkpoints, side: int) -> dict[str, list[Tensor]]:
    """The inputs of each graph."""
    photo = torch.from_numpy(scratched(side, side)).permute(2, 0, 1)[None] / 255
    face = F.interpolate(photo[..., : side // 2, side // 4 : 3 * side // 4], (256, 256), mode="bilinear")
    small = luminance(F.interpolate(photo, (192, 192), mode="bilinear", antialias=True))
    mask = checkpoints.load("scratches", ScratchUNet)(photo).sigmoid()
    vae, mapping = checkpoints.load("old_vae", VAE), checkpoints.load("mapping", LatentMapping)
    coarse = F.max_pool2d(mask, vae.stride)
    latent = vae.encode(photo)
    seen, clean = mapping.look(latent, coarse), mapping(latent, coarse)
    decoded = checkpoints.load("clean_vae", VAE).decode(clean, (side, side))
    light, tone = checkpoints.load("relight", RelightNet), checkpoints.load("tone", ToneCurves)
    thumbnail = light.thumbnail(photo)
    return {
        "scale": [spectra(photo)],
        "scratches": [photo],
        "relight": [photo, light.curves(thumbnail), places(photo)],
        "relight-curves": [thumbnail],
        "tone": [tone.thumbnail(photo, mask), cumulated(photo, mask)],
        "old_vae": [photo],
        "mapping": [latent, coarse],
        "mapping-tile": [latent, coarse, seen],
        "mapping-look": [latent, coarse],
        "mapping-noise": [photo],
        "mapping-trust": [photo, decoded, mask, mapping.trust.look(photo), torch.zeros(1, 1, 1, 1)],
        "clean_vae": [clean],
        "faces": [face, torch.zeros_like(face[:, :1]), face],
        "colorize": [small, torch.zeros(1, 3, 192, 192)],
        "upscale": [photo],
    }


def in_turn(ways: list[Callable[[], Tensor]], repeats: int) -> tuple[list[Tensor], list[float]]:
    """Run all functions alternately; returns their last results and median seconds, without a warm-up round."""
    took: list[list[float]] = [[] for _ in ways]
    made: list[Tensor] = [torch.empty(0)] * len(ways)
    for number in range(repeats + 1):
        for way, call in enumerate(ways):
            begin = time.perf_counter()
            made[way] = call()
            if number:
                took[way].append(time.perf_counter() - begin)
    return made, [median(times) for times in took]


def row(name: str, size: str, made: list[Tensor], seconds: list[float]) -> str:
    """One table row; the three results are torch float32, torch bfloat16 and onnxruntime."""
    largest = float((made[2] - made[0]).abs().max())
    ratios = " | ".join(f"{seconds[2] / other:.2f}" for other in seconds[:2])
    times = " | ".join(f"{1e3 * one:.1f}" for one in seconds)
    return f"| {name} | {largest:.1e} | {float(made[0].abs().max()):.1f} | {size} | {times} | {ratios} |"


HEAD = """
| {} | largest difference | of numbers up to | MB | torch float32, ms | bfloat16 | onnx | onnx / float32 | / bfloat16 |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="of what networks get; faces 256, colorize 192")
    parser.add_argument("--photo", type=int, nargs=2, default=(768, 1024), help="height and width of the whole photo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoints = Checkpoints(options.weights)
    print(HEAD.format("graph"))
    with torch.inference_mode():
        given = inputs(checkpoints, options.side)
    for name in MODELS:
        folder = checkpoints.folder(name)
        facts = facts_of(name, folder)
        network = checkpoints.load(name, NETWORKS[facts["network"]])
        for graph in graphs(name, network):
            full = name + f"-{graph.name}" * bool(graph.name)
            model = cached(graph, facts)
            function = network.forward if full in ("mapping", "mapping-tile") else graph.function
            ways = [partial(in_torch, function, given[full], dtype) for dtype in (torch.float32, torch.bfloat16)]
            ways.append(partial(Session(model, ["CPUExecutionProvider"]), *given[full]))
            print(row(full, f"{len(model) / 1e6:.1f}", *in_turn(ways, options.repeats)), flush=True)

    photo = Photo.from_array(scratched(*options.photo))
    print(HEAD.format("{}x{} photo".format(*options.photo)))
    for stages in (["scratches"], ["relight"], ["tone"], ["translate"], ["faces"], STAGES):
        chosen = partial(Pipeline.from_pretrained, options.weights, stages=stages, device="cpu")
        pipelines = [chosen(dtype="float32"), chosen(dtype="bfloat16"), chosen(engine="onnx")]
        made, seconds = in_turn([partial(restored, one, photo) for one in pipelines], options.repeats)
        print(row(", ".join(stages), "", made, seconds), flush=True)


def in_torch(function: Callable[..., Tensor], given: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Run a network function in torch with this dtype."""
    with torch.inference_mode(), autocast_to(torch.device("cpu"), dtype):
        return function(*given).float()


def restored(pipeline: Pipeline, photo: Photo) -> Tensor:
    """The restored photo and its damage mask, as channels."""
    restoration = pipeline.restore(photo)
    return torch.cat([restoration.pixels, restoration.damage()], 1)


if __name__ == "__main__":
    main()
