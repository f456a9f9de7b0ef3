"""Ages clean photos, restores them and compares with the ground truth."""

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

from bringback.degradations import RECIPES, DegradedBatch, OverlayBank, degrade
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError, did_you_mean
from bringback.evaluation import scan
from bringback.evaluation.foreign import FOREIGN
from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.models.perceptual import PerceptualDistance
from bringback.ops.color import luminance
from bringback.ops.metrics import auc_of_counts, psnr, ssim
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration
from bringback.weights.backbones import load_distance

BINS = 4096  # of the histograms of detector scores
TRULY_DAMAGED = 0.1  # coverage above which a pixel counts as damaged
FLAGGED = 0.5  # detector score above which a pixel is classified as damaged
SHEET_ROWS, SHEET_CELL, SHEET_GAP = 8, 320, 6  # rows of a contact sheet; pixels per cell and between cells


@dataclass(frozen=True, slots=True)
class Row:
    """One photo: PSNR in dB, SSIM, perceptual distance (None without a backbone), before and after; seconds."""

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
    """Results of an evaluation.

    `scratch_auc` is the area under the ROC curve of the detector's soft mask over the pixels of all photos, `flagged`
    the share of undamaged pixels it scores above 0.5; None without a detector, or without damaged or undamaged pixels.
    `left_out` has one line for each broken photo, `backbone` is the name of the perceptual backbone or of its file, ""
    for none.
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
        """Means over photos of all numbers in `Row`, gains, detector results and settings."""
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
        """The summary and all rows, JSON-serializable."""
        return self.summary() | {"rows": [asdict(row) for row in self.rows]}

    def table(self) -> str:
        """Plain text: one line per photo, the means, the detector results, the photos left out."""
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
    """Age the clean `photos`, restore them with `stages` (None: the pipeline's) and compare both with the ground truth.

    `photos` is a folder (recursive), a tar shard or a folder of shards; at most `limit` photos, in order of name, are
    used. Photo number k is aged at its own size by `recipe`, one of ours or a foreign program, with a seed derived from
    (`seed`, k), and rounded to 8 bits before and after. "structured@4" is the recipe "structured", then scanned at four
    times the resolution, see `evaluation.scan`; the result is compared after shrinking. `overlays` are damage shards
    for our recipes. For the recipe `holes` the pipeline gets the mask. A gray truth is compared in luminance.
    `settings`, `config`, `weights`, `device` and `dtype` are as in `Pipeline.from_pretrained`. `backbone` is as in
    `load_distance`, for the perceptual distance, computed on the CPU; `sheet` is a picture file for the first eight
    photos; `on_photo` is called after each photo. Broken photos are left out. Raises FileNotFoundError if there are no
    photos; ValueError if all are broken, and for a bad shard, backbone or recipe; `MissingExtra` if a foreign program
    lacks a package; and what `Pipeline.from_pretrained` raises.
    """
    building: dict[str, Any] = {"config": config, "stages": stages, "settings": settings}
    pipeline = Pipeline.from_pretrained(weights, **building, device=device, dtype=dtype)
    names = tuple(stage.name for stage in pipeline.stages)
    if larger := [stage.name for stage in pipeline.stages if getattr(stage, "enlarges", False)]:
        raise ValueError(f"photos are compared at their own size: leave out the stage {larger[0]}")
    bank = OverlayBank.from_shards(overlays) if overlays else None
    distance = load_distance(backbone) if backbone else None
    wear, times = scan.of_case(recipe)
    given = wear == "holes"
    detects = "scratches" in names and not given
    scores = torch.zeros(2, BINS, dtype=torch.long)  # of undamaged and damaged pixels
    rows: list[Row] = []
    cells: list[list[np.ndarray]] = []
    left_out: list[str] = []
    for index, (name, clean) in enumerate(read_photos(photos, limit)):
        if isinstance(clean, PhotoError):
            left_out.append(str(clean))
            continue
        own_seed = photo_seed(seed, index)
        sample = aged_photo(clean, wear, own_seed, bank)
        aged = rounded(sample.aged)
        mask = sample.mask[0, 0].numpy() if given else None
        truth = sample.truth
        if times > 1:
            aged = scan.scanned(aged, times, own_seed)
            if wear == "clean":  # shows what is done to a sound photo, not what its scanner did
                truth = scan.truth(truth, times, own_seed)
            mask = mask if mask is None else scan.enlarged_mask(mask, times)
        begin = time.perf_counter()
        restoration = pipeline.restore(Photo.from_array(as_array(aged)), mask)
        seconds = time.perf_counter() - begin
        restored, found = rounded(restoration.pixels.cpu()), restoration.damage().cpu()
        aged, restored, found = (scan.shrunk(x, times) for x in (aged, restored, found))
        if detects:
            bins = (found * (BINS - 1)).round().long()
            damaged = sample.mask > TRULY_DAMAGED
            scores += torch.stack([torch.bincount(bins[chosen], minlength=BINS) for chosen in (~damaged, damaged)])
        before, after = (compare(x, truth, bool(sample.gray[0]), distance) for x in (aged, restored))
        rows.append(Row(name, before[0], after[0], before[1], after[1], before[2], after[2], seconds))
        if sheet is not None and len(cells) < SHEET_ROWS:
            cells.append([as_array(x) for x in (aged, found.expand_as(aged), restored, truth)])
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


def aged_photo(clean: Tensor, recipe: str, seed: int, overlays: OverlayBank | None = None) -> DegradedBatch:
    """Age a clean photo (1, 3, H, W) with one of our recipes or a foreign program.

    Foreign programs ignore `overlays`; their truth is the clean photo, compared in luminance only if it is exactly
    gray. Raises ValueError for an unknown recipe, and `MissingExtra`.
    """
    if recipe in RECIPES:
        return degrade(clean, recipe, [seed], overlays)
    if recipe not in FOREIGN:
        known = f"the recipes are {', '.join(RECIPES)}, the foreign programs {', '.join(FOREIGN)}"
        raise ValueError(f"unknown recipe {recipe!r}; {known}{did_you_mean(recipe, [*RECIPES, *FOREIGN])}")
    photo = (as_array(clean.clamp(0, 1)) * 255).round().astype(np.uint8)
    made = FOREIGN[recipe](photo, seed)
    aged = torch.from_numpy(made.aged).permute(2, 0, 1)[None].float() / 255
    mask = torch.zeros_like(clean[:, :1]) if made.mask is None else torch.from_numpy(made.mask)[None, None]
    return DegradedBatch(aged, mask, clean, torch.tensor([bool((photo == photo[..., :1]).all())]))


def read_photos(photos: Path, limit: int | None = None) -> Iterator[tuple[str, Tensor | PhotoError]]:
    """Names and pixels (1, 3, H, W) of the photos in a folder, a tar shard or a folder of shards, in order of name.

    Photos are turned upright. For a broken photo the pixels are replaced by the `PhotoError`.
    """
    for name, data in islice(read_shards(photos), limit):
        try:
            yield name, Restoration.start(Photo.decode(data, name)).pixels
        except PhotoError as error:
            yield name, error


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Write a grid of pictures (H, W, 3) in [0, 1], each scaled to fit a square cell."""
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
    """Clamp to [0, 1] and round to 8 bits."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def as_array(pixels: Tensor) -> np.ndarray:
    """The first picture of (B, 3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(pixels[0].numpy().transpose(1, 2, 0))


@torch.no_grad()
def compare(
    pixels: Tensor, truth: Tensor, gray: bool, distance: PerceptualDistance | None
) -> tuple[float, float, float | None]:
    """PSNR, SSIM and perceptual distance of two pictures (1, 3, H, W), by luminance if the truth is `gray`."""
    if gray:
        pixels, truth = (luminance(x).expand_as(x) for x in (pixels, truth))
    far = None if distance is None else distance(pixels, truth).item()
    return psnr(pixels, truth).item(), ssim(pixels, truth).item(), far
