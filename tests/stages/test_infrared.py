"""What the stage `scratches` does with the infrared channel of a scan."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.ops.infrared import Dust
from bringback.ops.opencv import GradientSettings
from bringback.stages.record import Restoration
from bringback.stages.scratches import Found, ScratchDetector

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


@pytest.mark.parametrize("refused", ["", "no use"])
def test_odds_are_lowered_once_and_only_inside_areas_that_were_looked_at(photo, monkeypatch, refused):
    """The boxes of two tilted areas overlap, the areas do not."""
    seen = torch.zeros(1, 1, HEIGHT, WIDTH)
    seen[..., 60, :] = 0.9
    looks = iter([Dust(torch.zeros(1, 1, 1, 1)), Dust(None, refused) if refused else Dust(torch.zeros(1, 1, 1, 1))])
    monkeypatch.setattr("bringback.stages.scratches.find_dust", lambda infrared, pixels: next(looks))
    left, right = ((0, 0), (60, 0), (100, 119), (40, 119)), ((66, 0), (159, 0), (159, 119), (106, 119))
    areas = tuple(Area(corners) for corners in (left, right))
    monkeypatch.setattr(ScratchDetector, "_find_inside", lambda *given: (seen.clone(), Found()))
    row = detect(photo, areas=areas).mask[0, 0, 60]
    lowered = 0.9 / (0.9 + 0.1 * np.exp(3))
    assert torch.allclose(row[68:78], torch.tensor(lowered).float())  # also in the box of the other
    assert torch.allclose(row[90:98], torch.tensor(0.9 if refused else lowered).float())
    assert torch.allclose(row[:18], torch.tensor(0.9))  # in a box alone
