"""What a run logs: `metrics.jsonl`, validation grids, and the trackers named in the config."""

import json
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from bringback.training.state import TrainerState, tolerate_failure


def picture_grid(pictures: Tensor, columns: int = 8) -> np.ndarray:
    """(N, 3, H, W) pictures in [0, 1] as one picture (rows * H, columns * W, 3) uint8."""
    n, _, h, w = pictures.shape
    rows = -(-n // columns)
    grid = pictures.new_zeros(rows * columns, 3, h, w)
    grid[:n] = pictures
    grid = grid.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    return (grid.clamp(0, 1) * 255).round().byte().cpu().numpy()


class RunLog:
    """Logs numbers and pictures at the current step of a run; failed writes are added to `failures`."""

    def __init__(self, out: Path, accelerator: Accelerator, state: TrainerState, failures: list[str]) -> None:
        self.out, self.accelerator, self.state, self.failures = out, accelerator, state, failures
        self.file = out / "metrics.jsonl"
        if accelerator.is_main_process and self.file.exists():
            # a run that was killed has logged steps after its last saved state; they are repeated now
            lines = self.file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state.step]
            self.file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def log(self, values: dict[str, float]) -> None:
        self.accelerator.log(values, step=self.state.step)
        if self.accelerator.is_main_process:
            line = json.dumps({"step": self.state.step, "minutes": self.state.seconds / 60, **values})
            with tolerate_failure("metrics", self.failures), self.file.open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")

    def log_pictures(self, pictures: Tensor) -> None:
        grid = picture_grid(pictures)
        with tolerate_failure("the validation grid", self.failures):
            (self.out / "validation").mkdir(exist_ok=True)
            Image.fromarray(grid).save(self.out / "validation" / f"{self.state.step:07d}.png")
        for tracker in self.accelerator.trackers:
            if hasattr(tracker, "log_images"):
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({"validation": grid[None]}, step=self.state.step, **layout)
