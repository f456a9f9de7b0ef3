"""What is told of the marks in a damage mask."""

import cv2
import numpy as np
import pytest

from bringback.ops import marks
from bringback.ops.marks import FACTS, Marks


def seen(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A gray photo (3, H, W) with something white in it, and log odds that it is damage."""
    return np.broadcast_to(0.4 + 0.5 * drawn, (3, *drawn.shape)).astype(np.float32), (drawn * 6 - 3).astype(np.float32)


def test_marks_are_numbered_and_told_alike_wherever_they_lie() -> None:
    drawn = np.zeros((120, 160), np.float32)
    for x in (30, 45, 60):
        drawn[50:62, x : x + 3] = 1
    found = Marks.of(*seen(drawn))
    assert found is not None and found.facts.shape == (3, FACTS) and found.facts.dtype == np.float32
    assert np.isfinite(found.facts).all() and found.areas.tolist() == [36, 36, 36]
    assert (found.labels > 0).sum() == 108 and set(np.unique(found.labels)) == {0, 1, 2, 3}
    np.testing.assert_allclose(found.facts[0, :45], found.facts[1, :45], atol=1e-4)  # all but their places
    np.testing.assert_allclose(found.facts[1, -5:-3], 2 / 12, atol=1e-6)  # two others are alike, in a row


def test_a_ring_has_a_hole_and_a_lone_mark_no_neighbors() -> None:
    drawn = np.zeros((90, 90), np.float32)
    cv2.circle(drawn, (45, 45), 15, 1.0, 3)
    found = Marks.of(*seen(drawn))
    assert found is not None and found.facts[0, 13] == pytest.approx(np.log(2)) and not found.facts[0, -5:].any()
    assert Marks.of(*seen(np.zeros((20, 20), np.float32))) is None
    whole = Marks.of(*seen(np.ones((20, 20), np.float32)))
    assert whole is not None and np.isfinite(whole.facts).all()


def test_of_very_many_marks_the_largest_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MOST", 4)
    drawn = np.zeros((60, 60), np.float32)
    drawn[5:55:10, 5:55:10] = 1
    for place in (5, 15, 25, 35):
        drawn[place, place + 1] = 1
    found = Marks.of(*seen(drawn))
    assert found is not None and len(found.facts) == 4 and found.areas.tolist() == [2] * 4
    assert (found.labels > 0).sum() == 8
