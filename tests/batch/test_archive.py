"""Ten thousand photos, nothing lost: killed runs, several runs at once, full disks, malice, and how it grows."""

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import Lighten
from made_files import write_every_kind
from PIL import Image

from bringback.batch import locks as claims_module
from bringback.batch.locks import Locks
from bringback.batch.runner import FolderRestorer, restore_folder
from bringback.errors import UsageError
from bringback.images.photo import Photo
from bringback.pipeline import Pipeline
from bringback.runtime import files as files_module
from bringback.runtime.files import passing, write_passing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are made by forking")


class Slow(Lighten):
    """Takes as long as it takes to be killed in it."""

    def __call__(self, restoration):
        time.sleep(0.004)
        return super().__call__(restoration)


def pipeline() -> Pipeline:
    return Pipeline([Slow()], {"tone": "1234"})


@pytest.fixture
def thirty(tmp_path, pixels) -> Path:
    folder = tmp_path / "in"
    for index in range(30):
        path = folder / f"{index % 3}" / f"{index}.{('png', 'jpg', 'tif')[index % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(pixels, index, axis=1)).save(path)
    return folder


def tree_of(out: Path) -> dict[str, str]:
    """What lies in a folder, the manifest aside."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != "manifest.jsonl"]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def lines_of(out: Path, status: str) -> list[str]:
    """The photos that the manifest has with a status, in its order."""
    entries = []
    for line in (out / "manifest.jsonl").read_bytes().split(b"\n"):
        try:
            entries.append(json.loads(line))
        except ValueError:  # the line of a killed run, cut short
            continue
    return [entry["photo"] for entry in entries if entry["status"] == status]


def start(inputs: Path, out: Path, **choices) -> multiprocessing.Process:
    """A run in a process of its own."""
    run = multiprocessing.get_context("fork").Process(
        target=restore_folder, args=([inputs], out, pipeline()), kwargs=choices
    )
    run.start()
    return run


def test_killed_at_twenty_moments_it_comes_to_the_same(thirty, tmp_path):
    whole, out, rng = tmp_path / "whole", tmp_path / "out", random.Random(8)
    restore_folder([thirty], whole, pipeline(), compare=True)
    kills = 0
    while kills < 20:
        run = start(thirty, out, compare=True)
        time.sleep(rng.uniform(0.01, 0.06))
        if run.is_alive():
            os.kill(run.pid, signal.SIGKILL)
            kills += 1
        run.join()
        if run.exitcode == 0:  # done before its time: begin again, there are moments left
            for path in out.rglob("*.*"):
                path.unlink()
    finished = set(lines_of(out, "done")) if (out / "manifest.jsonl").exists() else set()
    entries = restore_folder([thirty], out, pipeline(), compare=True)
    assert tree_of(out) == tree_of(whole)
    again = {entry["photo"] for entry in entries if entry["status"] == "done"}
    # only those may be done twice whose pictures had not been written when their run was killed
    assert not again & finished and len(again | finished) == 30
    assert {entry["status"] for entry in restore_folder([thirty], out, pipeline(), compare=True)} == {"skipped"}


@pytest.mark.parametrize("moment", ["a part", "entered", "half renamed"])
def test_killed_between_two_steps_of_writing(thirty, tmp_path, monkeypatch, moment):
    """The moments that chance seldom hits: what was written whole is completed, not done again."""
    photo, out, whole = thirty / "0" / "0.png", tmp_path / "out", tmp_path / "whole"
    restore_folder([photo], whole, pipeline(), compare=True)
    replaced, renamed = os.replace, []

    def replace(source, target):
        if moment == "entered" or (moment == "half renamed" and renamed):
            os.kill(os.getpid(), signal.SIGKILL)
        renamed.append(target)
        replaced(source, target)

    if moment == "a part":
        monkeypatch.setattr("bringback.batch.manifest.Manifest.add", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr(os, "replace", replace)
    run = start(photo, out, compare=True)
    run.join()
    assert run.exitcode == -signal.SIGKILL and list(out.rglob("*.part")) and not (out / "0.png").exists()
    monkeypatch.undo()
    entry = restore_folder([photo], out, pipeline(), compare=True)[0]
    assert entry["status"] == ("done" if moment == "a part" else "skipped")
    assert tree_of(out) == tree_of(whole)


def test_killed_while_a_new_version_takes_the_place_of_an_old_one(thirty, tmp_path, monkeypatch):
    photo, out, other = thirty / "0" / "0.png", tmp_path / "out", Pipeline([Slow()], {"tone": "5678"})
    restore_folder([photo], out, pipeline())
    old = (out / "0.png").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    run = multiprocessing.get_context("fork").Process(target=restore_folder, args=([photo], out, other))
    run.start()
    run.join()
    monkeypatch.undo()
    assert (out / "0.png").read_bytes() == old
    passing(out / "0.png").unlink()  # and the new one was lost as well
    assert restore_folder([photo], out, other)[0]["status"] == "done"  # the old one is not taken for it
    assert restore_folder([photo], out, other)[0]["status"] == "skipped"


@pytest.mark.parametrize("how", ["its path is spelled otherwise", "it is another of the same name"])
def test_killed_while_another_input_takes_the_place_of_the_old_one(thirty, tmp_path, monkeypatch, how):
    photo, out, other = thirty / "0" / "0.png", tmp_path / "out", Pipeline([Slow()], strength=0.5)
    restore_folder([photo], out, pipeline())
    second = photo.parent / ".." / "0" / "0.png"
    if how != "its path is spelled otherwise":
        second = tmp_path / "0.png"
        second.write_bytes((thirty / "0" / "3.png").read_bytes())
    monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    run = multiprocessing.get_context("fork").Process(
        target=restore_folder, args=([second], out, other), kwargs={"overwrite": True}
    )
    run.start()
    run.join()
    monkeypatch.undo()
    entry = restore_folder([second], out, other, overwrite=True)[0]
    assert entry["status"] == "skipped"  # it was whole, and has its name now
    assert np.array_equal(Image.open(out / "0.png"), other(np.asarray(Image.open(second))))


def test_runs_side_by_side_share_the_photos(thirty, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    restore_folder([thirty], whole, pipeline())
    runs = [start(thirty, out) for _ in range(3)]
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert sorted(lines_of(out, "done")) == sorted(set(lines_of(out, "done"))) and len(lines_of(out, "done")) == 30
    assert tree_of(out) == tree_of(whole)


def test_a_claim_keeps_others_off_and_dies_with_its_owner(thirty, tmp_path):
    photo, out = thirty / "0" / "0.png", tmp_path / "out"
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def hold():
        restorer = FolderRestorer(out, pipeline())
        with restorer.claims:
            assert restorer.claims.take("0.png")
            ready.set()
            time.sleep(60)

    owner = context.Process(target=hold)
    owner.start()
    assert ready.wait(20)
    entry = restore_folder([photo], out, pipeline())[0]
    assert entry["status"] == "skipped" and entry["message"] == f"{photo}: another run is working on it"
    assert not (out / "manifest.jsonl").exists()  # where it could come after what the other has to say
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    assert restore_folder([photo], out, pipeline())[0]["status"] == "done"
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "manifest.jsonl"]


def in_another_process(work) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_who_leaves_late_clears_nothing_away_that_is_anothers(tmp_path):
    context, out = multiprocessing.get_context("fork"), tmp_path / "out"
    there, go = context.Event(), context.Event()

    def look_on():
        with Locks(out):
            there.set()
            go.wait(20)

    late = in_another_process(look_on)
    assert there.wait(20)
    with Locks(out) as short:  # comes and goes meanwhile, and takes the file along, as nobody has a claim
        assert short.take("a.png")
        short.give_back("a.png")
    with Locks(out) as ours:
        assert ours.take("b.png")
        write_passing(out / "b.png", b"half")
        go.set()
        late.join()
        assert passing(out / "b.png").exists() and ours.path.exists()

        def take():
            with Locks(out) as others:
                os._exit(others.take("b.png"))

        third = in_another_process(take)
        third.join()
        assert third.exitcode == 0


def test_what_a_run_into_a_folder_below_is_writing_stays(tmp_path):
    with Locks(tmp_path / "out" / "below"):
        for folder in (tmp_path / "out", tmp_path / "out" / "below"):
            write_passing(folder / "b.png", b"half")
        with Locks(tmp_path / "out"):
            pass
        assert passing(tmp_path / "out" / "below" / "b.png").exists() and not passing(tmp_path / "out/b.png").exists()


def test_without_locks_nobody_clears_away_what_others_write(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", none)
    with Locks(tmp_path) as first, Locks(tmp_path) as second:
        assert first.take("a.png") and second.take("b.png")
        write_passing(tmp_path / "a.png", b"half")
        second.__exit__()
        assert passing(tmp_path / "a.png").exists()
        second.__enter__()


def test_waiting_for_each_other_is_no_deadlock(tmp_path, monkeypatch):
    """Two processes, each with a thread that reads and one that writes: the system knows no threads, and is wrong."""
    real, refused = fcntl.lockf, [True, True]

    def lockf(file, how, *rest):
        if not how & fcntl.LOCK_NB and refused:
            refused.pop()
            raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))
        real(file, how, *rest)

    with Locks(tmp_path) as claims:
        monkeypatch.setattr("fcntl.lockf", lockf)
        with claims.manifest():
            monkeypatch.undo()

            def look():
                with (tmp_path / ".bringback.lock").open("r+b") as file:
                    try:
                        real(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 61)
                    except OSError:
                        os._exit(7)

            other = in_another_process(look)
            other.join()
            assert other.exitcode == 7  # it is locked after all


def test_threads_that_come_at_once_get_the_same_claims(tmp_path, monkeypatch):
    def slow(self, folder, begin=Locks.__init__):
        time.sleep(0.05)
        begin(self, folder)

    monkeypatch.setattr(Locks, "__init__", slow)
    with ThreadPool(4) as threads:
        assert len(set(threads.map(Locks.of, [tmp_path] * 4))) == 1


def test_on_windows_each_thread_locks_its_own_byte(tmp_path, monkeypatch):
    """There a file is locked from its position on, and that is the same for all threads."""
    held, clashes, position = set(), [], [0]

    def locking(file, mode, _):
        byte = position[0]
        if mode == 0:
            held.remove(byte)
        elif byte in held:
            clashes.append(byte)
            raise OSError(errno.EACCES, "locked")
        else:
            held.add(byte)

    def seek(file, byte, how):
        position[0] = byte
        time.sleep(0.002)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_UNLCK=0, LK_LOCK=1, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "lseek", seek)
    there: dict = {"__name__": "bringback.batch.locks"}
    exec(compile(Path(claims_module.__file__).read_text("utf-8"), "claims", "exec"), there)

    def add_lines(claims):
        for _ in range(20):
            with claims.manifest():
                time.sleep(0.001)

    with there["Locks"](tmp_path) as claims, ThreadPool(1) as threads:
        lines = threads.apply_async(add_lines, [claims])
        assert all(claims.take(f"{number}.png") for number in range(20))
        lines.get(20)
        assert held == {there["_byte"](f"{number}.png") for number in range(20)} and not clashes


def test_a_full_disk_is_told_and_nothing_more_is_begun(thirty, tmp_path, monkeypatch):
    out, stage, written = tmp_path / "out", Slow(), files_module.write_passing

    def write(path, data):
        if stage.calls > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(path, data)

    monkeypatch.setattr(files_module, "write_passing", write)
    entries = restore_folder([thirty], out, Pipeline([stage], {"tone": "1234"}))
    failed = [entry["message"] for entry in entries if entry["status"] == "failed"]
    assert len(failed) >= 20 and all("No space left on device" in message for message in failed)
    assert "not begun" in failed[-1] and stage.calls < 12
    assert len(tree_of(out)) == 30 - len(failed)
    monkeypatch.undo()
    assert {entry["status"] for entry in restore_folder([thirty], out, pipeline())} == {"skipped", "done"}
    assert len(tree_of(out)) == 30


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full(thirty, tmp_path, small_disk):
    whole = tmp_path / "whole"
    restore_folder([thirty], whole, pipeline())
    entries = restore_folder([thirty], small_disk, pipeline())
    failed = [entry["message"] for entry in entries if entry["status"] == "failed"]
    assert failed and all("No space left on device" in message for message in failed)
    there = tree_of(small_disk)
    assert there and all(tree_of(whole)[name] == digest for name, digest in there.items())
    assert sorted(there) == sorted(entry["photo"] for entry in entries if entry["status"] == "done")
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    restore_folder([thirty], small_disk, pipeline())
    assert tree_of(small_disk) == tree_of(whole)


def test_an_output_that_may_only_be_read(thirty, tmp_path, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UsageError, match=r"cannot be written: Read-only file system: choose another output folder"):
        restore_folder([thirty], small_disk, pipeline())


def test_an_input_that_goes_during_the_run(thirty, tmp_path):
    out, gone = tmp_path / "out", thirty / "1" / "1.jpg"
    entries = restore_folder([thirty], out, pipeline(), on_start=lambda _: gone.unlink())
    failed = [entry["message"] for entry in entries if entry["status"] == "failed"]
    assert failed == [f"{gone}: cannot be read: No such file or directory"] and len(tree_of(out)) == 29


def test_no_link_leads_out_of_the_output(thirty, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "1").symlink_to(elsewhere)
    (elsewhere / "precious.tif").write_bytes(b"precious")
    (out / "2").mkdir()
    (out / "2" / "2.tif").symlink_to(elsewhere / "precious.tif")
    entries = restore_folder([thirty], out, pipeline(), overwrite=True)
    failed = [entry for entry in entries if entry["status"] == "failed"]
    assert len(failed) == 10 and all("leads out of the output folder" in entry["message"] for entry in failed)
    assert [path.name for path in elsewhere.iterdir()] == ["precious.tif"]
    assert (elsewhere / "precious.tif").read_bytes() == b"precious"
    assert not (out / "2" / "2.tif").is_symlink() and Image.open(out / "2" / "2.tif").size == (64, 48)
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.jsonl").symlink_to(elsewhere / "precious.tif")
    with pytest.raises(UsageError, match="is a link"):
        restore_folder([thirty], other, pipeline())
    assert (elsewhere / "precious.tif").read_bytes() == b"precious"


def test_a_passing_name_that_is_a_link_is_not_followed(thirty, tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious"
    out.mkdir()
    precious.write_bytes(b"precious")
    passing(out / "0.png").symlink_to(precious)
    assert restore_folder([thirty / "0" / "0.png"], out, pipeline())[0]["status"] == "done"
    assert precious.read_bytes() == b"precious"


def test_inputs_are_only_read(thirty, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in thirty.rglob("*.*")}
    opened: list[tuple[str, int]] = []

    def spy(event, arguments):
        if event == "open":
            opened.append((str(arguments[0]), arguments[2]))

    sys.addaudithook(spy)  # for good: hooks cannot be taken away
    restore_folder([thirty], tmp_path / "out", pipeline(), compare=True, save_stages=True)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in thirty.rglob("*.*")} == before
    ways = [flags for path, flags in list(opened) if path.startswith(str(thirty))]
    assert len(ways) >= 30 and not any(flags & (os.O_WRONLY | os.O_RDWR) for flags in ways)
    assert any(
        flags & (os.O_WRONLY | os.O_RDWR) for path, flags in list(opened) if path.startswith(str(tmp_path / "out"))
    )


def test_a_restore_needs_no_network(thirty, tmp_path, monkeypatch):
    """The real pipeline: nothing looks for a name or opens a connection."""

    def forbidden(*_, **__):
        raise AssertionError("a restore went for the network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    with pytest.raises(AssertionError):
        socket.create_connection(("localhost", 9))
    out = tmp_path / "out"
    entries = restore_folder([thirty / "0" / "0.png"], out, Pipeline.from_pretrained(device="cpu"))
    assert [entry["status"] for entry in entries] == ["done"], entries


def test_a_dry_run_tells_everything_and_writes_nothing(thirty, tmp_path):
    out = tmp_path / "out"
    (thirty / "bad.jpg").write_bytes(b"no")
    entries = restore_folder([thirty], out, pipeline(), dry_run=True)
    assert not out.exists()
    told = {entry["photo"]: entry for entry in entries}
    assert told["bad.jpg"]["status"] == "failed" and len(told) == 31
    assert told["0/0.png"]["status"] == "planned"
    assert told["0/0.png"]["message"].startswith(f"{out / '0' / '0.png'} (64x48 pixels")
    restore_folder([thirty / "0"], out, pipeline())
    before = tree_of(out), (out / "manifest.jsonl").read_bytes()
    entries = restore_folder([thirty / "0"], out, pipeline(), dry_run=True)
    assert {entry["status"] for entry in entries} == {"skipped"}
    assert (tree_of(out), (out / "manifest.jsonl").read_bytes()) == before


def test_metadata_tells_what_was_done_or_nothing(thirty, tmp_path):
    photo, out = thirty / "1" / "1.jpg", tmp_path / "out"
    exif = Image.Exif()
    exif[271] = "Leica"
    Image.open(photo).save(photo, exif=exif)
    restore_folder([photo], out, pipeline())
    made = Image.open(out / "1.jpg")
    assert made.getexif()[271] == "Leica"
    assert b"tone=1234" in made.info["xmp"] and b"bringback 0" in made.info["xmp"]
    assert restore_folder([photo], out, pipeline(), strip_metadata=True)[0]["status"] == "done"
    stripped = Image.open(out / "1.jpg")
    assert not stripped.getexif() and "xmp" not in stripped.info


def test_large_photos_are_refused_by_their_header(thirty, tmp_path):
    entries = restore_folder([thirty / "0"], tmp_path / "out", pipeline(), max_pixels=48 * 64 - 1)
    assert {entry["status"] for entry in entries} == {"failed"}
    assert all("--max-pixels" in entry["message"] for entry in entries)
    entries = restore_folder([thirty / "0"], tmp_path / "out", pipeline(), max_pixels=48 * 64)
    assert {entry["status"] for entry in entries} == {"done"}


def test_the_limit_that_a_photo_is_given_is_its_masks_too(thirty, tmp_path, monkeypatch):
    mask = tmp_path / "mask.png"
    Image.new("L", (64, 48)).save(mask)
    monkeypatch.setattr(Photo.decode.__func__, "__defaults__", (100,))  # what is read without a limit of its own
    entry = restore_folder([thirty / "0" / "0.png"], tmp_path / "out", pipeline(), mask=mask, max_pixels=48 * 64)[0]
    assert entry["status"] == "done", entry["message"]


# ---- the heavy ones: make test-all


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file as disks, cards and transfers spoil them, or someone who means ill."""
    spoilt = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(spoilt[: rng.randrange(len(spoilt))])
    if kind == 1:  # bits
        for _ in range(rng.randint(1, 30)):
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    if kind == 2:  # the head, where sizes stand
        for _ in range(rng.randint(1, 8)):
            spoilt[rng.randrange(min(len(spoilt), 200))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    if kind == 3:  # a piece elsewhere
        place, size = rng.randrange(len(spoilt)), rng.randint(1, 400)
        spoilt[place:place] = spoilt[rng.randrange(len(spoilt)) :][:size]
    if kind == 4:  # a block of nothing
        place = rng.randrange(len(spoilt))
        spoilt[place : place + 512] = bytes(min(512, len(spoilt) - place))
    return bytes(spoilt)


def fuzz(folder: Path, out: Path, pixels: np.ndarray, count: int, seed: int) -> str:
    """Restore spoilt files of every kind among good ones, and see that it is as it should be; returns the figures."""
    rng, good = random.Random(seed), write_every_kind(pixels, folder / "good")
    contents = [path.read_bytes() for path in good]
    for index in range(count):
        which = rng.randrange(len(good))
        path = folder / "bad" / f"{index // 100}" / f"{index}{good[which].suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutated(contents[which], rng))
    before = psutil.Process().memory_info().rss
    most, longest, last = 0, 0.0, time.perf_counter()

    def on_photo(entry):
        nonlocal most, longest, last
        now = time.perf_counter()
        most, longest, last = max(most, psutil.Process().memory_info().rss), max(longest, now - last), now

    entries = restore_folder([folder], out, Pipeline([Lighten()]), on_photo=on_photo, max_pixels=4_000_000)
    assert len(entries) == count + len(good)
    status = {entry["photo"]: entry["status"] for entry in entries}
    assert not [path.name for path in good if status[f"good/{path.name}"] != "done"]
    failed = [entry for entry in entries if entry["status"] == "failed"]
    assert failed and all(entry["message"].startswith(entry["input"]) for entry in failed)
    assert not [entry["message"] for entry in failed if "\n" in entry["message"] or "Traceback" in entry["message"]]
    for entry in entries:
        if entry["status"] == "done":  # a mutation may spare the picture: then it is a picture again
            Photo.read(entry["output"])
    made = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    done = {Path(entry["output"]).relative_to(out).as_posix() for entry in entries if entry["status"] == "done"}
    assert made == done | {"manifest.jsonl"}
    figures = f"{len(failed)} of {count} refused, {longest:.1f} s at most, {(most - before) / 1e6:.0f} MB more"
    assert longest < 20 and most - before < 600_000_000, figures
    return figures


def test_spoilt_files_among_good_ones(tmp_path, pixels):
    fuzz(tmp_path / "in", tmp_path / "out", pixels, 100, 1)


@pytest.mark.heavy
def test_five_thousand_spoilt_files_among_good_ones(tmp_path, pixels):
    """Writes the figures to `$BRINGBACK_FUZZ`, if that is set."""
    figures = fuzz(tmp_path / "in", tmp_path / "out", pixels, 5000, 2)
    if place := os.environ.get("BRINGBACK_FUZZ"):
        Path(place).write_text(figures)


@pytest.mark.heavy
def test_ten_thousand_photos_take_no_more_memory_than_a_thousand(tmp_path):
    """Writes the table to `$BRINGBACK_GROWTH`, if that is set."""
    folder, out, rng = tmp_path / "in", tmp_path / "out", np.random.default_rng(0)
    for index in range(10_000):
        path = folder / f"{index // 500:02d}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    rows: list[tuple[str, int, float, float]] = []
    for run in ("first", "again"):
        count, begin = 0, time.perf_counter()

        def on_photo(entry, run=run):
            nonlocal count, begin
            count += 1
            if count % 1000 == 0:
                now = time.perf_counter()
                rows.append((run, count, now - begin, psutil.Process().memory_info().rss / 1e6))
                begin = now

        entries = restore_folder([folder], out, Pipeline([Lighten()]), on_photo=on_photo)
        assert {entry["status"] for entry in entries} == {"done" if run == "first" else "skipped"}
        del entries
    table = "".join(f"{run} {count:6d} {seconds:7.2f} s {rss:7.1f} MB\n" for run, count, seconds, rss in rows)
    if place := os.environ.get("BRINGBACK_GROWTH"):
        Path(place).write_text(table)
    for run in ("first", "again"):
        mine = [row for row in rows if row[0] == run]
        assert mine[-1][3] - mine[0][3] < 60, table  # MB: the entries that are handed back, some 3 kB each
        assert sum(row[2] for row in mine[-3:]) < 2.5 * sum(row[2] for row in mine[:3]), table


@pytest.mark.heavy
def test_fifty_photos_by_the_real_pipeline_killed_and_resumed(thirty, tmp_path, pixels):
    folder, out, whole = tmp_path / "fifty", tmp_path / "out", tmp_path / "whole"
    good = write_every_kind(pixels, folder)
    real = Pipeline.from_pretrained(device="cpu")
    restore_folder([folder], whole, real)
    context = multiprocessing.get_context("spawn")
    for moment in (6, 8):
        run = context.Process(target=_restore_really, args=(folder, out))
        run.start()
        time.sleep(moment)
        os.kill(run.pid, signal.SIGKILL)
        run.join()
    entries = restore_folder([folder], out, real)
    assert {entry["status"] for entry in entries} <= {"done", "skipped"}
    assert tree_of(out) == tree_of(whole) and len(tree_of(out)) == len(good)


def _restore_really(folder: Path, out: Path) -> None:
    import torch

    torch.set_num_threads(1)
    restore_folder([folder], out, Pipeline.from_pretrained(device="cpu"))
