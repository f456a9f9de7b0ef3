"""Peak memory compared with the planned memory, and time, from small photos to the largest scans.

python benchmarks/memory.py [--megapixels 0.25 1 3 12 24 50 100] [--threads 2] [--portrait] [--out FOLDER] [--json]
    [-- ARGUMENTS]

Each synthetic photo (scratched, grainy, with faces; with --portrait one fills it) is restored by `bringback restore` in
its own process; `planned` and `manifest` come from its manifest, `process` is the peak of the whole process as measured
by the system. Use ascending sizes: a child process starts as a copy of this one, whose memory counts. Arguments after
`--` go to `bringback restore`: `-- --dtype float32 --tile 512`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from photos import scratched
from PIL import Image

SIZES = (0.25, 1.0, 3.0, 12.0, 24.0, 50.0, 100.0)


def sides(megapixels: float) -> tuple[int, int]:
    """Height and width with aspect ratio 3:4."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    return height, round(megapixels * 1e6 / height)


def measure(
    megapixels: float, threads: int, further: list[str], keep: Path | None, *, portrait: bool
) -> dict[str, Any]:
    """Restore one photo in its own process."""
    height, width = sides(megapixels)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photo = folder / f"{megapixels:g}.jpg"
        Image.fromarray(scratched(height, width, portrait=portrait)).save(photo, quality=95)
        out = keep or folder / "out"
        command = [
            sys.executable,
            "-m",
            "bringback",
            "restore",
            str(photo),
            "-o",
            str(out),
            "--overwrite",
        ]
        begin = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with subprocess.Popen([*command, *further], env=environment, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        entry = json.loads((out / "manifest.jsonl").read_text().splitlines()[-1])
    if process.returncode:
        raise SystemExit(f"{megapixels:g} MP: {entry['message']}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "megapixels": height * width / 1e6,
        "planned": entry["memory"]["planned"],
        "manifest": entry["memory"]["peak"],
        "process": peak,
        "ratio": peak / entry["memory"]["planned"],
        "tile": entry["memory"]["tile"],
        "seconds": seconds,
        "stages": {name: notes["seconds"] for name, notes in entry["stages"].items()},
        "faces": entry["faces"]["count"],
    }


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=SIZES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keep the restored photos here")
    parser.add_argument("--portrait", action="store_true", help="one face fills the photo")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("further", nargs="*", help="arguments for `bringback restore`, after --")
    given = parser.parse_args()
    rows = []
    for megapixels in given.megapixels:
        rows.append(measure(megapixels, given.threads, given.further, given.out, portrait=given.portrait))
        print(json.dumps(rows[-1]) if given.json else _line(rows[-1], head=len(rows) == 1), flush=True)


def _line(row: dict[str, Any], *, head: bool) -> str:
    title = f"{'MP':>6} {'planned':>9} {'manifest':>9} {'process':>9} {'ratio':>6} {'seconds':>8} {'s/MP':>6} faces\n"
    sizes = " ".join(f"{row[key] / 1e9:6.2f} GB" for key in ("planned", "manifest", "process"))
    pace = f"{row['ratio']:6.2f} {row['seconds']:8.1f} {row['seconds'] / row['megapixels']:6.2f} {row['faces']:5}"
    return title * head + f"{row['megapixels']:6.2f} {sizes} {pace}"


if __name__ == "__main__":
    main()
