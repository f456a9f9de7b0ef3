"""Training pictures: the same crops from folders and shards, held or streamed; errors for bad files and overlays."""

import io
import logging
import os
import re
import runpy
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage import data

from bringback.degradations import degrade
from bringback.errors import ConfigError
from bringback.images.photo import Photo
from bringback.training import cache
from bringback.training.config import Source, load_config
from bringback.training.data import Batch, Crops, find_sources, prefetch
from bringback.training.pictures import decode, free_memory

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
STREAMED = 1e-6  # GB, less than any of these pictures takes


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A part of a photograph, (height, width, 3) uint8."""
    top, left = np.random.default_rng(seed).integers(40, 90, 2)
    return np.ascontiguousarray(data.astronaut()[top : top + height, left : left + width])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Good pictures of many kinds, a small one, one that is turned, and two broken ones, one after its header."""
    folder = tmp_path / "photos"
    (folder / "album").mkdir(parents=True)
    for number, (height, width) in enumerate([(90, 130), (128, 64), (70, 70), (20, 24)]):
        Image.fromarray(scene(height, width, number)).save(folder / f"{number}.png")
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(scene(80, 120, 5)).save(folder / "album" / "turned.jpg", exif=turned)
    Image.fromarray(scene(100, 100, 6)).save(folder / "album" / "whole.jpg")
    cut = (folder / "album" / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (folder / "letter.jpg").write_text("Dear mother, here is the picture.")
    return folder


def pack(folder: Path, shard: Path) -> Path:
    with tarfile.open(shard, "w") as tar:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(file, file.relative_to(folder).as_posix())
    return shard


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.pixels, other.pixels) and one.seeds == other.seeds and torch.equal(one.old, other.old)


def test_crops_depend_on_seed_and_index_alone(photos: Path) -> None:
    pack(photos / "album", photos / "album.tar")
    sources = [Source("album.tar", weight=2), Source("album", weight=1, domain="old")]
    crops = Crops(sources, photos, 32, 7)
    one, many = crops.batch([5], CPU), crops.batch([4, 5, 6], CPU)
    assert torch.equal(one.pixels[0], many.pixels[1]) and one.seeds[0] == many.seeds[1]
    assert not torch.equal(many.pixels[0], many.pixels[1])
    assert not torch.equal(Crops(sources, photos, 32, 8).batch([5], CPU).pixels, one.pixels)
    old = crops.batch(range(600), CPU).old.float().mean().item()
    assert old == pytest.approx(1 / 3, abs=0.07)


def test_a_source_has_its_own_recipe(photos: Path) -> None:
    sources = [Source("album", weight=1, recipe="clean"), Source("album", weight=1)]
    batch = Crops(sources, photos, 32, 7).batch(range(12), CPU)
    own = torch.tensor([recipe == "clean" for recipe in batch.recipes])
    assert own.any() and not own.all()
    aged = batch.degraded("holes", None)
    expected = degrade(batch.pixels, "holes", batch.seeds)
    assert torch.equal(aged.aged[own], batch.pixels[own]) and not aged.mask[own].any()
    assert torch.equal(aged.aged[~own], expected.aged[~own]) and torch.equal(aged.mask[~own], expected.mask[~own])
    few = batch.degraded("holes", None, most=2)
    assert torch.equal(few.aged, aged.aged) and torch.equal(few.gray, aged.gray)


@pytest.mark.parametrize("whole", [False, True])
def test_held_and_streamed_pictures_give_the_same_crops(photos: Path, tmp_path: Path, whole: bool) -> None:
    pack(photos, tmp_path / "photos.tar")
    held = Crops([Source("photos")], tmp_path, 48, 3, whole)
    streamed = Crops([Source("photos")], tmp_path, 48, 3, whole, STREAMED)
    shard = Crops([Source("photos.tar")], tmp_path, 48, 3, whole, STREAMED)
    # starting in the middle, like a resumed run
    for start in (80, 88, 96, 0):
        expected = held.batch(range(start, start + 8), CPU)
        assert same(streamed.batch(range(start, start + 8), CPU), expected)
        # sorted by its names in the shard, by its paths in the folder: here the same
        assert same(shard.batch(range(start, start + 8), CPU), expected)


def test_pictures_are_decoded_once_into_a_file_beside_them(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(photos, tmp_path / "photos.tar")
    held = Crops([Source("photos")], tmp_path, 48, 3)
    first = Crops([Source("photos.tar")], tmp_path, 48, 3, False, STREAMED, True)
    (file,) = tmp_path.glob(".decoded-*.pixels")
    (tmp_path / "plain").touch()
    assert file.stat().st_mode == (tmp_path / "plain").stat().st_mode
    monkeypatch.setattr("bringback.training.pictures.decode", None)
    again = Crops([Source("photos.tar")], tmp_path, 48, 3, False, STREAMED, True)
    for crops in (first, again):
        assert same(crops.batch(range(8), CPU), held.batch(range(8), CPU))
    monkeypatch.undo()
    (tmp_path / "photos.tar").touch()  # changed since
    Crops([Source("photos.tar")], tmp_path, 48, 3, False, STREAMED, True)
    assert len(list(tmp_path.glob(".decod*"))) == 2 and file.exists()


def test_one_decodes_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WAIT", 0.01)
    decoded: list[int] = []

    def pictures(worker: int) -> Iterator[np.ndarray]:
        decoded.append(worker)
        time.sleep(0.1)
        yield np.full((2, 3, 3), worker, np.uint8)

    path = tmp_path / ".decoded-1.pixels"
    with ThreadPool(3) as pool:
        pool.map(lambda worker: cache.write(path, pictures(worker)), range(3))
    assert len(decoded) == 1 and [one.name for one in tmp_path.iterdir()] == [path.name]
    assert cache.Decoded(path)[0].shape == (2, 3, 3)
    for content in (b"", b"abc", bytes(range(64))):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="holds no decoded pictures; delete it"):
            cache.Decoded(path)
    with pytest.raises(ConfigError, match="cannot be read there"):
        cache.Decoded(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be kept there"):
        cache.write(path / "below", pictures(0))


@pytest.mark.parametrize("memory", [0.0, STREAMED])
def test_two_processes_see_what_one_sees(photos: Path, memory: float) -> None:
    def crops() -> Crops:
        return Crops([Source(".")], photos, 48, 1, False, memory)

    alone, pair = crops(), [crops(), crops()]
    for step in range(4):
        expected = alone.batch(range(8 * step, 8 * step + 8), CPU)
        halves = [one.batch(range(8 * step + 4 * rank, 8 * step + 4 * rank + 4), CPU) for rank, one in enumerate(pair)]
        assert torch.equal(torch.cat([half.pixels for half in halves]), expected.pixels)
        assert halves[0].seeds + halves[1].seeds == expected.seeds


def test_the_next_batch_is_read_in_advance(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    crops = Crops([Source(".")], photos, 48, 1, False, STREAMED)
    expected = crops.batch(range(8, 12), CPU)
    crops = Crops([Source(".")], photos, 48, 1, False, STREAMED)
    for start in (0, 4):
        crops.batch(range(start, start + 4), CPU)
    for pending in crops._pending.values():
        pending.wait()
    photos.rename(tmp_path / "moved" / "away")
    assert same(crops.batch(range(8, 12), CPU), expected)
    with pytest.raises(ConfigError, match=r"photos.*: cannot be read any more \(No such file"):
        crops.batch(range(40, 44), CPU)


def test_streaming_holds_a_batch_of_crops_and_no_pictures(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray(scene(400, 400, number)).save(tmp_path / f"{number}.png", compress_level=1)
    picture, crop = 3 * 400 * 400, 3 * 32 * 32
    tracemalloc.start()
    try:
        held = {}
        for memory in (0.0, STREAMED):
            before = tracemalloc.get_traced_memory()[0]
            crops = Crops([Source(".")], tmp_path, 32, 1, False, memory)
            for step in range(10):
                crops.batch(range(8 * step, 8 * step + 8), CPU)
            for pending in crops._pending.values():
                pending.wait()
            held[memory] = tracemalloc.get_traced_memory()[0] - before
            del crops
    finally:
        tracemalloc.stop()
    assert held[0.0] > 12 * picture
    assert 8 * crop < held[STREAMED] < picture / 2


def test_the_log_says_whether_pictures_are_held_and_processes_share_the_memory(
    photos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    sizes = [(90, 130), (128, 64), (70, 70), (20, 24), (80, 120), (100, 100), (100, 100)]
    need = sum(3 * height * width for height, width in sizes)
    for processes, way in (
        (1, "held in memory"),
        (2, "more than the .* there are for them .in_memory_max_gb., so read"),
    ):
        caplog.clear()
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        crops = Crops([Source(".")], photos, 48, 1, False, 1.5 * need / 1e9)
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
        assert re.fullmatch(rf"\.: 7 pictures, {need / 1e9:.3g} GB decoded, {way}.*", line)
        assert crops.pictures[0].nbytes == need


def test_the_log_says_how_far_the_decoding_is(photos: Path, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("bringback.training.pictures.TELL_EVERY", -1.0)
    Crops([Source(".")], photos, 48, 1)
    lines = [line.getMessage() for line in caplog.records if line.getMessage().startswith("decoding")]
    assert lines == [f"decoding pictures: {number} of 7" for number in range(1, 8)]


@pytest.mark.parametrize("whole", [False, True])
def test_headers_give_the_decoded_size(photos: Path, whole: bool) -> None:
    (photos / "cut.jpg").unlink()
    (pictures,) = Crops([Source(".")], photos, 48, 1, whole).pictures
    decoded = [pictures[index] for index in range(len(pictures))]
    assert pictures.nbytes == sum(picture.nbytes for picture in decoded if picture is not None)
    assert max(min(picture.shape[:2]) for picture in decoded if picture is not None) == (48 if whole else 100)


def test_free_memory_is_that_of_the_container(tmp_path: Path) -> None:
    machine = free_memory(tmp_path)
    assert 0 < machine < 2**50
    (tmp_path / "memory.stat").write_text("anon 5000\ninactive_file 2000\n")
    (tmp_path / "memory.current").write_text("8000\n")
    (tmp_path / "memory.max").write_text("10000\n")
    assert free_memory(tmp_path) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > 10000


@pytest.mark.parametrize("memory", [0.0, STREAMED])
def test_a_broken_picture_is_left_out_with_one_warning(
    photos: Path, memory: float, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "empty.png").touch()
    crops = Crops([Source(".")], photos, 16, 0, False, memory)
    for step in range(6):
        assert crops.batch(range(16 * step, 16 * step + 16), CPU).pixels.shape == (16, 3, 16, 16)
    warnings = sorted(record.getMessage() for record in caplog.records)
    assert len(warnings) == 3
    for name, warning in zip(("cut.jpg", "empty.png", "letter.jpg"), warnings, strict=True):
        assert warning.startswith(f"{photos / name}: left out, it cannot be read (")
        assert "0x" not in warning and "\n" not in warning


def test_small_pictures_are_enlarged_and_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(scene(20, 20)).save(tmp_path / "tiny.png")
    Image.fromarray(scene(1, 60)).save(tmp_path / "strip.png")
    Image.fromarray(scene(60, 60)).save(tmp_path / "good.png")
    for whole in (False, True):
        caplog.clear()
        crops = Crops([Source(".")], tmp_path, 48, 0, whole)
        assert crops.batch(range(12), CPU).pixels.shape == (12, 3, 48, 48)
        (record,) = caplog.records
        assert "2 of 3 pictures are smaller than the crop of 48 and are enlarged" in record.getMessage()
    (tmp_path / "strip.png").unlink()
    (tmp_path / "good.png").unlink()
    enlarged = np.array(Image.fromarray(scene(20, 20)).resize((48, 48), Image.Resampling.BICUBIC))
    drawn = [
        (255 * p).permute(1, 2, 0).round().byte().numpy()
        for p in Crops([Source(".")], tmp_path, 48, 0).batch(range(8), CPU).pixels
    ]
    assert all(any(np.array_equal(p, e) for e in (enlarged, enlarged[:, ::-1])) for p in drawn)


def broken_places(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.jpg").write_text("not a picture")
    (tmp_path / "letters" / "two.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "halves").mkdir()
    Image.fromarray(scene(200, 200)).save(tmp_path / "halves" / "a.png")
    whole = (tmp_path / "halves" / "a.png").read_bytes()
    pack(tmp_path / "halves", tmp_path / "cut.tar")
    content = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[: 512 + len(whole) // 2])
    (tmp_path / "halves" / "a.png").write_bytes(whole[: len(whole) // 2])
    with tarfile.open(tmp_path / "small.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "halves")
    (tmp_path / "none.tar").write_text("moved to the other disk")


@pytest.mark.parametrize("memory", [0.0, STREAMED])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("empty", "empty: holds no readable picture .JPEG, "),
        ("letters", "letters: holds no readable picture"),
        ("halves", "halves: holds no readable picture"),
        ("cut.tar", r"cut\.tar: not a tar shard, or cut short"),
        ("none.tar", r"none\.tar: not a tar shard"),
        ("small.tar.gz", r"small\.tar\.gz: not a tar shard, .*compressed ones are not read"),
        ("nowhere-*.tar", r"nowhere-\*\.tar: no such file, .*set data_dir"),
    ],
)
def test_a_source_without_pictures_is_one_clear_error(tmp_path: Path, place: str, message: str, memory: float) -> None:
    broken_places(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        Crops([Source(place)], tmp_path, 48, 0, False, memory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weights", [[], [0.0], [1.0, -0.5]])
def test_invalid_weights_are_an_error(photos: Path, weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="at least one source, and weights of 0 or more"):
        Crops([Source(".", weight=weight) for weight in weights], photos, 48, 0)


def test_folders_with_brackets_in_their_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "scans [1950]" / "shards").mkdir(parents=True)
    for name in ("b.tar", "a.tar"):
        (tmp_path / "scans [1950]" / name).touch()
    found = find_sources(tmp_path / "scans [1950]", "*.tar")
    assert [path.name for path in found] == ["a.tar", "b.tar"] and all(path.is_file() for path in found)


def encoded(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, **options)
    return file.getvalue()


def odd_files() -> dict[str, bytes]:
    turned, color = Image.Exif(), np.ascontiguousarray(data.astronaut()[::9, ::8][:40, :60])
    turned[274] = 6
    deep = color.astype(np.uint16) * 250
    gray, image = deep[..., 0], Image.fromarray(color)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Pillow writes a gray TIFF of 16 bits with black as zero: turn the tag over
    black_is_zero = encoded(gray, format="TIFF")
    entry = black_is_zero.index(b"\x06\x01\x03\x00\x01\x00\x00\x00") + 8
    with_alpha = image.convert("RGBA")
    with_alpha.putalpha(image.convert("L"))
    return {
        "turned jpeg": encoded(color, format="JPEG", exif=turned),
        "turned tiff": encoded(color, format="TIFF", exif=turned),
        "turned 16-bit png": encoded(gray, format="PNG", exif=turned),
        "broken exif": encoded(color, format="JPEG", exif=b"Exif\0\0MM\0*" + b"\7" * 99),
        "16-bit grey png": encoded(gray, format="PNG"),
        "16-bit grey tiff": black_is_zero,
        "16-bit tiff, white is zero": black_is_zero[:entry] + b"\0\0" + black_is_zero[entry + 2 :],
        "16-bit colour png": cv2.imencode(".png", deep)[1].tobytes(),
        "16-bit colour tiff": cv2.imencode(".tif", deep)[1].tobytes(),
        "cmyk jpeg": encoded(image.convert("CMYK"), format="JPEG"),
        "cmyk jpeg, wrong profile": encoded(image.convert("CMYK"), format="JPEG", icc_profile=profile),
        "palette": encoded(image.convert("P"), format="GIF"),
        "alpha": encoded(with_alpha, format="PNG"),
        "black and white": encoded(image.convert("1"), format="TIFF"),
        "grey and alpha": encoded(with_alpha.convert("LA"), format="PNG"),
        "jpeg 2000": encoded(color, format="JPEG2000"),
    }


@pytest.mark.parametrize("kind", odd_files())
def test_odd_files_are_seen_as_the_product_sees_them(kind: str) -> None:
    content = odd_files()[kind]
    expected = Photo.decode(content, kind).pixels
    assert expected.std() > 0.15
    got = decode(content)
    assert got.dtype == np.uint8 and got.shape == expected.shape
    assert np.abs(got / 255 - expected).max() < 1.001 / 255


def test_numbers_without_a_white_are_refused() -> None:
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        decode(encoded(np.linspace(0, 9000, 400, dtype=np.float32).reshape(20, 20), format="TIFF"))


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_disk_that_hangs_does_not_hold_up_an_interrupt_or_the_exit(photos: Path) -> None:
    code = f"""
import signal, threading, time
from pathlib import Path
import torch
from bringback.training import pictures
from bringback.training.config import Source
from bringback.training.data import Crops

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell ignore it
first = threading.Lock()

def hang(*arguments):
    if first.acquire(blocking=False):
        time.sleep(2)  # until the main thread waits
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # no other thread may take it
    threading.Event().wait()

crops = Crops([Source(".")], Path({str(photos)!r}), 32, 0, False, 1e-6)
for index in (0, 1):
    crops.batch([index], torch.device("cpu"))
pictures.decode = hang
try:
    crops.batch(range(50, 90), torch.device("cpu"))
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted\n"
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_a_mask_of_another_size_ends_a_training_with_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "overlays").mkdir()
    for name, side in (("a.png", 32), ("b.png", 40)):
        Image.new("L", (side, side), 128).save(tmp_path / "overlays" / name)
    settings = {
        "data_dir": tmp_path,
        "output_dir": tmp_path / "run",
        "train_data": "[{path: photos}]",
        "validation_data": "[]",
        "overlays": "overlays",
        "mixed_precision": "no",
    }
    script = ROOT / "train" / "tone.py"
    monkeypatch.chdir(ROOT)
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    monkeypatch.setattr(sys, "argv", [str(script), *sets])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name="__main__")
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(
        r"error: .*overlays: b\.png is of another size than the first overlay; .* all of one size", error
    )
    assert not (tmp_path / "run" / "tone").exists()


def test_the_memory_for_pictures_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: tone\noutput_dir: x\ntrain_data: [{path: a}]\n")
    assert load_config(tmp_path / "a.yaml", []).in_memory_max_gb == 0.0
    assert load_config(tmp_path / "a.yaml", ["in_memory_max_gb=8"]).in_memory_max_gb == 8.0


@pytest.mark.parametrize("in_thread", [True, False])
def test_a_prefetched_error_is_raised_in_its_turn(in_thread: bool) -> None:
    def make(number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        return threading.get_ident() if number == 6 else number

    with closing(prefetch(make, 5, in_thread)) as made:
        assert next(made) == 5
        assert (next(made) == threading.get_ident()) != in_thread
        with pytest.raises(ValueError, match="seven"):
            next(made)
    assert all("ThreadPoolExecutor" not in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("text", "override", "reason"),
    [
        ("a: [1,", "x=1", "while parsing a flow node"),
        ("", "x=1", "must be keys and values, not None"),
        ("seed: 1", "seed.x=1", "--set seed.x=1: seed has no keys of its own"),
        ("seed: 1", "seed=[1", "--set seed=.1: while parsing a flow sequence"),
    ],
)
def test_a_config_that_is_no_yaml_is_told_in_one_line(tmp_path: Path, text: str, override: str, reason: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"^[^\n]*{reason}[^\n]*$"):
        load_config(tmp_path / "a.yaml", [override])
