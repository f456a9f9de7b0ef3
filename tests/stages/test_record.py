"""The record between the stages: what is to be filled is computed once, what was filled is known."""

import numpy as np
import pytest
import torch

from bringback.images.photo import Photo
from bringback.ops.masks import fill_mask
from bringback.pipeline import Pipeline
from bringback.runtime.memory import HELD
from bringback.stages import record, run
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.fill import HoleFiller
from bringback.stages.prior.stage import PriorDenoiser
from bringback.stages.record import Restoration
from bringback.stages.run import finalize


@pytest.fixture
def calls(monkeypatch):
    """The masks whose filled share was computed."""
    masks = []
    monkeypatch.setattr(record, "fill_mask", lambda mask: masks.append(mask) or fill_mask(mask))
    return masks


def damaged(pixels) -> tuple[Photo, np.ndarray]:
    mask = np.zeros(pixels.shape[:2], np.float32)
    mask[10:14, 5:50] = 1
    return Photo.from_array(pixels), mask


def test_the_mask_to_fill_is_computed_once_for_each_state_of_the_mask(pixels, calls):
    restoration = Restoration.start(*damaged(pixels))
    first = restoration.to_fill()
    assert restoration.to_fill() is first and len(calls) == 1
    torch.testing.assert_close(first, fill_mask(restoration.damage()), rtol=0, atol=0)
    restoration.mask[..., 30:, :] = 1  # in place
    assert restoration.to_fill()[..., 40, :].min() == 1 and len(calls) == 2
    restoration.mask = torch.zeros_like(restoration.mask)
    assert restoration.to_fill().max() == 0 and len(calls) == 3
    restoration.mask = None
    assert restoration.to_fill().max() == 0 and restoration.to_fill().shape == (1, 1, 48, 64)


def test_all_stages_use_the_same_mask_to_fill(pixels, calls):
    translate = Pipeline.from_pretrained(stages=["translate"], device="cpu").stages
    prior = PriorDenoiser(iterations=60, size=64)
    seen = []

    class Look:
        name = "tone"

        def __call__(self, restoration):
            seen.append(restoration.filled)
            return restoration

    class Aligned(FaceRefiner):
        size = 64

    crop = np.ascontiguousarray(pixels[:, :48].repeat(2, 0).repeat(2, 1)[:64, :64])
    faces = Aligned(torch.nn.Identity(), aligned=True)
    told = []
    faces.generator.forward = lambda crops, mask: told.append(mask) or crops
    pipeline = Pipeline([Look(), HoleFiller(), prior, *translate, faces, Look()])
    restoration = pipeline.restore(*damaged(crop))
    assert len(calls) == 1 and seen[0] is None and seen[1] is restoration.filled is restoration.to_fill()
    assert torch.equal(told[0], restoration.filled) and restoration.filled.max() == 1


def test_a_fill_that_fails_has_filled_nothing(pixels, monkeypatch):
    restoration = Restoration.start(*damaged(pixels))
    monkeypatch.setattr("bringback.stages.fill.fill_into", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        HoleFiller()(restoration)
    assert restoration.filled is None


def test_the_memory_plan_counts_all_that_the_record_has(pixels):
    restoration = HoleFiller()(Restoration.start(*damaged(pixels)))
    planes = [restoration.pixels, restoration.mask, restoration.filled]
    size = restoration.photo.pixels.nbytes + sum(plane.numel() * plane.element_size() for plane in planes)
    assert size == HELD * 48 * 64


def test_what_shows_through_goes_with_the_size_it_was_seen_at(pixels):
    for change in (lambda one: one.enlarge(torch.zeros(1, 3, 96, 128)), finalize):
        restoration = Restoration.start(*damaged(pixels))
        restoration.seen = restoration.damage() > 0
        change(restoration)
        assert restoration.seen is None


def test_freed_memory_is_given_back_before_a_large_photo_is_written(pixels, monkeypatch):
    calls = []
    monkeypatch.setattr(run, "give_back_heap", lambda: calls.append(1))
    finalize(Restoration.start(*damaged(pixels)))
    assert not calls
    monkeypatch.setattr(run, "LARGE", 1000)
    finalize(Restoration.start(*damaged(pixels)))
    assert calls
