"""The stage `stains` cleans prints in their areas, says so, and is the photo as it came for the stages that follow."""

import numpy as np
import torch

from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration
from bringback.stages.stains import StainRemover
from tests.ops.test_stains import RUST, SIDE, YELLOW, dots, layer, printed, strip


def start(image: np.ndarray) -> Restoration:
    return Restoration.start(Photo.from_array(image.clip(0, 1).astype(np.float32)))


def test_the_notes_say_what_was_taken() -> None:
    one = start(layer(printed(), strip(), YELLOW))
    came = one.pixels.clone()
    StainRemover()(one)
    notes = one.notes["stains"]
    assert notes["tapes"] == 1 and notes["spots"] == 0 and 0.05 < notes["stained_share"] < 0.2
    assert torch.equal(one.as_it_came(), one.pixels) and not torch.equal(one.pixels, came)


def test_a_sound_photo_stays_as_it_is() -> None:
    one = start(printed())
    came = one.pixels.clone()
    StainRemover()(one)
    assert one.notes["stains"] == {"spots": 0, "tapes": 0, "stained_share": 0.0}
    assert torch.equal(one.pixels, came) and torch.equal(one.as_it_came(), came)


def test_only_the_picture_in_a_frame_is_cleaned() -> None:
    stained = layer(printed(), dots(24, 2.5), RUST)
    page = np.full((SIDE + 80, SIDE + 80, 3), (0.8, 0.6, 0.4))
    page[40:-40, 40:-40] = stained
    one = start(page)
    came = one.pixels.clone()
    one.areas = (Area.of((40, 40, 40 + SIDE, 40 + SIDE)),)
    StainRemover()(one)
    inside = one.areas[0].part
    assert one.notes["stains"]["spots"] >= 16 and not torch.equal(one.pixels[inside], came[inside])
    came[inside] = one.pixels[inside]
    assert torch.equal(one.pixels, came) and torch.equal(one.as_it_came(), came)


def test_a_pipeline_does_not_take_stains_for_tints() -> None:
    photo = Photo.from_array(layer(printed(), strip(), YELLOW).clip(0, 1).astype(np.float32))
    result = Pipeline([StainRemover()]).restore(photo).pixels[0, :, SIDE // 2 - 8 : SIDE // 2 + 8, 60:160]
    assert (result.amax(0) - result.amin(0)).mean() < 0.01


def test_pictures_of_any_kind_are_cleaned_alone() -> None:
    image = (layer(printed(), strip(), YELLOW).clip(0, 1) * 255).astype(np.uint8)
    clean = StainRemover().clean(image)
    assert clean.dtype == np.uint8 and clean.shape == image.shape
    assert (
        np.ptp(clean[SIDE // 2, 60:160].astype(int), axis=1).mean()
        < np.ptp(image[SIDE // 2, 60:160].astype(int), axis=1).mean() / 3
    )


def test_a_gradient_passes_where_there_is_no_stain() -> None:
    pixels = torch.from_numpy(layer(printed(), strip(), YELLOW)).float().clamp(0, 1).permute(2, 0, 1).requires_grad_()
    clean = StainRemover().clean(pixels)
    clean.sum().backward()
    assert pixels.grad is not None and torch.equal(pixels.grad, (clean == pixels).float())
    assert 0 < pixels.grad.mean() < 1
