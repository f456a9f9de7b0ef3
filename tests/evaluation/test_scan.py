"""The cases of a protocol as a scanner gives them at a multiple of their resolution."""

import numpy as np
import pytest
import torch

from bringback.evaluation import scan
from bringback.evaluation.protocol import PROTOCOLS
from bringback.ops.metrics import psnr


@pytest.fixture
def photo():
    made = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(made, (96, 128), mode="bicubic").clamp(0, 1)


def test_a_recipe_may_have_a_multiple():
    assert scan.of_case("structured@4") == ("structured", 4)
    assert scan.of_case("structured") == ("structured", 1)


@pytest.mark.parametrize("wrong", ["clean@0", "clean@x", "clean@1.5", "clean@-2"])
def test_other_multiples_are_refused(wrong):
    with pytest.raises(ValueError, match="whole number"):
        scan.of_case(wrong)


@pytest.mark.parametrize("times", [2, 4])
def test_a_scan_is_seeded_and_close_to_its_truth(photo, times):
    large = scan.scanned(photo, times, 3)
    assert large.shape == (1, 3, 96 * times, 128 * times)
    assert torch.equal(large, scan.scanned(photo, times, 3))
    assert not torch.equal(large, scan.scanned(photo, times, 4))
    assert torch.equal(large * 255, (large * 255).round())
    truth = scan.truth(photo, times, 3)
    assert truth.shape == photo.shape
    assert psnr(scan.shrunk(large, times), truth).item() > 35
    assert psnr(photo, truth).item() > 30


def test_a_mask_is_enlarged_in_its_place():
    mask = np.zeros((20, 30), np.float32)
    mask[4:8, 10:20] = 1
    large = scan.enlarged_mask(mask, 3)
    assert large.shape == (60, 90)
    assert large[14:22, 32:58].min() > 0.8 and large[:9].max() == 0


def test_the_protocol_has_each_case_at_each_scale():
    assert PROTOCOLS["scan"]["M2"] == "mixed@2"
    assert {case[0] for case in PROTOCOLS["scan"]} == set("SMUC")
