"""What the stage `scratches` does with the infrared channel of a scan."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.ops.opencv import GradientSettings
from bringback.stages.record import Restoration
from bringback.stages.scratches import ScratchDetector

HEIGHT, WIDTH = 120, 160


@pytest.fixture
def photo():
    """A flat gray photo, in which nothing is to be seen, whose infrared shows dust in two places."""
    infrared = np.random.default_rng(0).normal(50_000, 300, (HEIGHT, WIDTH)).astype(np.uint16)
    infrared[20:24, 20:24] = infrared[100:104, 150:154] = 9_000
    return replace(Photo.from_array(np.full((HEIGHT, WIDTH, 3), 120, np.uint8)), infrared=infrared)


def detect(photo, infrared="auto", mask=None, **known):
    restoration = Restoration.start(photo, mask)
    for name, value in known.items():
        setattr(restoration, name, value)
    return ScratchDetector(GradientSettings(), infrared=infrared)(restoration)


def test_dust_is_united_with_the_mask(photo):
    given = np.zeros((HEIGHT, WIDTH), np.float32)
    given[60:64, 60:64] = 1
    found = detect(photo, mask=given)
    marked = found.damage()[0, 0] > 0.5
    assert marked[20:24, 20:24].all() and marked[100:104, 150:154].all() and marked[60:64, 60:64].all()
    assert marked.float().mean() < 0.01 and not found.warnings
    assert 0 < found.notes["scratches"]["infrared_share"] < found.notes["scratches"]["damaged_share"]


def test_off_and_in_picture_areas_alone(photo):
    assert "infrared_share" not in detect(photo, "off").notes["scratches"]
    marked = detect(photo, areas=(Area(((0, 0), (80, 0), (80, 80), (0, 80))),)).damage()[0, 0] > 0.5
    assert marked[20:24, 20:24].all() and not marked[:, 90:].any()
    with pytest.raises(ValueError, match="unknown way with infrared 'on'"):
        detect(photo, "on")


def test_what_infrared_does_not_show_has_to_be_surer(photo, monkeypatch):
    seen = torch.zeros(1, 1, HEIGHT, WIDTH)
    seen[..., 60, :], seen[..., 61, :] = 0.9, 0.99
    monkeypatch.setattr("bringback.stages.scratches.gradient_mask", lambda pixels, settings: seen.clone())
    marked = detect(photo).damage()[0, 0] > 0.5
    assert not marked[60].any() and marked[61].all() and marked[20:24, 20:24].all()
    assert (detect(photo, "off").damage() > 0.5)[0, 0, 60:62].all()


def test_a_channel_that_is_no_use_is_told(photo):
    noise = np.random.default_rng(0).integers(0, 65535, (HEIGHT, WIDTH), np.uint16)
    found = detect(replace(photo, infrared=noise))
    assert found.warnings == ["the infrared channel shows the picture (black-and-white film?): not used to find dust"]
    assert torch.equal(found.damage(), detect(photo, "off").damage())
    assert not detect(replace(photo, infrared=noise[:-1])).warnings
