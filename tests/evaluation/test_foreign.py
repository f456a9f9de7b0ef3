"""Programs that made none of the lessons: the same bytes by seed, exact masks, and the severity they are pinned to."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.registration import phase_cross_correlation

from bringback.degradations.rng import photo_seed
from bringback.errors import MissingExtra
from bringback.evaluation import runner as module
from bringback.evaluation.foreign import FOREIGN, Foreign
from bringback.evaluation.protocol import SEED, run_protocol
from bringback.evaluation.runner import aged_photo, evaluate, read_photos
from bringback.ops.metrics import psnr

WEAR = ("foreign-wear", "enlarged-noise")
NAMES = (*WEAR, "foreign-damage")


@pytest.fixture
def photos(tmp_path: Path, pixels: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[::-1, :40]).save(folder / "b.png")
    return folder


def test_these_are_all() -> None:
    assert set(FOREIGN) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_every_byte(name: str, pixels: np.ndarray) -> None:
    before, state = pixels.copy(), torch.get_rng_state()
    first, again = (FOREIGN[name](pixels, 5) for _ in range(2))
    assert np.array_equal(first.aged, again.aged)
    assert first.mask is None or np.array_equal(first.mask, again.mask)
    assert len({FOREIGN[name](pixels, seed).aged.tobytes() for seed in range(6)}) == 6
    assert np.array_equal(pixels, before) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(48, 64), (20, 30), (30, 20)])
def test_size_and_kind_stay(name: str, size: tuple[int, int], pixels: np.ndarray) -> None:
    photo = np.ascontiguousarray(pixels[: size[0], : size[1]])
    for seed in range(12):  # enough for most of the steps
        made = FOREIGN[name](photo, seed)
        assert made.aged.shape == photo.shape and made.aged.dtype == np.uint8
        if name in WEAR:
            assert made.mask is None
        else:
            assert made.mask is not None and made.mask.shape == size and made.mask.dtype == np.float32
            assert made.mask.min() >= 0 and made.mask.max() <= 1


def test_the_number_of_threads_does_not_show(pixels: np.ndarray) -> None:
    photo, threads = np.tile(pixels, (4, 4, 1)), torch.get_num_threads()
    try:
        made = []
        for torch_threads in (1, 2):
            torch.set_num_threads(torch_threads)
            made.append([FOREIGN["foreign-wear"](photo, seed).aged.tobytes() for seed in range(6)])
    finally:
        torch.set_num_threads(threads)
    assert made[0] == made[1]


def test_wear_leaves_the_picture_in_its_place_and_its_tones() -> None:
    photo = np.ascontiguousarray(data.astronaut()[:256, 100:356])
    for seed in range(12):
        worn = FOREIGN["foreign-wear"](photo, seed).aged
        shift, *_ = phase_cross_correlation(photo.mean(2), worn.mean(2), upsample_factor=10)
        assert np.abs(shift).max() <= 0.25
        assert abs(worn.mean() - photo.mean()) < 6


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluation_runs_on_each(name: str, photos: Path) -> None:
    report = evaluate(photos, name, 1, stages=["fill"], device="cpu")
    assert report.recipe == name and len(report.rows) == 2
    assert all(row.psnr_before < 60 for row in report.rows)


def test_damage_is_judged_by_its_mask(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(photo: np.ndarray, seed: int) -> Foreign:
        mask = np.zeros(photo.shape[:2], np.float32)
        mask[:, : photo.shape[1] // 2] = 1
        return Foreign(photo, mask)

    monkeypatch.setitem(module.FOREIGN, "foreign-damage", program)
    report = evaluate(photos, "foreign-damage", 0, stages=["scratches"], device="cpu")
    assert report.scratch_auc is not None and report.flagged is not None
    assert evaluate(photos, "enlarged-noise", 0, stages=["scratches"], device="cpu").scratch_auc is None


def test_only_a_gray_photo_is_compared_as_gray(pixels: np.ndarray) -> None:
    color = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    gray = color[:, :1].expand_as(color).clone()
    for clean, expected in ((color, False), (gray, True)):
        sample = aged_photo(clean, "enlarged-noise", 0)
        assert bool(sample.gray[0]) is expected
        assert torch.equal(sample.truth, clean) and not sample.mask.any()
    gray[0, 0, 3, 4] += 2 / 255
    assert not aged_photo(gray, "enlarged-noise", 0).gray[0]


def test_an_unknown_recipe_is_told_both_lists(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'rust'; the recipes are unstructured.*, .*foreign-wear"):
        evaluate(photos, "rust", 0, stages=["fill"], device="cpu")


def test_without_kornia_the_protocol_says_so_at_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bringback.evaluation.foreign_wear", raising=False)
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.setattr("bringback.evaluation.protocol.evaluate", lambda *_, **__: pytest.fail("a case was run"))
    with pytest.raises(MissingExtra, match=r'pip install "bringback\[test\]"'):
        run_protocol(photos, stages=["fill"])


def test_the_severity_is_pinned(data_folder: Path) -> None:
    """Mean PSNR before restoration; another number is another program, and does not compare with those before."""
    clean = [found for shard in sorted(data_folder.glob("photos-val-*.tar")) for _, found in read_photos(shard)]
    if len(clean) != 40:
        pytest.skip("these are not the forty photos it was pinned on")
    for name, expected in (("foreign-wear", 26.6), ("enlarged-noise", 23.2), ("foreign-damage", 20.05)):
        aged = [aged_photo(photo, name, photo_seed(SEED, index)).aged for index, photo in enumerate(clean)]
        mean = np.mean([psnr(*pair).item() for pair in zip(aged, clean, strict=True)])
        assert mean == pytest.approx(expected, abs=0.2), name
