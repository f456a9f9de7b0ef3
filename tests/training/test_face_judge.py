"""Training of the judge that tells faces from what only looks like one."""

import runpy
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from bringback.models.faces import judge
from bringback.models.faces.descriptor import FaceDescriptor
from bringback.stages.faces.detector import FaceFinder

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "train" / "face_judge.py"))


@pytest.mark.parametrize(
    ("kind", "label", "expected"),
    [("old", None, [True]), ("old", "0", [False]), ("old", "left out", []), ("photos", None, [False])],
)
def test_what_was_seen_by_eye_goes_before_what_the_detector_sees(kind, label, expected):
    portrait = np.ascontiguousarray(data.astronaut()[:256, 90:346]).astype(np.float32) / 255
    finder, name = FaceFinder(), "one" if kind == "old" else "b"  # b is not aged
    finder.doubtful = lambda gray, real=finder.doubtful: real(gray)[:1]  # the face alone
    labels = defaultdict(list)
    if label:
        x, y = finder.find(portrait)[0].points.mean(0) / 256
        labels[name].append((float(x), float(y), label))
    assert [one.face for one in SCRIPT["lessons"](finder, kind, name, portrait, labels)] == expected


def test_members_are_saved_as_one_judge(tmp_path, monkeypatch):
    torch.manual_seed(0)
    seen = torch.randn(300, FaceDescriptor.FEATURES + judge.FACTS)
    faces = (seen[:, 3] > 0).float()
    members = [SCRIPT["learned"](seen, faces, seed, steps=60) for seed in (0, 1)]
    monkeypatch.setattr(judge, "WEIGHTS", tmp_path / "judge.safetensors")
    SCRIPT["save"](members, judge.WEIGHTS)
    parts = seen[:, : FaceDescriptor.FEATURES], seen[:, FaceDescriptor.FEATURES :]
    with torch.no_grad():
        odds, each = judge.FaceJudge.shipped()(*parts), [one(*parts) for one in members]
    torch.testing.assert_close(odds, torch.stack(each).mean(0), atol=0.02, rtol=0)
    assert ((odds > 0) == (faces > 0)).float().mean() > 0.9
