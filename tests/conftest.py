"""What the tests share: a small photo, stages that need no weights, the folder of pictures where there is one."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """A real colour picture, (48, 64, 3) uint8, higher frequencies and colours all over."""
    return np.ascontiguousarray(data.astronaut()[60:204:3, 130:322:3])


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The tar shards of real photos and damage: `$BRINGBACK_DATA`, or shared/data beside the checkout.

    Tests that need them are skipped where there are none.
    """
    folder = Path(os.environ.get("BRINGBACK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real photos: set BRINGBACK_DATA")
    return folder


class Lighten:
    """A stage without weights: moves every pixel a quarter of the way to white, and counts its calls."""

    name = "tone"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, restoration):
        self.calls += 1
        restoration.pixels = 0.75 * restoration.pixels + 0.25
        return restoration


class Mark:
    """A stage without weights: finds damage in the left half, united with what was there."""

    name = "scratches"

    def __call__(self, restoration):
        found = restoration.damage().clone()
        found[..., : found.shape[-1] // 2] = 1
        restoration.mask = found
        return restoration


class Redden:
    """A stage without weights that gives grey photos a colour."""

    name = "translate"

    def __call__(self, restoration):
        restoration.pixels = restoration.pixels * torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1)
        return restoration


@pytest.fixture
def lighten() -> Lighten:
    return Lighten()


@pytest.fixture
def mark() -> Mark:
    return Mark()


@pytest.fixture
def redden() -> Redden:
    return Redden()
