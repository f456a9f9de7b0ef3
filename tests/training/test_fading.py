"""Training of the judge that tells faded photos."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from bringback.models.fading import FACTS, FadingJudge, Trunk
from bringback.models.tone import ToneCurves, heeded

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "train" / "fading.py"))


@pytest.mark.parametrize("kind", ["clean", "unstructured", "dyes", "bent"])
def test_a_lesson_has_the_errors_of_the_correction_by_its_strength(pixels: np.ndarray, kind: str) -> None:
    photo = torch.from_numpy(pixels[:96, :128].copy()).permute(2, 0, 1)[None].float() / 255
    made = SCRIPT["aged"](photo, kind, None, np.random.default_rng(4))
    assert made.aged.shape == photo.shape and made.aged.min() >= 0 and made.aged.max() <= 1
    faded = kind in ("dyes", "bent")
    assert (made.aged - made.truth).abs().mean() > 0.01 if faded else True
    seen, errors = SCRIPT["lesson"](ToneCurves(side=16), Trunk(), made)
    assert len(seen) == FACTS + 2 * 144
    untouched = (made.aged - made.truth).square().mean()
    assert errors[0].item() == pytest.approx(untouched.item(), rel=1e-4, abs=1e-9)
    assert errors[2] < 1e-9  # new curves change nothing


def test_the_judge_learns_to_tell_what_has_faded() -> None:
    torch.manual_seed(0)
    judge, count = FadingJudge(2), 400
    seen = torch.randn(count, FACTS + 2 * 144)
    faded = seen[:, 7] > 0
    worse, better = torch.tensor([1e-6, 0.0, 0.01]), torch.tensor([0.01, -0.02, 0.01])  # (1 - s)^2 / 100
    errors = torch.where(faded[:, None], better, worse)
    lessons = SCRIPT["Lessons"](seen, errors, torch.arange(count), np.where(faded, "faded", "clean"))
    SCRIPT["fit"](judge, lessons, 40)
    with torch.inference_mode():
        answers = judge.decide(seen)
    assert answers[faded].mean() > 0.7 and answers[~faded].mean() < 0.15
    lines = list(SCRIPT["report"](lessons, {"judge": answers, "none": torch.zeros(count)}))
    assert len(lines) == 3 and lines[2].count("+0.00") >= 2


def test_the_range_bounds_what_the_judge_answers_and_its_doubts_leave_a_photo_as_it_is() -> None:
    by_range, marks, changes = torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0]), torch.ones(5), torch.full((5,), 0.07)
    answers = torch.tensor([1.0, 1.0, 0.4, 0.25, 0.15])
    assert heeded(answers, by_range, marks, changes).tolist() == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_a_photo_without_marks_changes_by_little_until_the_judge_is_certain() -> None:
    answers = torch.tensor([1.0, 0.9, 0.8, 0.6, 0.6, 0.45, 0.3])
    changes = torch.tensor([0.07, 0.07, 0.07, 0.07, 0.01, 0.01, 0.07])  # a quarter of 0.07 is the most
    strengths = heeded(answers, torch.ones(7), torch.zeros(7), changes)
    assert strengths.tolist() == pytest.approx([1, 0.625, 0.25, 0.25, 1, 0.5, 0], abs=1e-5)
