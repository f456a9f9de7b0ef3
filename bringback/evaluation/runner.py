"""Age clean photos, restore them, compare with the truth."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bringback.degradations import RECIPES, Aged, OverlayBank, age
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.foreign import FOREIGN
from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.models.perceptual import PerceptualDistance
from bringback.ops.color import luminance
from bringback.ops.metrics import auc_of_counts, psnr, ssim
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration
from bringback.weights.backbones import load_distance

BINS = 4096  # of the histogram of detector scores
TRULY_DAMAGED = 0.1  # the coverage from which a pixel counts as damaged
FLAGGED = 0.5  # of the detector's mask, from which a pixel is called damaged
SHEET_ROWS, SHEET_CELL, SHEET_GAP = 8, 320, 6  # photos on a contact sheet; pixels a cell and between cells


@dataclass(frozen=True, slots=True)
class Row:
    """One photo: PSNR in dB, SSIM, perceptual distance (None without a backbone), before and after; seconds it took."""

    name: str
    psnr_before: float
    psnr_after: float
    ssim_before: float
    ssim_after: float
    perceptual_before: float | None
    perceptual_after: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    `scratch_auc` is the ROC area of the detector's soft mask over the pixels of all photos, `flagged` the share of
    sound pixels it gives more than 0.5; None when no detector ran or, of the area, when nothing was damaged. `left_out`
    says of each broken photo, in one line, what is wrong with it, `backbone` what the perceptual distance was measured
    by: its name or the name of its file, "" for none.
    """

    recipe: str
    seed: int
    stages: tuple[str, ...]
    rows: list[Row]
    scratch_auc: float | None = None
    flagged: float | None = None
    left_out: list[str] = field(default_factory=list)
    backbone: str = ""

    def summary(self) -> dict[str, Any]:
        """The means over photos of every number in `Row`, the gains, the detector's numbers and the settings."""
        means: dict[str, Any] = {}
        for name in (number.name for number in fields(Row) if number.name != "name"):
            values = [getattr(row, name) for row in self.rows]
            means[name] = None if None in values else float(np.mean(values))
        means["psnr_gain"] = means["psnr_after"] - means["psnr_before"]
        means["ssim_gain"] = means["ssim_after"] - means["ssim_before"]
        settings = {"recipe": self.recipe, "seed": self.seed, "stages": list(self.stages), "photos": len(self.rows)}
        detector = {"scratch_auc": self.scratch_auc, "flagged": self.flagged}
        return settings | means | detector | {"backbone": self.backbone, "left_out": self.left_out}

    def as_dict(self) -> dict[str, Any]:
        """The summary and all rows, ready for JSON."""
        return self.summary() | {"rows": [asdict(row) for row in self.rows]}

    def table(self) -> str:
        """Plain text: one line a photo, the means, the detector, the photos left out."""
        mean = self.summary()
        width = max(len(row.name) for row in [*self.rows, Row("mean of photos", *[0.0] * 7)])
        perceptual = mean["perceptual_before"] is not None
        head = "    PSNR before  after   gain    SSIM before  after" + "    perceptual before  after" * perceptual
        lines = [" " * width + head]
        for name, values in [*((row.name, asdict(row)) for row in self.rows), ("mean of photos", mean)]:
            before, after = values["psnr_before"], values["psnr_after"]
            line = f"{name:{width}}    {before:11.2f}  {after:5.2f}  {after - before:+5.2f}"
            line += f"    {values['ssim_before']:11.3f}  {values['ssim_after']:5.3f}"
            if perceptual:
                line += f"    {values['perceptual_before']:17.3f}  {values['perceptual_after']:5.3f}"
            lines.append(line)
        if self.scratch_auc is not None:
            lines.append(f"scratch AUC {self.scratch_auc:.3f}")
        if self.flagged is not None:
            lines.append(f"sound pixels flagged {100 * self.flagged:.2f} %")
        if self.left_out:
            lines += [f"left out {len(self.left_out)} that cannot be read:", *self.left_out]
        return "\n".join(lines)


def evaluate(
    photos: Path,
    recipe: str,
    seed: int,
    *,
    overlays: Sequence[Path] = (),
    stages: Sequence[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    config: Path | str | None = None,
    weights: Path | None = None,
    backbone: Path | str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    limit: int | None = None,
    sheet: Path | None = None,
    on_photo: Callable[[Row], None] | None = None,
) -> Report:
    """Age the clean `photos`, restore them with `stages` (None: the pipeline's) and measure both against the truth.

    `settings` of single stages, `config`, `weights`, `device` and `dtype` are as in `Pipeline.from_pretrained`.
    `photos` is a folder (with its subfolders), a tar shard or a folder of shards; at most `limit` of them, by name, are
    used. Photo number k is aged at its own size by `recipe`, ours or a foreign program, with a seed drawn from (`seed`,
    k) and, by ours, the damage shards `overlays`, and rounded to 8 bit before and after. Of the recipe `holes` the
    pipeline is told the mask. A truth that is grey is compared by luminance. `backbone` is what `load_distance` takes,
    for the perceptual distance, measured on the CPU; `sheet` the picture file that gets the first eight photos;
    `on_photo` is called after each. A broken photo is left out. Raises FileNotFoundError when there are no photos,
    ValueError when all are broken, a shard is none, the backbone cannot be had or there is no such recipe, and
    `MissingExtra` when a foreign program lacks a package.
    """
    building: dict[str, Any] = {"config": config, "stages": stages, "settings": settings}
    pipeline = Pipeline.from_pretrained(weights, **building, device=device, dtype=dtype)
    names = tuple(stage.name for stage in pipeline.stages)
    bank = OverlayBank.from_shards(overlays) if overlays else None
    distance = load_distance(backbone) if backbone else None
    given = recipe == "holes"
    detects = "scratches" in names and not given
    scores = torch.zeros(2, BINS, dtype=torch.long)  # of sound and of damaged pixels
    rows: list[Row] = []
    cells: list[list[np.ndarray]] = []
    left_out: list[str] = []
    for index, (name, clean) in enumerate(read_photos(photos, limit)):
        if isinstance(clean, PhotoError):
            left_out.append(str(clean))
            continue
        sample = aged_photo(clean, recipe, photo_seed(seed, index), bank)
        aged = rounded(sample.aged)
        mask = sample.mask[0, 0].numpy() if given else None
        begin = time.perf_counter()
        restoration = pipeline.restore(Photo.from_array(as_array(aged)), mask)
        seconds = time.perf_counter() - begin
        restored, found = rounded(restoration.pixels.cpu()), restoration.damage().cpu()
        if detects:
            bins = (found * (BINS - 1)).round().long()
            damaged = sample.mask > TRULY_DAMAGED
            scores += torch.stack([torch.bincount(bins[chosen], minlength=BINS) for chosen in (~damaged, damaged)])
        before, after = (compare(x, sample.truth, bool(sample.grey[0]), distance) for x in (aged, restored))
        rows.append(Row(name, before[0], after[0], before[1], after[1], before[2], after[2], seconds))
        if sheet is not None and len(cells) < SHEET_ROWS:
            cells.append([as_array(x) for x in (aged, found.expand_as(aged), restored, sample.truth)])
        if on_photo is not None:
            on_photo(rows[-1])
    if not rows:
        raise ValueError(left_out[0]) if left_out else FileNotFoundError(f"{photos}: no photos there")
    if sheet is not None:
        contact_sheet(cells, sheet)
    sound, damaged = scores
    area = auc_of_counts(damaged, sound) if damaged.any() and sound.any() else None
    flagged = sound[round(FLAGGED * (BINS - 1)) + 1 :].sum().item() / sound.sum().item() if sound.any() else None
    measured_by = Path(backbone or "").name
    return Report(recipe, seed, names, rows, area, flagged, left_out, measured_by)


def aged_photo(clean: Tensor, recipe: str, seed: int, overlays: OverlayBank | None = None) -> Aged:
    """A clean photo (1, 3, H, W), aged by one of our recipes or by a foreign program.

    A foreign program takes no `overlays`; the truth is the clean photo, and only if that is exactly grey it is compared
    as grey. Raises ValueError, naming both, when there is neither of that name, and `MissingExtra`.
    """
    if recipe in RECIPES:
        return age(clean, recipe, [seed], overlays)
    if recipe not in FOREIGN:
        known = f"the recipes are {', '.join(RECIPES)}, the foreign programs {', '.join(FOREIGN)}"
        raise ValueError(f"unknown recipe {recipe!r}; {known}")
    photo = (as_array(clean.clamp(0, 1)) * 255).round().astype(np.uint8)
    made = FOREIGN[recipe](photo, seed)
    aged = torch.from_numpy(made.aged).permute(2, 0, 1)[None].float() / 255
    mask = torch.zeros_like(clean[:, :1]) if made.mask is None else torch.from_numpy(made.mask)[None, None]
    return Aged(aged, mask, clean, torch.tensor([bool((photo == photo[..., :1]).all())]))


def read_photos(photos: Path, limit: int | None = None) -> Iterator[tuple[str, Tensor | PhotoError]]:
    """Names and upright pixels (1, 3, H, W) of the photos in a folder, a tar shard or a folder of shards, by name.

    In place of the pixels of a broken photo stands what is wrong with it.
    """
    for name, data in islice(read_shards(photos), limit):
        try:
            yield name, Restoration.start(Photo.decode(data, name)).pixels
        except PhotoError as error:
            yield name, error


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Write a picture with rows of pictures (H, W, 3) in [0, 1] below each other, each fitted into a square cell."""
    step = SHEET_CELL + SHEET_GAP
    canvas = Image.new("RGB", (max(map(len, rows)) * step - SHEET_GAP, len(rows) * step - SHEET_GAP), "white")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            picture = Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))
            scale = SHEET_CELL / max(picture.size)
            width, height = (max(round(side * scale), 1) for side in picture.size)
            place = (x * step + (SHEET_CELL - width) // 2, y * step + (SHEET_CELL - height) // 2)
            canvas.paste(picture.resize((width, height), Image.Resampling.LANCZOS), place)
    canvas.save(path)


def rounded(pixels: Tensor) -> Tensor:
    """What 8 bits keep of pixels in [0, 1]."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def as_array(pixels: Tensor) -> np.ndarray:
    """The first picture of (B, 3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(pixels[0].numpy().transpose(1, 2, 0))


@torch.no_grad()
def compare(
    pixels: Tensor, truth: Tensor, grey: bool, distance: PerceptualDistance | None
) -> tuple[float, float, float | None]:
    """PSNR, SSIM and perceptual distance of two pictures (1, 3, H, W), by luminance only when the truth is `grey`."""
    if grey:
        pixels, truth = (luminance(x).expand_as(x) for x in (pixels, truth))
    far = None if distance is None else distance(pixels, truth).item()
    return psnr(pixels, truth).item(), ssim(pixels, truth).item(), far
