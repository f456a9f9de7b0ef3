"""An archive of photos of real size: photos a second, memory, the manifest, and what a second run costs.

python benchmarks/archive.py [--count 10000] [--done 0] [--sides 1600 1200] [--keep] [--folder FOLDER]

Grainy JPEGs, 3 MB each by default, are links to a few files; the only stage lightens them. Printed is a line for each
twentieth, with the seconds that passed and those that the process computed, of a first run and of a second, which finds
all done; then what it takes to ask a manifest of a tenth, of 3 tenths and of all lines. Results are emptied once they
are written, to spare the disk, unless `--keep`: the second run looks whether they are there, not into them. With
`--done` so many are there from the beginning, with a line each in the manifest, so that the rest shows what an archive
that is nearly done costs.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch
from PIL import Image
from skimage import data

from bringback.batch.jobs import MANIFEST
from bringback.batch.locks import locks_in
from bringback.batch.manifest import Manifest, as_line
from bringback.batch.runner import restore_folder
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration


class Lighten:
    """Moves every pixel a quarter of the way to white."""

    name = "tone"

    def __call__(self, restoration: Restoration) -> Restoration:
        restoration.pixels = 0.75 * restoration.pixels + 0.25
        return restoration


def archive(folder: Path, count: int, sides: tuple[int, int]) -> float:
    """Makes the photos; returns the mean size of a file in bytes."""
    sources, rng = folder / "sources", np.random.default_rng(0)
    sources.mkdir(parents=True)
    for index, picture in enumerate((data.astronaut(), data.coffee(), data.chelsea(), data.rocket())):
        large = cv2.resize(picture, sides, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        grain = cv2.GaussianBlur(rng.normal(0, 40, large.shape).astype(np.float32), (0, 0), 0.7)
        image = Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))
        image.save(sources / f"{index}.jpg", quality=98, subsampling=0, dpi=(600, 600))
    files = sorted(sources.iterdir())
    for index in range(count):
        path = folder / "in" / f"{index // 500:03d}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[index % len(files)], path)
    return sum(path.stat().st_size for path in files) / len(files)


def make_done(folder: Path, count: int) -> None:
    """Makes results of the first photos, which are empty, and their lines in the manifest."""
    entries = restore_folder([folder / "sources"], folder / "once", Pipeline([Lighten()]))
    (folder / "out").mkdir()
    with (folder / "out" / MANIFEST).open("w", encoding="utf-8") as stream:
        for index in range(count):
            name, entry = f"{index // 500:03d}/{index}.jpg", entries[index % len(entries)]
            output, (digest,) = folder / "out" / name, entry["written"].values()
            output.parent.mkdir(exist_ok=True)
            output.touch()
            places = {"photo": name, "input": str(folder / "in" / name), "output": str(output)}
            stream.write(as_line(entry | places | {"written": {name: digest}}) + "\n")


def ask(manifest: Path, count: int, folder: Path) -> str:
    """What it takes to read the first lines of a manifest, as a run does, and to count what is done."""
    lines = manifest.read_bytes().splitlines(keepends=True)[:count]
    folder.mkdir()
    (folder / MANIFEST).write_bytes(b"".join(lines))
    begin = time.process_time()
    with locks_in(folder) as locks:
        done = len(Manifest(locks).done)
    read, begin = time.process_time() - begin, time.process_time()
    with (folder / MANIFEST).open(encoding="utf-8") as stream:
        found = sum(json.loads(line)["status"] == "done" for line in stream)
    asked = time.process_time() - begin
    assert done == found == len(lines)
    return f"{len(lines)} lines: a run reads them in {read:.3f} s, a query takes {asked:.3f} s"


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--done", type=int, default=0, help="photos that are done before")
    parser.add_argument("--sides", type=int, nargs=2, default=(1600, 1200))
    parser.add_argument("--keep", action="store_true", help="keep the content of the results")
    parser.add_argument("--folder", type=Path, help="where the archive is made (default: a temporary folder)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="archive-", dir=given.folder) as name:
        folder = Path(name)
        size = archive(folder, given.count, tuple(given.sides))
        print(f"{given.count} photos of {given.sides[0]}x{given.sides[1]} pixels, {size / 1e6:.2f} MB each", flush=True)
        make_done(folder, given.done)
        for run in ("first", "second"):
            count, start = 0, time.perf_counter()
            begin, worked = start, time.process_time()

            def on_photo(entry: dict[str, Any], run: str = run) -> None:
                nonlocal count, begin, worked
                count += 1
                if entry["status"] == "done" and not given.keep:
                    os.truncate(entry["output"], 0)
                if count % max(1, given.count // 20) == 0:
                    now, work = time.perf_counter(), time.process_time()
                    memory = psutil.Process().memory_info().rss / 1e6
                    lines = (folder / "out" / MANIFEST).stat().st_size / 1e6
                    took = f"{now - begin:8.1f} s, {work - worked:7.1f} s computed"
                    print(f"{run:6} {count:6d} {took}, {memory:5.0f} MB, manifest {lines:.2f} MB", flush=True)
                    begin, worked = now, work

            entries = restore_folder([folder / "in"], folder / "out", Pipeline([Lighten()]), on_photo=on_photo)
            total = time.perf_counter() - start
            outcomes = dict(Counter(entry["status"] for entry in entries))
            print(f"{run}: {outcomes}, {total:.0f} s, {given.count / total:.1f} photos a second", flush=True)

        for part in (0.1, 0.3, 1.0):
            print(ask(folder / "out" / MANIFEST, round(part * given.count), folder / f"ask-{part}"), flush=True)


if __name__ == "__main__":
    main()
