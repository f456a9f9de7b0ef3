"""Makes the example photos: free pictures that come with scikit-image, aged by bringback's own recipes.

python examples/make.py                               writes examples/photos/*.jpg
python examples/make.py --strip docs/before-after.jpg  writes that picture too: each photo before | after `restore`
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from bringback import Pipeline
from bringback.degradations import degrade

PHOTOS = Path(__file__).parent / "photos"


def portrait() -> np.ndarray:
    """Head and shoulders out of the astronaut."""
    return data.astronaut()[0:340, 60:400]


# Name, source (all CC0 or public domain, see README.md), recipe, seed. The seeds were chosen by looking: what can be
# restored is, but for the coffee, which shows what cannot.
EXAMPLES = [
    ("astronaut", data.astronaut, "mixed", 5),
    ("cat", data.chelsea, "structured", 20),
    ("coffee", data.coffee, "mixed", 10),
    ("photographer", data.camera, "structured", 20),
    ("portrait", portrait, "mixed", 11),
]


def aged(picture: np.ndarray, recipe: str, seed: int) -> Image.Image:
    """Age one 8-bit picture (H, W) or (H, W, 3); what is gray, before or after, comes back with a single channel."""
    clean = torch.from_numpy(np.array(Image.fromarray(picture).convert("RGB"))).permute(2, 0, 1)[None] / 255
    pixels = degrade(clean, recipe, [seed]).aged[0].permute(1, 2, 0)
    image = Image.fromarray((pixels * 255).round().byte().numpy())
    return image.convert("L") if picture.ndim == 2 or torch.equal(pixels[..., 0], pixels[..., 2]) else image


def strip(paths: list[Path], height: int = 300, gap: int = 6) -> Image.Image:
    """One row a photo: as it is and as the pipeline restores it."""
    pipeline = Pipeline.from_pretrained()
    rows = []
    for path in paths:
        before = Image.open(path)
        after = pipeline(before)
        size = (round(before.width * height / before.height), height)
        row = Image.new("RGB", (2 * size[0] + gap, height), "white")
        row.paste(before.convert("RGB").resize(size, Image.Resampling.LANCZOS))
        row.paste(after.convert("RGB").resize(size, Image.Resampling.LANCZOS), (size[0] + gap, 0))
        rows.append(row)
    page = Image.new("RGB", (max(row.width for row in rows), len(rows) * (height + gap) - gap), "white")
    for index, row in enumerate(rows):
        page.paste(row, ((page.width - row.width) // 2, index * (height + gap)))
    return page


def main() -> None:
    """Age the pictures and, when asked, restore them for the strip."""
    parser = argparse.ArgumentParser(description="Make the example photos.")
    parser.add_argument("--strip", type=Path, help="also write a before/after picture here")
    arguments = parser.parse_args()
    PHOTOS.mkdir(exist_ok=True)
    paths = [PHOTOS / f"{name}.jpg" for name, *_ in EXAMPLES]
    for path, (_, load, recipe, seed) in zip(paths, EXAMPLES, strict=True):
        aged(load(), recipe, seed).save(path, quality=90)
    if arguments.strip:
        arguments.strip.parent.mkdir(parents=True, exist_ok=True)
        strip(paths).save(arguments.strip, quality=90)


if __name__ == "__main__":
    main()
