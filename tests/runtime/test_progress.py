"""Who watches is told of stages and tiles; nobody has to."""

import torch

from bringback.images.photo import Photo
from bringback.ops.tiling import run_tiled
from bringback.pipeline import Pipeline
from bringback.runtime.progress import watching


class Copy:
    """A stage that copies the photo tile by tile."""

    name = "translate"

    def __call__(self, restoration):
        restoration.pixels = run_tiled(torch.clone, [restoration.pixels], tile=32, overlap=0, batch=2)
        return restoration


def test_stages_and_shares_of_tiles_are_told(pixels, lighten):
    pipeline, told = Pipeline([lighten, Copy()]), []
    photo = Photo.from_array(pixels)  # 64x48: four tiles
    with watching(lambda *work: told.append(work)):
        watched = pipeline(photo)
    assert told == [
        ("tone", 0.0, 0.0),
        ("translate", 0.0, 0.5),
        ("translate", 0.5, 0.75),
        ("translate", 1.0, 1.0),
    ]
    assert (pipeline(photo).pixels == watched.pixels).all() and len(told) == 4
