"""Stand-ins for the tests of the page: stages without weights, and a photo with metadata."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from bringback.pipeline import Pipeline
from bringback.stages.record import Face

DATE = "1961:04:12 07:07:00"


class Seen:
    """Stages that need no weights and keep what they were given: the names, and the mask at the last one."""

    def __init__(self):
        self.stages, self.mask, self.loaded, self.warnings = [], None, [], []

    def load(self, name, settings):
        self.loaded.append((name, dict(settings)))
        seen = self

        class Stage:
            def __init__(self):
                self.name = name

            def __call__(self, restoration):
                seen.stages.append(name)
                restoration.warnings += seen.warnings
                if name == "scratches":  # the left half, united with what was there
                    found = restoration.damage().clone()
                    found[..., : found.shape[-1] // 2] = 1
                    restoration.mask = found
                elif name == "faces":
                    points = np.array([[30, 30], [40, 30], [50, 30], [60, 30], [45, 40]], np.float32)
                    restoration.faces = [
                        Face((20, 10, 60, 50), points, 0.1, "refined"),
                        Face((0, 0, 20, 20), points, 0.0, "left alone: refinement would change the person"),
                        Face((70, 10, 80, 20), points, None, "left alone: too small, 10 pixels wide"),
                    ]
                    restoration.notes["faces"] = {"found": 3, "refined": 1}
                elif name != "stains":  # with one more, the end would be too light to become lighter
                    restoration.pixels = 0.75 * restoration.pixels + 0.25
                seen.mask = None if restoration.mask is None else restoration.mask[0, 0].numpy().copy()
                return restoration

        return Pipeline([Stage()], {name: "0123456789abcdef" * 4}, settings={name: settings})


def areas_told(monkeypatch) -> list:
    """The areas that pipelines are told of from now on."""
    told, restore = [], Pipeline.restore

    def listening(self, photo, mask=None, **more):
        told.append(more.get("areas"))
        return restore(self, photo, mask, **more)

    monkeypatch.setattr(Pipeline, "restore", listening)
    return told


def jpeg(path: Path, pixels: np.ndarray, size=(96, 64)) -> Path:
    exif = Image.Exif()
    exif[0x0132] = DATE
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).resize(size).save(path, exif=exif, icc_profile=profile, dpi=(300, 300), quality=92)
    return path


def silent(done: float, what: str) -> None:
    pass
