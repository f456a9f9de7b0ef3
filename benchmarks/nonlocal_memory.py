"""Memory of the original's partial non-local block at its own width, on the latents of large photos.

python benchmarks/nonlocal_memory.py [--whole 1.0] [--threads 2] [--json] [HEIGHTxWIDTH ...]

Each size runs in its own process. Up to `--whole` megapixels the whole block runs; above, one chunk of positions
attends to all undamaged ones and the time is extrapolated. `matrix` is the size of one N x N matrix of the original (it
holds four or five at once), `predicted` is ours by `predicted_bytes`, `measured` the peak of the process minus its
memory before the latent was allocated.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from bringback.models.wan2020.attention import ResidualNonLocal, attend, holes
from bringback.stages.wan2020.resizing import rounded

CHANNELS = 512
# Full latents alive at the peak, in a residual block: the input, the attention output, the block's input, the
# activation between its convolutions, its output. BESIDE: strips and chunks of fixed size.
MAPS, BESIDE = 5, 150_000_000
CHUNK = 512  # positions
SIZES = ("256x256", "800x1200", "1480x1992", "2414x3632")


def predicted_bytes(positions: int) -> int:
    """Predicted peak in float32."""
    return MAPS * CHANNELS * 4 * positions + BESIDE


def latent_size(photo: str) -> tuple[int, int]:
    height, width = (rounded(int(side), 16) // 4 for side in photo.split("x"))
    return height, width


@torch.inference_mode()
def measure(photo: str, whole: bool, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    block = ResidualNonLocal(CHANNELS)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    height, width = latent_size(photo)
    x = torch.randn(1, CHANNELS, height, width)
    mask = torch.zeros(1, 1, 4 * height, 4 * width)
    mask[..., height : 2 * height, :] = 1  # a quarter of the photo
    begin = time.perf_counter()
    if whole:
        block(x, mask)
        seconds = time.perf_counter() - begin
    else:
        positions = x.flatten(2)[0].T
        sound = positions[holes(mask, (height, width)).flatten() == 0]
        key, value = (layer(sound.T[None, :, None])[0, :, 0].T for layer in (block.key, block.value))
        begin = time.perf_counter()
        attend(positions[:CHUNK], key, value, scale=1.0)
        seconds = (time.perf_counter() - begin) * height * width / CHUNK
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "measured": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=SIZES, metavar="HEIGHTxWIDTH")
    parser.add_argument("--whole", type=float, default=1.0, metavar="MEGAPIXELS")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.sizes[0], given.whole > 0, given.threads)))
        return
    rows = []
    for photo in given.sizes:
        height, width = latent_size(photo)
        whole = 16e-6 * height * width <= given.whole
        arguments = [photo, "--one", "--threads", str(given.threads), "--whole", str(int(whole))]
        done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
        row = {"photo": photo, "positions": height * width, "whole": whole, "matrix": 4 * (height * width) ** 2}
        rows.append(row | {"predicted": predicted_bytes(height * width)} | json.loads(done.stdout))
        if given.json:
            print(json.dumps(rows[-1]))
    if not given.json:
        print(f"{'photo':>10} {'positions':>10} {'matrix':>10} {'predicted':>10} {'measured':>10} {'seconds':>8}")
        for row in rows:
            sizes = " ".join(f"{row[key] / 1e9:7.2f} GB" for key in ("matrix", "predicted"))
            chunk = "" if row["whole"] else "  (one chunk; the time is reckoned)"
            shown = f"{row['measured'] / 1e9:7.2f} GB {row['seconds']:8.0f}{chunk}"
            print(f"{row['photo']:>10} {row['positions']:>10} {sizes} {shown}")


if __name__ == "__main__":
    main()
