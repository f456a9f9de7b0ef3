"""Strokes of the brush: what a browser may send, and which pixels of a photo they cover."""

import time

import numpy as np
import pytest

from bringback.web.strokes import MAX_STROKES, Stroke, apply, read, shared


def stroke(*points, width=20.0, erases=False):
    return Stroke(erases, width, points)


@pytest.mark.parametrize("width", [1, 3, 8, 60])
def test_a_stroke_is_as_wide_as_the_brush_and_where_it_was_drawn(width):
    mask = apply([stroke((100, 40), (100, 160), width=width)], np.zeros((200, 300), np.float32))
    columns = np.flatnonzero(mask[100])
    assert abs(len(columns) - width) <= 1
    assert abs(columns.mean() + 0.5 - 100) <= 1
    rows = np.flatnonzero(mask[:, 100])
    assert abs(rows[0] - (40 - width / 2)) <= 1 and abs(rows[-1] + 1 - (160 + width / 2)) <= 1  # round ends


def test_strokes_add_and_erase_in_their_order_and_leave_the_rest_as_it_was():
    found = np.full((100, 100), 0.3, np.float32)
    found[:, 50:] = 0.8
    across, erased = stroke((0, 50), (100, 50)), stroke((75, 0), (75, 100), erases=True)
    mask = apply([across, erased], found.copy())
    assert mask[50, 20] == 1 and mask[50, 75] == 0 and mask[20, 75] == 0
    assert mask[20, 20] == np.float32(0.3) and mask[20, 55] == np.float32(0.8)
    assert apply([erased, across], found.copy())[50, 75] == 1


def test_a_dot_is_a_stroke_and_one_outside_the_photo_covers_nothing():
    assert apply([stroke((50, 50))], np.zeros((100, 100), np.float32)).sum() > 200
    assert apply([stroke((-200, 50), (-100, 60))], np.zeros((100, 100), np.float32)).sum() == 0
    assert apply([stroke((-200, 50), (300, 50))], np.zeros((100, 100), np.float32))[50].all()


def test_wide_strokes_are_drawn_at_once():
    zigzag = stroke(*((x, 2000 * (x % 2)) for x in range(100)), width=2000)
    begin = time.process_time()
    assert zigzag.draw((slice(0, 2000), slice(0, 2000))).sum() > 2_000_000
    assert time.process_time() - begin < 5  # not seconds a segment


def test_many_points_are_drawn_at_once():
    steps = np.cumsum(np.random.default_rng(0).normal(0, 0.5, (30_000, 2)), 0)
    begin = time.process_time()
    (one,) = read([{"points": np.abs(steps).tolist(), "width": 40, "erases": False}], 1000, 1000)
    thinned = one.draw((slice(0, 1000), slice(0, 1000)))
    assert time.process_time() - begin < 1 and len(one.points) < 10_000
    exact = Stroke(False, 40.0, tuple(map(tuple, np.abs(steps)))).draw((slice(0, 1000), slice(0, 1000)))
    assert (thinned != exact).sum() < 0.02 * exact.sum()


def test_a_box_holds_all_of_its_stroke():
    one = stroke((30.4, 20.6), (61.2, 70.9), width=9)
    whole = one.draw((slice(0, 100), slice(0, 120)))
    box = one.box(100, 120)
    assert whole.sum() == whole[box].sum() > 0
    assert np.array_equal(one.draw(box), whole[box])
    rows, columns = one.box(100, 120, margin=32)
    assert (rows.start, rows.stop, columns.start) == (0, 100, 0)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        [{}],
        [{"points": [], "width": 3, "erases": False}],
        [{"points": [[1, 2, 3]], "width": 3, "erases": False}],
        [{"points": [["x", 2]], "width": 3, "erases": False}],
        [{"points": [[1, float("nan")]], "width": 3, "erases": False}],
        [{"points": [[1, 1e9]], "width": 3, "erases": False}],
        [{"points": [[1, 10**400]], "width": 3, "erases": False}],
        [{"points": [[1, 2]], "width": 0, "erases": False}],
        [{"points": [[1, 2]], "width": float("inf"), "erases": False}],
        [{"points": [[1, 2]], "width": 3, "erases": False}] * (MAX_STROKES + 1),
        [{"points": [[0, 100 * (x % 2)] for x in range(3000)], "width": 3, "erases": False}],  # covers it 900 times
        [{"points": [[0, 100 * (x % 2)] for x in range(9000)], "width": 0.1, "erases": False}],
    ],
)
def test_what_is_no_list_of_strokes_is_refused(sent):
    with pytest.raises(ValueError):
        read(sent, 100, 100)


def test_strokes_come_back_as_they_were_sent():
    strokes = (stroke((1, 2.5)), stroke((3, 4), (5, 6), erases=True))
    assert read([one.sent() for one in strokes], 100, 100) == strokes


def test_what_two_lists_begin_with():
    a, b, c = stroke((1, 1)), stroke((2, 2)), stroke((3, 3))
    assert [shared((a, b), (a, b)), shared((a, b), (a, c)), shared((), (a,)), shared((a, b), (a,))] == [2, 1, 0, 1]
