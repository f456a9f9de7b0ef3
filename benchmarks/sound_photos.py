"""What restoring does to sound photos, with every default: the least it should do is nothing.

python benchmarks/sound_photos.py PHOTOS... --out rows.jsonl [--every 5] [--most 30] [--only NAME...] [--weights DIR]
    [--twice]

PHOTOS are folders, tar shards or folders of shards with clean photos; every `--every`-th of each by name is restored,
and if that is more than `--most`, as many at even steps. Prints a line for each: the PSNR of the result against what
came, and the stage after which the squared error grew most, then mean, lowest, and how many are below 32 dB.
`--twice` restores the result again and gives its PSNR against the first one. `--out` gets one JSON object a photo; the
photos that stand there are not restored again, so a stopped run goes on where it was.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from bringback.errors import PhotoError
from bringback.evaluation.runner import as_array, read_photos, rounded
from bringback.images.photo import Photo
from bringback.images.shards import find_entries
from bringback.ops.metrics import psnr
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration

BAR = 32.0  # dB below which a sound photo has been harmed
LOWEST = 5  # photos named at the end


def chosen(photos: Path, every: int, most: int | None) -> set[str]:
    """Names of every so manyth photo there; of more than `most`, those at even steps."""
    names = [entry.name for entry in find_entries(photos)][::every]
    if most is not None and len(names) > most:
        names = [names[number * len(names) // most] for number in range(most)]
    return set(names)


def restored(pipeline: Pipeline, clean: Tensor, twice: bool) -> dict[str, Any]:
    """PSNR after restoring a photo (1, 3, H, W); the stage that costs most and what each adds to the squared error."""
    errors: dict[str, float] = {}

    def watch(name: str, restoration: Restoration) -> None:
        errors[name] = (restoration.pixels.cpu() - clean).square().mean().item()

    result = rounded(pipeline.restore(Photo.from_array(as_array(clean)), on_stage=watch).pixels.cpu())
    adds, before = {}, 0.0
    for name, error in errors.items():
        adds[name], before = error - before, error
    worst = max(adds, key=lambda name: adds[name])
    row = {"psnr": psnr(result, clean).item(), "stage": worst, "adds": adds}
    if twice:
        again = rounded(pipeline.restore(Photo.from_array(as_array(result))).pixels.cpu())
        row["twice"] = psnr(again, result).item()
    return row


def main() -> None:
    """Read the arguments, restore what is not done yet, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders, tar shards or folders of shards")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, read first if it is there")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--most", type=int, help="photos of each place")
    parser.add_argument("--only", nargs="+", help="photos by name, instead of choosing")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--twice", action="store_true", help="restore the results, too")
    given = parser.parse_args()
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    rows = {row["name"]: row for row in map(json.loads, lines)}
    pipeline = Pipeline.from_pretrained(given.weights)
    for place in given.photos:
        names = set(given.only or chosen(place, given.every, given.most)) - rows.keys()
        for name, clean in read_photos(place) if names else ():
            if name not in names or isinstance(clean, PhotoError):
                continue
            rows[name] = {"name": name, **restored(pipeline, clean, given.twice)}
            with given.out.open("a") as file:
                file.write(json.dumps(rows[name]) + "\n")
            again = f", again {rows[name]['twice']:.1f}" if given.twice else ""
            print(f"{rows[name]['psnr']:6.2f} dB{again}, most by {rows[name]['stage']}: {name}", flush=True)
    ordered = sorted(rows.values(), key=lambda row: row["psnr"])
    values = [min(row["psnr"], 100.0) for row in ordered]
    print(f"{len(values)} photos: mean {sum(values) / len(values):.2f} dB, {sum(v < BAR for v in values)} below {BAR}")
    for row in ordered[:LOWEST]:
        print(f"  {row['psnr']:.2f} dB, most by {row['stage']}: {row['name']}")


if __name__ == "__main__":
    main()
