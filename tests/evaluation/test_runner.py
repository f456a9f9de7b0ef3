"""The evaluation protocol, with pipelines whose worth is known."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bringback.degradations import DegradedBatch
from bringback.degradations.rng import photo_seed
from bringback.evaluation import runner as module
from bringback.evaluation.protocol import protocol_table, run_protocol
from bringback.evaluation.runner import Row, aged_photo, contact_sheet, evaluate, read_photos
from bringback.images.photo import Photo
from bringback.ops.metrics import PSNR_CAP
from bringback.pipeline_config import DEFAULT
from bringback.stages.record import Restoration


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in (("b.png", (40, 52)), ("below/a.png", (64, 48)), ("c.png", (48, 48))):
        coarse = Image.fromarray(random.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    (folder / "notes.txt").write_text("not a photo")
    return folder


class FakePipeline:
    """Does `change(restoration, true sample)` and remembers what it was given."""

    def __init__(self, change: Callable[[Restoration, DegradedBatch], None]) -> None:
        self.change = change
        self.masks: list[np.ndarray | None] = []
        self.sample: DegradedBatch | None = None

    def from_pretrained(self, *_: Any, stages: Sequence[str] | None = None, **__: Any) -> "FakePipeline":
        self.stages = [SimpleNamespace(name=name) for name in (DEFAULT if stages is None else stages)]
        return self

    def restore(self, photo: Photo, mask: np.ndarray | None = None) -> Restoration:
        self.masks.append(mask)
        restoration = Restoration.start(photo, mask)
        assert self.sample is not None
        self.change(restoration, self.sample)
        return restoration


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Restoration, DegradedBatch], None]], FakePipeline]:
    def install(change: Callable[[Restoration, DegradedBatch], None]) -> FakePipeline:
        fake = FakePipeline(change)

        def aging(*args: Any) -> DegradedBatch:
            fake.sample = aged_photo(*args)
            return fake.sample

        monkeypatch.setattr(module, "aged_photo", aging)
        monkeypatch.setattr(module.Pipeline, "from_pretrained", fake.from_pretrained)
        return fake

    return install


def leave(restoration: Restoration, sample: DegradedBatch) -> None:
    """Restores nothing."""


def cheat(restoration: Restoration, sample: DegradedBatch) -> None:
    """Restores everything, finds everything."""
    restoration.pixels, restoration.mask = sample.truth, sample.mask


def test_nothing_done_gains_nothing(photos: Path, use: Callable[..., FakePipeline]) -> None:
    use(leave)
    seen: list[Row] = []
    report = evaluate(photos, "unstructured", 1, on_photo=seen.append)
    assert [row.name for row in report.rows] == ["b.png", "below/a.png", "c.png"]
    assert seen == report.rows
    for row in report.rows:
        assert row.psnr_before == row.psnr_after < 60
        assert row.ssim_before == row.ssim_after < 1
    assert report.summary()["psnr_gain"] == 0
    assert report.summary()["perceptual_after"] is None


@pytest.mark.parametrize("recipe", ["structured", "mixed"])
def test_the_truth_gains_everything(photos: Path, use: Callable[..., FakePipeline], recipe: str) -> None:
    use(cheat)
    report = evaluate(photos, recipe, 2, limit=2)
    assert len(report.rows) == 2
    assert all(row.psnr_after == PSNR_CAP and row.ssim_after > 0.999 for row in report.rows)
    assert report.scratch_auc is None or report.scratch_auc > 0.999
    assert report.flagged is not None and report.flagged < 0.001


def test_a_clean_photo_has_no_auc_but_false_alarms(photos: Path, use: Callable[..., FakePipeline]) -> None:
    def alarm(restoration: Restoration, sample: DegradedBatch) -> None:
        restoration.mask = torch.zeros_like(sample.mask)
        restoration.mask[..., : sample.mask.shape[-2] // 4, :] = 0.9

    use(alarm)
    report = evaluate(photos, "clean", 0)
    assert report.scratch_auc is None
    assert report.flagged == pytest.approx(0.25, abs=0.01)
    assert report.summary()["psnr_before"] == PSNR_CAP


def test_no_detector_no_scores(photos: Path, use: Callable[..., FakePipeline]) -> None:
    fake = use(leave)
    report = evaluate(photos, "structured", 0, stages=("tone",))
    assert report.scratch_auc is None and report.flagged is None
    assert fake.masks == [None] * 3


def test_of_holes_the_mask_is_given(photos: Path, use: Callable[..., FakePipeline]) -> None:
    fake = use(leave)
    report = evaluate(photos, "holes", 3)
    assert report.scratch_auc is None
    assert all(mask is not None and 0.01 < mask.mean() < 0.3 for mask in fake.masks)


def test_gray_truth_is_compared_by_luminance(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tinted(clean: torch.Tensor, *_: Any) -> DegradedBatch:
        gray = module.luminance(clean).expand_as(clean)
        tint = torch.tensor([0.06, -0.02, -0.06])[:, None, None]
        tint -= module.luminance(tint[None])[0]  # a tint that leaves the luminance alone
        truth = 0.2 + 0.6 * gray
        return DegradedBatch(truth + tint, torch.zeros_like(clean[:, :1]), truth, torch.tensor([True]))

    fake = FakePipeline(leave)
    fake.sample = tinted(torch.zeros(1, 3, 1, 1))
    monkeypatch.setattr(module, "degrade", tinted)
    monkeypatch.setattr(module.Pipeline, "from_pretrained", fake.from_pretrained)
    assert all(row.psnr_before > 45 for row in evaluate(photos, "mixed", 0).rows)


def test_report_table_json_and_sheet(photos: Path, use: Callable[..., FakePipeline], tmp_path: Path) -> None:
    use(leave)
    sheet = tmp_path / "sheet.png"
    report = evaluate(photos, "structured", 5, limit=2, sheet=sheet)
    lines = report.table().splitlines()
    assert lines[1].startswith("b.png") and lines[3].startswith("mean of photos")
    assert "+0.00" in lines[3]
    assert json.loads(json.dumps(report.as_dict()))["rows"][1]["name"] == "below/a.png"
    with Image.open(sheet) as picture:
        assert picture.size == (4 * 320 + 3 * 6, 2 * 320 + 6)


def test_perceptual_distance_is_reported(
    photos: Path, use: Callable[..., FakePipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(leave)
    monkeypatch.setattr(module, "load_distance", lambda path: lambda a, b: (a - b).abs().mean((1, 2, 3)))
    report = evaluate(photos, "unstructured", 1, limit=1, backbone=Path("any"))
    assert report.rows[0].perceptual_before == report.rows[0].perceptual_after
    assert "perceptual" in report.table() and report.as_dict()["backbone"] == "any"


def test_shards_give_the_same_photos_as_their_folder(photos: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "photos.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as tar:
        for name in ("c.png", "b.png", "notes.txt"):
            content = (photos / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    expected = {name: pixels for name, pixels in read_photos(photos) if "/" not in name}
    for source in (shard, shard.parent):
        found = dict(read_photos(source))
        assert list(found) == ["b.png", "c.png"]
        assert all(torch.equal(found[name], expected[name]) for name in found)
    assert len(list(read_photos(shard, 1))) == 1


def test_broken_photos_are_named_and_left_out(photos: Path, use: Callable[..., FakePipeline]) -> None:
    use(leave)
    whole = evaluate(photos, "unstructured", 1)
    cut = (photos / "below" / "a.png").read_bytes()[:60]
    (photos / "below" / "a.png").write_bytes(cut)
    report = evaluate(photos, "unstructured", 1)
    assert report.rows[0].psnr_before == whole.rows[0].psnr_before
    assert report.rows[1].psnr_before == whole.rows[2].psnr_before  # the others are aged as before
    (said,) = report.left_out
    assert said.startswith("below/a.png: ") and "\n" not in said
    assert said in report.table() and report.as_dict()["left_out"] == [said]
    with pytest.raises(ValueError, match=r"a\.png: "):
        evaluate(photos / "below", "clean", 0)


@pytest.mark.parametrize("shard", [False, True])
def test_photos_are_read_upright(tmp_path: Path, shard: bool) -> None:
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    exif = Image.Exif()
    exif[274] = 6
    folder = tmp_path / "photos"
    folder.mkdir()
    picture.resize((8, 4)).save(folder / "a.png", exif=exif)
    if shard:
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            tar.add(folder / "a.png", "a.png")
    ((name, pixels),) = read_photos(tmp_path / "a.tar" if shard else folder)
    assert name == "a.png" and isinstance(pixels, torch.Tensor) and pixels.shape == (1, 3, 8, 4)


def test_a_file_that_is_no_backbone_is_named(photos: Path, use: Callable[..., FakePipeline], tmp_path: Path) -> None:
    use(leave)
    other = tmp_path / "bad.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match=r"bad\.safetensors: holds neither VGG-19 nor SqueezeNet"):
        evaluate(photos, "clean", 0, backbone=other)
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"bad\.safetensors: cannot be read"):
        evaluate(photos, "clean", 0, backbone=other)


def test_filling_given_holes_gains(photos: Path) -> None:
    report = evaluate(photos, "holes", 4, stages=("fill",), device="cpu")
    assert report.summary()["psnr_gain"] > 3
    assert report.stages == ("fill",)


def test_a_broken_shard_is_named(tmp_path: Path, use: Callable[..., FakePipeline]) -> None:
    use(leave)
    (tmp_path / "broken.tar").write_text("not a shard")
    with pytest.raises(ValueError, match=r"broken\.tar"):
        evaluate(tmp_path, "clean", 0)


def test_no_photos(tmp_path: Path, use: Callable[..., FakePipeline]) -> None:
    use(leave)
    with pytest.raises(FileNotFoundError, match="no photos"):
        evaluate(tmp_path, "clean", 0)


def test_seeds_differ_by_photo_and_run() -> None:
    seeds = {photo_seed(seed, index) for seed in range(4) for index in range(20)}
    assert len(seeds) == 80
    assert photo_seed(1, 2) == photo_seed(1, 2)


def test_contact_sheet_of_odd_sizes(tmp_path: Path) -> None:
    contact_sheet([[np.zeros((1, 1, 3)), np.ones((900, 2, 3))]], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_the_protocol_is_eight_cases_of_the_same_photos(photos: Path, use, tmp_path: Path) -> None:
    use(lambda restoration, sample: setattr(restoration, "pixels", (restoration.pixels + sample.truth) / 2))
    reports = run_protocol(photos, stages=["tone"], sheets=tmp_path / "sheets")
    assert {case: report.recipe for case, report in reports.items()} == {
        "U": "unstructured", "S": "structured", "M": "mixed", "C": "clean", "H": "holes",
        "W": "foreign-wear", "F": "foreign-damage", "E": "enlarged-noise",
    }  # fmt: skip
    alone = evaluate(photos, "mixed", 0, stages=["tone"])
    assert [replace(row, seconds=0) for row in reports["M"].rows] == [replace(row, seconds=0) for row in alone.rows]
    assert {sheet.name for sheet in (tmp_path / "sheets").iterdir()} == {f"{case}.png" for case in "USMCHWFE"}
    *lines, _, count = protocol_table(reports).splitlines()
    assert (
        count == "3 photos"
        and len({line.count("|") for line in lines}) == 1
        and [line[2] for line in lines[2:]] == list("USMCHWFE")
    )
    assert f"{reports['S'].summary()['psnr_after']:.2f} | +" in lines[3] and "100.00 -> 100.00 | +0.00" in lines[5]
    with pytest.raises(ValueError, match="unknown protocol 'old'; there is default"):
        run_protocol(photos, "old")
