"""Ablation of stages: evaluates all stages, none, each left out, and all without the blend gate.

python benchmarks/ablation.py PHOTOS --overlays damage-val-000.tar --backbone squeezenet1_1_features.safetensors
"""

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from bringback.evaluation.runner import Report, evaluate
from bringback.models.translation.blend_gate import BlendGate
from bringback.pipeline_config import DEFAULT

NO_GATE = "all, without the gate"
RECIPES = ("unstructured", "structured", "mixed")


def variants() -> dict[str, tuple[str, ...]]:
    """The sets of stages to compare, by their label in the table."""
    without = {f"without {left_out}": tuple(s for s in DEFAULT if s != left_out) for left_out in DEFAULT}
    return {"none": (), **without, "all": tuple(DEFAULT), NO_GATE: tuple(DEFAULT)}


def _no_trust(trust: BlendGate, pixels: Tensor, decoded: Tensor, mask: Tensor, looked: Tensor, keeps: float) -> Tensor:
    """Use the decoded picture everywhere and nothing of the photo."""
    return torch.zeros_like(pixels[:, :1])


def table(reports: dict[str, dict[str, Report]]) -> str:
    """Plain text: one line per set of stages; PSNR, SSIM and, if measured, perceptual distance for each recipe."""
    recipes = list(next(iter(reports.values())))
    lines = [f"{'stages':22}" + "".join(f"{recipe:>26}" for recipe in recipes)]
    for name, by_recipe in reports.items():
        cells = []
        for recipe in recipes:
            mean = by_recipe[recipe].summary()
            far = "" if mean["perceptual_after"] is None else f" {mean['perceptual_after']:.3f}"
            cells.append(f"{mean['psnr_after']:.2f} dB {mean['ssim_after']:.3f}{far}")
        lines.append(f"{name:22}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Read the arguments, evaluate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder, tar shard or folder of tar shards with clean photos")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="tar shards of damage to lay on")
    parser.add_argument("--backbone", type=Path, help="SqueezeNet features, for the perceptual distance")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use only so many photos")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args()
    reports: dict[str, dict[str, Report]] = {}
    for name, stages in variants().items():
        reports[name] = {}
        for recipe in options.recipes:
            print(f"{name}: {recipe}", file=sys.stderr)
            with patch.object(BlendGate, "forward", _no_trust) if name == NO_GATE else nullcontext():
                reports[name][recipe] = evaluate(
                    options.photos,
                    recipe,
                    options.seed,
                    overlays=options.overlays,
                    stages=stages,
                    weights=options.weights,
                    backbone=options.backbone,
                    device=options.device,
                    limit=options.limit,
                )
    print(table(reports))
    if options.json:
        numbers = {name: {recipe: report.as_dict() for recipe, report in row.items()} for name, row in reports.items()}
        options.json.write_text(json.dumps(numbers, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
