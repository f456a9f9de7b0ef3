"""Muon: updates of kernels are orthogonal, of the size of AdamW's, and a run with it resumes."""

from pathlib import Path

import torch
from torch import nn

from bringback.training.loop import train
from bringback.training.muon import Muon, is_kernel, orthogonalized
from bringback.training.state import saved_states
from bringback.training.tasks import build_task


def test_updates_are_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((24, 216), (216, 24)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape) * 1e-4))
        assert values.min() > 0.6 and values.max() < 1.3


def test_a_step_is_as_large_as_one_of_adam() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 32, 3)
    before = layer.weight.detach().clone()
    layer.weight.grad = 1e-5 * torch.randn_like(layer.weight)
    Muon([layer.weight], lr=1e-2).step()
    step = (layer.weight - before).square().mean().sqrt().item()
    assert 0.1 * 1e-2 < step < 0.4 * 1e-2


def test_only_kernels_of_hidden_layers() -> None:
    hidden, gate, point = nn.Conv2d(8, 32, 3), nn.Conv2d(32, 1, 3), nn.Conv2d(32, 32, 1)
    assert is_kernel(hidden.weight)
    assert not any(is_kernel(p) for p in (hidden.bias, gate.weight, point.weight))


def test_a_run_with_muon_resumes(tiny, tmp_path: Path) -> None:
    plan = {"optimizer": "muon", "network": {"channels": 48}, "learning_rate": 1e-2}
    states = []
    for name, parts in (("whole", [{}]), ("parts", [{"max_train_steps": 2}, {"resume_from_checkpoint": "latest"}])):
        for part in parts:
            settings = tiny("clean_vae", tmp_path / name, **plan, **part)
            torch.manual_seed(0)
            train(build_task(settings), settings)
        folder = saved_states(tmp_path / name)[-1]
        states.append(torch.load(folder / "optimizer.bin", weights_only=True)["state"])
    whole, parted = states
    assert whole and all(torch.allclose(whole[k]["momentum"], parted[k]["momentum"], atol=1e-6) for k in whole)
