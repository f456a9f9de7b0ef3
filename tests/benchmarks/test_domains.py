"""The measures that tell domains apart: known distances, accuracies of the same and of different pictures."""

import importlib.util
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location("domains", Path(__file__).parents[2] / "benchmarks" / "domains.py")
assert spec and spec.loader
domains = importlib.util.module_from_spec(spec)
spec.loader.exec_module(domains)


def test_distance_of_gaussians() -> None:
    torch.manual_seed(0)
    a = torch.randn(64, 4, 16, 16)
    assert domains.wasserstein(a, a) == pytest.approx(0, abs=1e-3)
    assert domains.wasserstein(a, a + 1) == pytest.approx(1, abs=0.01)  # 2 of the root of 4 channels' variance
    assert domains.wasserstein(a, 3 * a) == pytest.approx(2 / 5**0.5, abs=0.02)


def test_classifiers_tell_what_differs_and_nothing_else() -> None:
    torch.manual_seed(0)
    same = [torch.randn(60, 4, 8, 8) for _ in range(4)]
    assert all(abs(x - 0.5) < 0.2 for x in domains.accuracies((same[0], same[1]), (same[2], same[3])))
    told = domains.accuracies((same[0], same[1]), (2 * same[2], 2 * same[3]))
    assert all(x > 0.9 for x in told)
