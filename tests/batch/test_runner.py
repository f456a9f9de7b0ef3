"""A folder comes back as the same tree; a run that stopped goes on; nothing is overwritten that is not ours."""

import hashlib
import json
import weakref

import made_profiles
import numpy as np
import pytest
import torch
from PIL import Image

from bringback.batch import runner as folder_module
from bringback.batch.jobs import plan
from bringback.batch.manifest import new_entry
from bringback.batch.masks import age_folder, mask_folder
from bringback.batch.runner import FolderRestorer, restore_folder
from bringback.errors import UsageError
from bringback.images.photo import Photo
from bringback.pipeline import Pipeline
from bringback.runtime.compute import Compute
from bringback.runtime.memory import queued
from bringback.stages.record import Face


@pytest.fixture
def tree(tmp_path, pixels):
    """Photos of several kinds in a tree with names of all sorts, and a file that is no photo."""
    root = tmp_path / "in"
    for name in ("a.png", '1931/Käthe\'s "Hof" [red].jpg', "1931/deep/c.tif", "1931/b.JPG"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    (root / "notes.txt").write_text("nothing")
    (root / "._a.png").write_bytes(b"resource fork")
    return root


@pytest.fixture
def light(lighten) -> Pipeline:
    return Pipeline([lighten], {"tone": "1234"})


def marking(mask_of):
    """A detector whose masks are made from the pixels."""

    def detect(restoration):
        restoration.mask = mask_of(restoration.pixels)
        return restoration

    return detect


def manifest(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]


def files(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def statuses(entries):
    return {entry["photo"]: entry["status"] for entry in entries}


def test_the_tree_is_mirrored(tree, light, tmp_path):
    out, begun, told = tmp_path / "out", [], []
    entries = restore_folder([tree], out, light, on_start=begun.append, on_photo=told.append)
    names = ['1931/Käthe\'s "Hof" [red].jpg', "1931/b.JPG", "1931/deep/c.tif", "a.png"]
    assert files(out) == sorted([*names, "manifest.jsonl"])
    assert begun == [4] and told == entries and manifest(out) == entries
    assert statuses(entries) == dict.fromkeys(names, "done")
    first = next(entry for entry in entries if entry["photo"] == "a.png")
    assert first["input"] == str(tree / "a.png") and first["output"] == str(out / "a.png")
    assert first["stages"]["tone"]["seconds"] >= 0 and first["seconds"] > 0 and first["message"] == ""
    assert first["faces"] == {"count": 0, "each": []}
    assert (
        first["settings"] == {"stages": ["tone"], "strength": 1.0, "scale": 1.0, "dtype": "float32", "tile": None}
        and first["weights"] == {"tone": "1234"}
        and len(first["sha256"]) == 64
    )
    before, after = Photo.read(tree / "a.png"), Photo.read(out / "a.png")
    np.testing.assert_allclose(after.pixels, 0.75 * before.pixels + 0.25, atol=0.003)


def test_settings_of_a_stage_take_the_place_of_no_other(light, tmp_path):
    light.settings = {"tile": {"size": 3}}
    with pytest.raises(UsageError, match="a stage called 'tile'"):
        FolderRestorer(tmp_path, light)


def test_profiles_are_applied_and_kept(tmp_path, pixels, light):
    (tmp_path / "in").mkdir()
    for name, icc in (("adobe", made_profiles.ADOBE), ("broken", b"no profile"), ("srgb", made_profiles.SRGB)):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.tif", icc_profile=icc)
    for strength in (0, 1):
        pipeline, out = Pipeline(light.stages, strength=strength), tmp_path / f"out {strength}"
        adobe, broken, srgb = restore_folder([tmp_path / "in"], out, pipeline, compare=True)
        assert len(broken["warnings"]) == 1 and not adobe["warnings"] + srgb["warnings"]
        images = [Image.open(out / f"{name}.tif") for name in ("adobe", "broken", "srgb")]
        assert images[0].info["icc_profile"] == made_profiles.ADOBE and images[1].info["icc_profile"] == b"no profile"
        arrays = [np.asarray(image) for image in images]
        np.testing.assert_array_equal(arrays[1], arrays[2])
        assert np.array_equal(arrays[0], arrays[1]) == (strength == 0)
        if strength == 0:
            np.testing.assert_array_equal(arrays[0], pixels)


class Doubtful:
    """Marks the left half of wide photos, and warns of it."""

    name = "scratches"

    def __call__(self, restoration):
        restoration.mask = torch.zeros_like(restoration.pixels[:, :1])
        if restoration.pixels.shape[-1] > 50:
            restoration.mask[..., :10] = 1
            restoration.warnings.append("a tenth is damaged")
        return restoration


def test_photos_with_warnings_are_told_and_laid_out_for_review(tree, tmp_path):
    Image.new("RGB", (40, 30)).save(tree / "small.png")
    out, look = tmp_path / "out", tmp_path / "look"
    pipeline = Pipeline([Doubtful()])
    entries = restore_folder([tree / "a.png", tree / "small.png"], out, pipeline)
    assert [entry["warnings"] for entry in entries] == [["a tenth is damaged"], []] and manifest(out) == entries
    look.mkdir()
    (look / "small.png.png").write_bytes(b"of an earlier run, with a warning")
    again = restore_folder([tree / "a.png", tree / "small.png", tree / "1931"], out, pipeline, review=look)
    assert {entry["status"] for entry in again} == {"done"}  # nothing was laid out for review before
    assert files(look) == sorted(['Käthe\'s "Hof" [red].jpg.png', "a.png.png", "b.JPG.png", "deep/c.tif.png"])
    strip = np.asarray(Image.open(look / "a.png.png"))
    before, width = np.asarray(Image.open(tree / "a.png")), 64
    assert strip.shape == (48, 3 * width + 2 * 8, 3)
    np.testing.assert_array_equal(strip[:, :width], before)
    assert (strip[:, width + 8 : width + 18] == 255).all() and (strip[:, width + 18 : 2 * width + 8] == 0).all()
    assert set(statuses(restore_folder([tree], out, pipeline, review=look)).values()) == {"skipped", "done"}


def test_strips_for_review_never_lie_on_photos_or_results(tree, light, tmp_path):
    Image.new("RGB", (40, 30)).save(tree / "a.png.png")
    for look in (tree, tmp_path / "out"):
        with pytest.raises(UsageError, match=r"a\.png\.png"):
            restore_folder([tree], tmp_path / "out", light, review=look)


class Faces:
    """Makes photos twice as large and brighter; two faces, in a corner and in the middle."""

    name = "faces"

    def __call__(self, restoration):
        restoration.faces = [Face((0, 0, 20, 20), np.zeros((5, 2))), Face((20, 10, 40, 30), np.zeros((5, 2)), 0.1)]
        restoration.enlarge((restoration.pixels.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.25).clamp(0, 1))
        return restoration


def test_faces_are_laid_out_for_review_before_and_after(tree, tmp_path):
    out, look, pipeline = tmp_path / "out", tmp_path / "look", Pipeline([Faces()])
    restore_folder([tree / "a.png"], out, pipeline)
    entries = restore_folder([tree / "a.png", tree / "1931"], out, pipeline, faces_review=look)
    assert {entry["status"] for entry in entries} == {"done"}  # no faces were laid out before
    names = ['Käthe\'s "Hof" [red]', "a", "b", "deep/c"]
    assert files(look) == sorted(f"{name}-face-{number}.png" for name in names for number in (1, 2))
    pair, photo = np.asarray(Image.open(look / "a-face-2.png")), np.asarray(Image.open(tree / "a.png"))
    assert pair.shape == (56, 2 * 56 + 8, 3)  # the box with a fifth of its side around it, at the result's size
    result = np.asarray(Image.open(out / "a.png"))
    np.testing.assert_array_equal(pair[:, 64:], result[12:68, 32:88])
    before = np.asarray(Image.fromarray(photo[6:34, 16:44]).resize((56, 56), Image.Resampling.BICUBIC))
    assert np.abs(pair[:, :56].astype(int) - before).mean() < 2


def test_faces_are_laid_out_once_and_those_no_longer_found_go(tree, tmp_path):
    out, look, pipeline = tmp_path / "out", tmp_path / "look", Pipeline([Faces()])
    look.mkdir()
    others = ["a-face-2-face-3.png", "a-face-x.png", "b-face-3.png"]
    for name in ("a-face-3.png", "a-face-11.png", *others):
        (look / name).write_bytes(b"earlier")
    assert restore_folder([tree / "a.png"], out, pipeline, faces_review=look)[0]["status"] == "done"
    assert files(look) == sorted(["a-face-1.png", "a-face-2.png", *others])
    for again, status in (({}, "skipped"), ({"overwrite": True}, "skipped")):
        (entry,) = restore_folder([tree / "a.png"], out, pipeline, faces_review=tmp_path / "other", **again)
        assert entry["status"] == status and not (tmp_path / "other").exists()
    (out / "a.png").unlink()
    restore_folder([tree / "a.png"], out, pipeline, faces_review=tmp_path / "other")
    assert files(tmp_path / "other") == ["a-face-1.png", "a-face-2.png"]


def test_faces_for_review_want_the_stage_and_never_lie_on_photos_or_results(tree, light, tmp_path):
    with pytest.raises(UsageError, match="go with the stage faces"):
        restore_folder([tree], tmp_path / "out", light, faces_review=tmp_path / "look")
    (tree / "a.png").rename(tree / "a-face-7.png")
    for look in (tree, tmp_path / "out"):
        with pytest.raises(UsageError, match=r"a-face-7\.png is named like a face"):
            restore_folder([tree], tmp_path / "out", Pipeline([Faces()]), faces_review=look)
    for choice in ({"review": tree}, {"faces_review": tree}):  # other files there may be originals too
        with pytest.raises(UsageError, match=r"has the input c\.png: choose another folder"):
            (tree / "c.png").write_bytes((tree / "a-face-7.png").read_bytes())
            restore_folder([tree / "c.png"], tmp_path / "out", Pipeline([Faces()]), **choice)


def test_odd_but_legal_files_are_restored_in_their_own_kind(tmp_path, pixels, light):
    root, out, rgb = tmp_path / "in", tmp_path / "out", Image.fromarray(pixels)
    root.mkdir()
    rgb.convert("CMYK").save(root / "cmyk.jpg")
    rgb.convert("P").save(root / "palette.png")
    rgb.convert("RGBA").save(root / "alpha.png")
    rgb.save(root / "animated.gif", save_all=True, append_images=[Image.new("RGB", rgb.size)])
    rgb.resize((1, 1)).save(root / "one.png")
    rgb.convert("L").save(root / "grey.jpg")
    Photo.from_array(pixels.astype(np.uint16) * 257).write(root / "deep.png")
    assert set(statuses(restore_folder([root], out, light)).values()) == {"done"}
    expected = {"cmyk.jpg": ("JPEG", "RGB"), "palette.png": ("PNG", "RGB"), "alpha.png": ("PNG", "RGBA")}
    expected |= {
        "animated.gif": ("GIF", "P"),
        "one.png": ("PNG", "RGB"),
        "grey.jpg": ("JPEG", "L"),
        "deep.png": ("PNG", "RGB"),
    }
    for name, (format, mode) in expected.items():
        image = Image.open(out / name)
        assert (image.format, image.mode, image.size) == (format, mode, Image.open(root / name).size), name
    assert Photo.read(out / "deep.png").bit_depth == 16
    np.testing.assert_allclose(
        Photo.read(out / "animated.gif").pixels.mean(), 0.75 * pixels.mean() / 255 + 0.25, atol=0.02
    )


def test_a_broken_file_is_one_clear_line_and_the_rest_go_on(tree, light, tmp_path):
    whole = (tree / "1931" / "b.JPG").read_bytes()
    (tree / "empty.jpg").touch()
    (tree / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tree / "text.jpg").write_text("Dear Aunt Emma")
    entries = restore_folder([tree], tmp_path / "out", light)
    failed = {entry["photo"]: entry["message"] for entry in entries if entry["status"] == "failed"}
    assert failed.keys() == {"empty.jpg", "cut.jpg", "text.jpg"} and len(entries) == 7
    for name, message in failed.items():
        assert message.startswith(str(tree / name)) and "\n" not in message
        assert not (tmp_path / "out" / name).exists()
    assert "empty" in failed["empty.jpg"] and "cut short" in failed["cut.jpg"] and "not a picture" in failed["text.jpg"]
    assert manifest(tmp_path / "out") == entries


def test_a_stage_that_raises_fails_that_photo_alone(tree, tmp_path, lighten):
    class Picky:
        name = "fill"

        def __call__(self, restoration):
            if restoration.photo.format == "TIFF":
                raise RuntimeError("no memory\nfor this")
            return restoration

    entries = restore_folder([tree], tmp_path / "out", Pipeline([lighten, Picky()]))
    assert list(statuses(entries).values()).count("failed") == 1
    failed = next(entry for entry in entries if entry["status"] == "failed")
    assert failed["message"] == f"{tree / '1931/deep/c.tif'}: RuntimeError: no memory"
    assert not (tmp_path / "out/1931/deep").exists()


def test_faces_and_numpy_numbers_reach_the_manifest(tree, tmp_path):
    class Finds:
        name = "faces"

        def __call__(self, restoration):
            face = Face((np.float32(1.4), 2, 30, 40), np.zeros((5, 2)), identity=np.float32(0.25), status="refined")
            restoration.faces = [face]
            restoration.notes["faces"] = {"refined": np.int64(1)}
            return restoration

    entry = restore_folder([tree / "a.png"], tmp_path / "out", Pipeline([Finds()]))[0]
    assert entry["status"] == "done", entry["message"]
    line = manifest(tmp_path / "out")[0]
    assert line["faces"] == {"count": 1, "each": [{"box": [1, 2, 30, 40], "identity": 0.25, "status": "refined"}]}
    assert line["stages"]["faces"]["refined"] == 1


def test_the_same_command_again_skips_what_is_done(tree, light, lighten, tmp_path):
    out = tmp_path / "out"
    restore_folder([tree], out, light)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != "manifest.jsonl"}
    (out / "1931" / "b.JPG").unlink()
    (tree / "new.png").write_bytes((tree / "a.png").read_bytes())
    Image.new("RGB", (9, 9)).save(tree / "1931" / "deep" / "c.tif")
    calls = lighten.calls
    entries = restore_folder([tree], out, light)
    done = [entry["photo"] for entry in entries if entry["status"] == "done"]
    assert done == ["1931/b.JPG", "1931/deep/c.tif", "new.png"] and lighten.calls == calls + 3
    assert (out / "a.png").stat().st_mtime_ns == times[out / "a.png"]
    assert Image.open(out / "1931/deep/c.tif").size == (9, 9)
    assert set(statuses(restore_folder([tree], out, light)).values()) == {"skipped"}
    assert len(manifest(out)) == 4 + 3  # what is done already, or fails as before, is not told again
    for _ in range(2):
        (tree / "1931" / "broken.jpg").write_bytes(b"no")
        restore_folder([tree], out, light)
        assert len(manifest(out)) == 4 + 3 + 1 and manifest(out)[-1]["status"] == "failed"
    (tree / "1931" / "broken.jpg").write_bytes(b"not")  # fails by the same words, but is another file
    restore_folder([tree], out, light)
    restore_folder([tree], out, light)
    assert len(manifest(out)) == 4 + 3 + 2 and manifest(out)[-1]["sha256"] == hashlib.sha256(b"not").hexdigest()


@pytest.mark.parametrize("change", ["stages", "weights", "mask", "strength"])
def test_other_settings_are_another_restoration(tree, light, lighten, mark, tmp_path, change):
    out, photo = tmp_path / "out", tree / "a.png"
    restore_folder([photo], out, light)
    mask = tmp_path / "m.png"
    Image.new("L", (64, 48)).save(mask)
    pipeline = {"stages": Pipeline([mark, lighten], light.weights), "weights": Pipeline([lighten], {"tone": "5678"})}
    pipeline["strength"] = Pipeline([lighten], light.weights, strength=0.5)
    options = {"mask": mask} if change == "mask" else {}
    for expected in ("done", "skipped"):
        assert restore_folder([photo], out, pipeline.get(change, light), **options)[0]["status"] == expected


def test_a_run_that_was_interrupted_goes_on(tree, tmp_path, lighten):
    class Stopped(type(lighten)):
        def __call__(self, restoration):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().__call__(restoration)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        restore_folder([tree], out, Pipeline([Stopped()]), save_stages=True, compare=True)
    assert len(manifest(out)) == 2 and len(list((out / "compare").rglob("*.png"))) == 2
    assert not list(out.rglob("*.part"))
    entries = restore_folder([tree], out, Pipeline([lighten]), save_stages=True, compare=True)
    assert list(statuses(entries).values()) == ["skipped", "skipped", "done", "done"]


def test_interrupted_while_writing_leaves_nothing_of_the_photo(tree, light, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def stop(self, entry):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(folder_module.Manifest, "add", stop)
        restore_folder([tree / "a.png"], out, light, compare=True)
    assert files(out) == []
    assert restore_folder([tree / "a.png"], out, light, compare=True)[0]["status"] == "done"


def test_a_manifest_cut_short_is_still_good(tree, light, tmp_path):
    out = tmp_path / "out"
    restore_folder([tree], out, light)
    text = (out / "manifest.jsonl").read_text("utf-8")
    (out / "manifest.jsonl").write_text(text[:-40], "utf-8")
    entries = restore_folder([tree], out, light, overwrite=True)
    assert list(statuses(entries).values()) == ["skipped", "skipped", "skipped", "done"]
    lines = (out / "manifest.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 5 and json.loads(lines[-1])["status"] == "done"


def test_a_file_that_is_not_ours_is_overwritten_only_when_told(tree, light, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"somebody's")
    for _ in range(2):  # a failure does not make it ours
        entry = restore_folder([tree / "a.png"], out, light)[0]
        assert (
            entry["status"] == "failed" and "--overwrite" in entry["message"] and "--skip-existing" in entry["message"]
        )
        assert (out / "a.png").read_bytes() == b"somebody's"
    assert restore_folder([tree / "a.png"], out, light, skip_existing=True)[0]["status"] == "skipped"
    assert (out / "a.png").read_bytes() == b"somebody's"
    assert restore_folder([tree / "a.png"], out, light, overwrite=True)[0]["status"] == "done"
    assert Image.open(out / "a.png").size == (64, 48)


def test_somebodys_strip_is_not_overwritten_either(tree, light, tmp_path):
    out = tmp_path / "out"
    (out / "compare").mkdir(parents=True)
    (out / "compare" / "a.png.png").write_bytes(b"somebody's")
    assert restore_folder([tree / "a.png"], out, light, compare=True)[0]["status"] == "failed"
    assert files(out) == ["compare/a.png.png", "manifest.jsonl"]


def test_another_input_of_the_same_name_is_no_reason_to_overwrite(tree, light, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (9, 9)).save(other / "a.png")
    restore_folder([tree / "a.png"], out, light)
    before = (out / "a.png").read_bytes()
    entry = restore_folder([other], out, light)[0]
    assert entry["status"] == "failed" and "exists already: use --overwrite" in entry["message"]
    assert (out / "a.png").read_bytes() == before
    assert restore_folder([other], out, light, skip_existing=True)[0]["status"] == "skipped"
    assert restore_folder([other], out, light, overwrite=True)[0]["status"] == "done"
    assert restore_folder([tree / "a.png"], out, light)[0]["status"] == "failed"  # it is the other's now


def test_a_result_that_somebody_changed_is_not_overwritten(tree, light, lighten, mark, tmp_path):
    out, others = tmp_path / "out", Pipeline([mark, lighten])
    restore_folder([tree / "a.png"], out, light)
    (out / "a.png").write_bytes(b"retouched for hours")
    entry = restore_folder([tree / "a.png"], out, others)[0]
    assert entry["status"] == "failed" and (out / "a.png").read_bytes() == b"retouched for hours"
    assert restore_folder([tree / "a.png"], out, others, overwrite=True)[0]["status"] == "done"
    assert restore_folder([tree / "a.png"], out, light)[0]["status"] == "done"


def test_a_strangers_strip_beside_a_done_photo_is_not_overwritten(tree, light, tmp_path):
    out = tmp_path / "out"
    restore_folder([tree / "a.png"], out, light)
    for stranger, option in ((out / "compare/a.png.png", "compare"), (out / "stages/a/1-tone.png", "save_stages")):
        stranger.parent.mkdir(parents=True)
        stranger.write_bytes(b"somebody's")
        entry = restore_folder([tree / "a.png"], out, light, **{option: True})[0]
        assert entry["status"] == "failed" and str(stranger) in entry["message"]
        assert stranger.read_bytes() == b"somebody's"
        stranger.unlink()
        assert restore_folder([tree / "a.png"], out, light, **{option: True})[0]["status"] == "done"
    again = Pipeline(light.stages, {"tone": "5678"})
    for options in ({}, {"compare": True, "save_stages": True}):  # what was ours once is ours still
        assert restore_folder([tree / "a.png"], out, again, **options)[0]["status"] == "done"


def test_stages_and_strips(tree, mark, lighten, tmp_path, pixels):
    out, pipeline = tmp_path / "out", Pipeline([mark, lighten])
    restore_folder([tree / "a.png", tree / "1931"], out, pipeline)
    (tree / "1931" / "a.jpg").write_bytes((tree / "1931" / "b.JPG").read_bytes())
    restore_folder([tree / "a.png", tree / "1931"], out, pipeline, save_stages=True, compare=True)
    for folder in ("a.png", "a.jpg", "b", "deep/c"):  # the extension where two share the stem
        names = sorted(path.name for path in (out / "stages" / folder).iterdir() if path.is_file())
        assert names == ["1-scratches.png", "1-scratches_mask.png", "2-tone.png"]
    mask = np.asarray(Image.open(out / "stages/b/1-scratches_mask.png"))
    assert mask.shape == (48, 64) and mask[:, 0].min() == 255 and mask[:, -1].max() == 0
    np.testing.assert_array_equal(np.asarray(Image.open(out / "stages/a.png/1-scratches.png")), pixels)
    strip = np.asarray(Image.open(out / "compare/a.png.png"))
    np.testing.assert_array_equal(strip[:, :64], pixels)
    np.testing.assert_array_equal(strip[:, -64:], np.asarray(Image.open(out / "a.png")))
    assert set(statuses(restore_folder([tree / "a.png"], out, pipeline)).values()) == {"skipped"}


def test_masks_are_paired_by_place_and_stem(tree, tmp_path):
    given = {}

    class Look:
        name = "fill"

        def __call__(self, restoration):
            given[len(given)] = restoration.mask
            return restoration

    masks = tmp_path / "masks"
    for number, name in enumerate(["a.png", "1931/b_mask.png", "1931/b.gif", "deep/c.png"]):
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 48), 50 * (number + 1)).save(masks / name)
    entries = restore_folder([tree], tmp_path / "out", Pipeline([Look()]), mask=masks)
    levels = [None if mask is None else round(mask.max().item() * 255) for mask in given.values()]
    assert dict(zip([entry["photo"].split("/")[-1] for entry in entries], levels, strict=True)) == {
        'Käthe\'s "Hof" [red].jpg': None,
        "b.JPG": 100,
        "c.tif": None,
        "a.png": 50,
    }
    given.clear()
    Image.new("L", (64, 48), 200).save(tree / "a_mask.png")  # beside the photo: a mask and not a photo
    (tree / "1931" / "b.png").write_bytes((tree / "a.png").read_bytes())  # two photos of one stem, neither a mask
    entries = restore_folder([tree], tmp_path / "out2", Pipeline([Look()]), mask=tree)
    assert len(entries) == 5 and round(given.pop(4).max().item() * 255) == 200 and set(given.values()) == {None}


def test_bad_masks(tree, light, tmp_path):
    mask = tmp_path / "m.png"
    Image.new("L", (10, 20)).save(mask)
    entry = restore_folder([tree / "a.png"], tmp_path / "out", light, mask=mask)[0]
    assert entry["status"] == "failed" and str(tree / "a.png") in entry["message"] and "10x20" in entry["message"]
    mask.write_text("no picture")
    entry = restore_folder([tree / "a.png"], tmp_path / "out", light, mask=mask)[0]
    assert entry["status"] == "failed" and entry["message"].startswith(str(mask))
    for wrong in (mask, tmp_path / "none", tmp_path / "out"):
        with pytest.raises(UsageError):
            restore_folder([tree], tmp_path / "out", light, mask=wrong)


def test_wrong_inputs_are_refused_before_anything_is_written(tree, light, tmp_path):
    wrong = {
        "no such": ([tree, tree / "gone"], tmp_path / "out"),
        "inside": ([tree], tree / "1931" / "out"),
        "inside the": ([tree], tree),
        "no photos": ([tree / "1931" / "deep" / ".." / ".." / "empty"], tmp_path / "out"),
        "an input itself": ([tree / "a.png"], tree),
        "both be written": ([tree / "a.png", tmp_path / "other"], tmp_path / "out"),
    }
    (tree / "empty").mkdir()
    (tmp_path / "other").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "other" / "a.png")
    before = files(tmp_path)
    for reason, (inputs, out) in wrong.items():
        with pytest.raises(UsageError, match=reason) as caught:
            restore_folder(inputs, out, light)
        assert "\n" not in str(caught.value)
    assert files(tmp_path) == before
    assert len(restore_folder([tree / "a.png", tree / "a.png"], tmp_path / "out", light)) == 1
    assert len(restore_folder([tree / "a.png"], tree / "beside", light)) == 1


def test_a_folder_that_cannot_be_read_is_a_failed_entry(tree, light, tmp_path, lock):
    out = tmp_path / "out"
    restore_folder([tree], out, light)
    (out / "manifest.jsonl").unlink()
    lock(tree / "1931")
    message = f"{tree / '1931'}: cannot be read: Permission denied"
    planned = restore_folder([tree], tmp_path / "dry", light, dry_run=True)
    assert statuses(planned) == {"a.png": "planned", "1931": "failed"} and not (tmp_path / "dry").exists()
    entries = restore_folder([tree], out, light, overwrite=True)
    assert statuses(entries) == {"a.png": "done", "1931": "failed"} and manifest(out) == entries
    assert entries[1]["message"] == planned[1]["message"] == message
    (tmp_path / "masks" / "1931_mask.png").mkdir(parents=True)
    for told in (
        mask_folder([tree], tmp_path / "masks", marking(lambda pixels: pixels[:, :1]), skip_existing=True),
        age_folder([tree, tree], out, "mixed", 1, skip_existing=True),
    ):
        assert statuses(told)["1931"] == "failed" and told[-1]["message"] == message and len(told) == 2
    lock(tree)
    with pytest.raises(UsageError, match="in: cannot be read: Permission denied"):
        restore_folder([tree], out, light)


def test_photos_in_linked_folders_are_restored(tree, light, tmp_path):
    album, out, lines = tmp_path / "album", tmp_path / "out", []
    (album / "out").mkdir(parents=True)
    (album / "d.png").write_bytes((tree / "a.png").read_bytes())
    for link, target in (("album", album), ("again", tree / "1931"), ("loop", tree), ("results", out)):
        (tree / link).symlink_to(target)
    out.mkdir()
    for _ in range(2):  # the second time there are results to be taken for photos
        entries = restore_folder([tree], out, light)
        assert len(entries) == 5 and statuses(entries)["album/d.png"] in ("done", "skipped")
    assert not (out / "album").is_symlink() and (out / "album" / "d.png").is_file()
    plan([tree], out, lines.append)
    assert lines == [
        f"{tree / 'again'}: the same folder as {tree / '1931'}: read once",
        f"{tree / 'loop'}: the same folder as {tree}: read once",
        f"{tree / 'results'}: not followed: it leads into the output folder {out}",
        "2 files left out, no picture or of a format that is not read: 1 .png (._a.png), 1 .txt (notes.txt)",
    ]
    lines.clear()
    (tree / "results").unlink()
    (album / "out" / "a.png").write_bytes((tree / "a.png").read_bytes())
    assert len(plan([tree], album / "out", lines.append)) == 5 and len(lines) == 4  # it may lie below a link as well
    assert f"{tree / 'album' / 'out'}: not followed: it leads into the output folder {album / 'out'}" in lines


def test_a_link_to_nowhere_is_no_photo_passed_over(tree, light, tmp_path):
    (tree / "1931" / "gone.jpg").symlink_to(tmp_path / "unplugged" / "gone.jpg")
    (tree / "1932").symlink_to(tmp_path / "unplugged")
    entries = restore_folder([tree], tmp_path / "out", light)
    failed = {entry["photo"]: entry["message"] for entry in entries if entry["status"] == "failed"}
    assert len(entries) == 6 and failed.keys() == {"1931/gone.jpg", "1932"}
    assert failed["1932"] == f"{tree / '1932'}: a link to what cannot be read: No such file or directory"


def test_masks_that_cannot_be_read_are_told(tree, light, tmp_path, lock):
    (tmp_path / "masks" / "1931").mkdir(parents=True)
    Image.new("L", (64, 48)).save(tmp_path / "masks" / "a.png")
    lock(tmp_path / "masks" / "1931")
    with pytest.raises(UsageError, match="1931: cannot be read"):
        restore_folder([tree], tmp_path / "out", light, mask=tmp_path / "masks")
    Image.new("L", (64, 48)).save(tree / "a_mask.png")
    lock(tree / "1931")  # among the photos it is one failure, not two
    entries = restore_folder([tree], tmp_path / "out", light, mask=tree)
    assert statuses(entries) == {"a.png": "done", "1931": "failed"} and entries[0]["mask"]


def test_no_input_is_ever_overwritten(tree, light, mark, tmp_path):
    """Photos, masks and strips in one place: nothing that is read is a place to write to, whatever is allowed."""
    masks, out = tmp_path / "masks", tmp_path / "out"
    for path in (masks / "a.png", out / "compare" / "a.png.png", out / "stages" / "a" / "1-scratches_mask.png"):
        path.parent.mkdir(parents=True)
        Image.new("L", (64, 48)).save(path)
    (tree / "in").mkdir()
    for name in ("a_mask.png", "in/a.png"):  # tmp_path/in/a_mask.png would be the mask of the second
        (tree / name).write_bytes((tree / "a.png").read_bytes())
    photo, strip, stage = tree / "a.png", out / "compare" / "a.png.png", out / "stages" / "a" / "1-scratches_mask.png"
    both, before = Pipeline([mark]), {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    wrong = [
        lambda: restore_folder([tree], masks, light, mask=masks, overwrite=True),
        lambda: restore_folder([tree], masks, light, mask=masks),
        lambda: restore_folder([photo, strip], out, light, compare=True, overwrite=True),
        lambda: restore_folder([photo], out, light, mask=strip, compare=True, overwrite=True),
        lambda: restore_folder([photo], out, both, mask=stage, save_stages=True, overwrite=True),
        lambda: restore_folder([photo, stage], out, both, save_stages=True, overwrite=True),
        lambda: mask_folder([tree], tmp_path, marking(lambda x: x[:, :1]), overwrite=True),
        lambda: age_folder([photo], masks, "mixed", 1, overlays=[masks / "a.png"], overwrite=True),
    ]
    for begin in wrong:
        with pytest.raises(UsageError, match="is an input itself: choose another output") as caught:
            begin()
        assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before
    assert restore_folder([photo], out, both, mask=masks, compare=True, overwrite=True)[0]["status"] == "done"


def test_own_folders_of_the_photos_do_not_mix_with_ours(tree, light, tmp_path):
    (tree / "1931").rename(tree / "compare")
    with pytest.raises(UsageError, match="'compare'"):
        restore_folder([tree], tmp_path / "out", light, compare=True)
    assert len(restore_folder([tree], tmp_path / "out", light)) == 4


def test_an_output_that_cannot_be_written_is_told(tree, light, tmp_path):
    out = tmp_path / "out"
    (out / "a.png").mkdir(parents=True)
    entry = restore_folder([tree / "a.png"], out, light, overwrite=True)[0]
    assert entry["status"] == "failed" and entry["message"].startswith(f"{out / 'a.png'}: cannot be written")
    assert files(out) == ["manifest.jsonl"]


def test_soft_masks(tree, tmp_path):
    (tree / "1931" / "b.png").write_bytes((tree / "a.png").read_bytes())
    (tree / "bad.jpg").touch()

    detect = marking(lambda pixels: torch.linspace(0, 1, pixels.shape[-1]).expand(1, 1, *pixels.shape[-2:]))

    entries = mask_folder([tree], tmp_path / "out", detect)
    assert files(tmp_path / "out") == sorted(
        [
            '1931/Käthe\'s "Hof" [red]_mask.png',
            "1931/b.JPG_mask.png",
            "1931/b.png_mask.png",
            "1931/deep/c_mask.png",
            "a_mask.png",
        ]
    )
    mask = Image.open(tmp_path / "out" / "a_mask.png")
    assert mask.mode == "L" and mask.size == (64, 48) and np.asarray(mask)[0, [0, 21, 63]].tolist() == [0, 85, 255]
    assert statuses(entries)["bad.jpg"] == "failed"
    assert set(statuses(mask_folder([tree], tmp_path / "out", detect)).values()) == {"failed"}
    (tmp_path / "out" / "a_mask.png").unlink()
    again = statuses(mask_folder([tree], tmp_path / "out", detect, skip_existing=True))
    assert again.pop("a.png") == "done" and again.pop("bad.jpg") == "failed" and set(again.values()) == {"skipped"}
    assert statuses(mask_folder([tree], tmp_path / "out", detect, overwrite=True))["a.png"] == "done"


def test_masks_of_names_within_names(tree, tmp_path):
    for name in ("b.jpg", "b.png", "b.jpg.tif"):
        Image.new("RGB", (9, 9)).save(tree / name)
    mask_folder([tree], tmp_path / "out", marking(lambda pixels: pixels[:, :1]))
    assert [name for name in files(tmp_path / "out") if name.startswith("b.")] == [
        "b.jpg.tif_mask.png",
        "b.jpg_mask.png",
        "b.png_mask.png",
    ]


def test_an_interrupted_search_for_damage_leaves_nothing_claimed(tree, tmp_path):
    def stop(restoration):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mask_folder([tree / "a.png"], tmp_path / "out", stop)
    assert mask_folder([tree / "a.png"], tmp_path / "out", marking(lambda pixels: pixels[:, :1]))[0]["status"] == "done"


def test_ageing_a_folder_is_seeded(tree, tmp_path):
    (tree / "bad.jpg").touch()
    for out, seed in (("one", 5), ("two", 5), ("three", 6)):
        entries = age_folder([tree], tmp_path / out, "structured", seed)
        assert statuses(entries) == {entry["photo"]: "done" for entry in entries} | {"bad.jpg": "failed"}
    assert not np.array_equal(
        *(np.asarray(Image.open(tmp_path / "one" / name)) for name in ("a.png", "1931/deep/c.tif"))
    )
    for name in ("a.png", "a_mask.png"):
        (tmp_path / "two" / name).unlink()
    again = statuses(age_folder([tree], tmp_path / "two", "structured", 5, skip_existing=True))
    assert again.pop("a.png") == "done" and again.pop("bad.jpg") == "failed" and set(again.values()) == {"skipped"}
    one, two, three = (np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("one", "two", "three"))
    assert np.array_equal(one, two) and not np.array_equal(one, three)
    assert not np.array_equal(one, np.asarray(Image.open(tree / "a.png")))
    (tree / "0.png").write_bytes((tree / "a.png").read_bytes())  # comes first: the seeds of the others stay
    age_folder([tree], tmp_path / "four", "structured", 5)
    assert np.array_equal(one, np.asarray(Image.open(tmp_path / "four" / "a.png")))
    assert not np.array_equal(one, np.asarray(Image.open(tmp_path / "four" / "0.png")))
    mask = Image.open(tmp_path / "one" / "a_mask.png")
    assert mask.mode == "L" and mask.size == (64, 48) and np.asarray(mask).max() > 0
    with pytest.raises(UsageError, match="unknown recipe 'rust'"):
        age_folder([tree], tmp_path / "four", "rust", 1)
    (tree / "a_mask.png").write_bytes((tree / "a.png").read_bytes())
    with pytest.raises(UsageError, match="a_mask"):
        age_folder([tree], tmp_path / "four", "mixed", 1)


class Large:
    """A tiled stage that takes a thousand bytes a pixel of a photo or tile, and notes which photos came together."""

    name = "translate"

    def __init__(self, compute: Compute) -> None:
        self.tile, self.compute, self.groups = 512, compute, []

    def needs(self, height, width, tile):
        return 1000 * min(height * width, min(tile or self.tile, self.tile) ** 2)

    def many(self, restorations):
        self.groups.append([one.photo.pixels.shape[:2] for one in restorations])
        for one in restorations:
            one.pixels = 0.5 * one.pixels + 0.5
        return restorations


def test_the_manifest_tells_of_memory_and_of_how_it_was_computed(tree, tmp_path, lighten):
    compute = Compute(dtype=torch.bfloat16, tile=512, batch=3)
    entries = restore_folder([tree], tmp_path / "out", Pipeline([lighten], compute=compute))
    assert manifest(tmp_path / "out") == entries and len(entries) == 4
    for entry in entries:
        assert entry["batch_size"] == 3 and entry["device"] == "cpu" and entry["threads"] == torch.get_num_threads()
        assert (entry["settings"]["dtype"], entry["settings"]["tile"]) == ("bfloat16", 512)
        told = entry["memory"]
        assert told.keys() == {"planned", "peak", "tile", "fallback"}
        assert told["planned"] > 10**8 and told["peak"] > 10**8 and told["tile"] is None and told["fallback"] is False
    (tree / "1931" / "b.JPG").write_text("no picture")
    failed = next(e for e in restore_folder([tree], tmp_path / "out", Pipeline([lighten])) if e["status"] == "failed")
    assert "memory" not in failed


def test_a_plan_and_a_fallback_are_told_apart(tree, tmp_path):
    stage = Large(Compute())
    peak = Pipeline([stage]).plan(600, 700).peak
    Image.new("RGB", (700, 600)).save(tree / "large.png")
    tight = Pipeline([stage], compute=Compute(memory=peak - 1))
    plans = {}
    entries = restore_folder([tree], tmp_path / "out", tight, on_plan=lambda name, plan: plans.update({name: plan}))
    told = {entry["photo"]: entry["memory"] for entry in entries}
    assert (told["large.png"]["tile"], told["large.png"]["fallback"]) == (256, False)
    assert (told["a.png"]["tile"], told["a.png"]["fallback"]) == (None, False)
    assert {name: plan.peak for name, plan in plans.items()} == {name: it["planned"] for name, it in told.items()}
    assert plans["large.png"].peak < peak

    class RunsOut(Large):
        def many(self, restorations):
            if self.tile > 256:
                raise MemoryError
            return super().many(restorations)

    (entry,) = restore_folder([tree / "large.png"], tmp_path / "two", Pipeline([RunsOut(Compute())]))
    assert (entry["status"], entry["memory"]["tile"], entry["memory"]["fallback"]) == ("done", 256, True)


def test_another_dtype_or_tile_is_another_restoration_and_a_batch_is_not(tree, lighten, tmp_path):
    out, photo = tmp_path / "out", tree / "a.png"

    def again(**given) -> str:
        return restore_folder([photo], out, Pipeline([lighten], compute=Compute(**given)))[0]["status"]

    for given in ({}, {"dtype": torch.bfloat16}, {"tile": 256}):
        assert [again(**given), again(**given)] == ["done", "skipped"]
    assert again(tile=256, batch=4, memory=10**10) == "skipped"  # which change nothing


def test_settings_that_come_back_are_done_once(tree, light, lighten, tmp_path):
    """The result is then what an earlier one was, and that is not what a killed run left there."""
    out, photo, other = tmp_path / "out", tree / "a.png", Pipeline([lighten], {"tone": "5678"})
    told = [restore_folder([photo], out, one)[0]["status"] for one in (light, other, light, light, other, other)]
    assert told == ["done", "done", "done", "skipped", "done", "skipped"]


def test_entries_of_a_version_that_knew_no_dtype_are_of_float32(tree, light, tmp_path, lighten):
    out, photo = tmp_path / "out", tree / "a.png"
    restore_folder([photo], out, light)
    (entry,) = manifest(out)
    for name in ("dtype", "tile"):
        del entry["settings"][name]
    (out / "manifest.jsonl").write_text(json.dumps(entry) + "\n", "utf-8")
    assert restore_folder([photo], out, light)[0]["status"] == "skipped"
    other = Pipeline([lighten], light.weights, Compute(dtype=torch.bfloat16))
    assert restore_folder([photo], out, other)[0]["status"] == "done"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_photo_too_large_for_the_memory_fails_and_the_others_are_done(tree, tmp_path, batch):
    stage = Large(Compute(batch=batch))
    small, smallest_tiles = (Pipeline([stage]).plan(*size).peak for size in ((48, 64), (128, 128)))
    Image.new("RGB", (4000, 3000)).save(tree / "1931" / "a large one.png")
    pipeline = Pipeline([stage], compute=Compute(batch=batch, memory=max(small, smallest_tiles) + 10**8))
    entries = restore_folder([tree], tmp_path / "out", pipeline)
    failed = [entry for entry in entries if entry["status"] != "done"]
    assert len(entries) == 5 and [entry["photo"] for entry in failed] == ["1931/a large one.png"]
    message = failed[0]["message"]
    assert message.startswith(f"{tree / '1931/a large one.png'}: a photo of 4000x3000 pixels takes about ")
    assert f"{pipeline.compute.memory / 1e9:.1f} are there" in message and "\n" not in message
    assert not (tmp_path / "out/1931/a large one.png").exists()
    assert manifest(tmp_path / "out") == entries
    assert sum(map(len, stage.groups)) == 4 and (3000, 4000) not in [size for group in stage.groups for size in group]


def test_no_photo_fails_because_of_those_that_wait_beside_it(tree, tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (300, 300)).save(tree / name)
    stage = Large(Compute())
    enough = Pipeline([stage]).plan(300, 300).peak
    smallest = enough - 1000 * (300**2 - 128**2)  # and with photos of this size beside it, that is too much
    pipeline = Pipeline([stage], compute=Compute(memory=smallest + queued(300 * 300, 1) // 2))
    entries = restore_folder([tree], tmp_path / "out", pipeline)
    assert set(statuses(entries).values()) == {"done"}


def test_how_far_photos_are_read_ahead_has_no_say_in_tiles(tree, tmp_path, monkeypatch):
    """A large photo that comes later does not change the plan of those before it, read by then or not."""
    Image.new("RGB", (300, 300)).save(tree / "b.png")
    stage, planned = Large(Compute()), []
    plan_for = Pipeline.plan_for

    def noted(self, photo, waiting=0):
        planned.append((photo.pixels.shape[:2], waiting))
        return plan_for(self, photo, waiting)

    monkeypatch.setattr(Pipeline, "plan_for", noted)
    steps = folder_module._Steps(FolderRestorer(tmp_path / "out", Pipeline([stage]), record=False), 1)
    jobs = plan([tree / "a.png", tree / "b.png"], tmp_path / "out")
    works = [folder_module._Work(job, new_entry(job, job.output)) for job in jobs]
    for work in works:
        steps.read(work)
    for work in works:
        steps.restore([work])
    assert planned == [((48, 64), queued(48 * 64, 1)), ((300, 300), queued(300 * 300, 1))]


def test_memory_that_never_suffices_is_a_failure_of_that_photo_alone(tree, tmp_path):
    class Never(Large):
        def many(self, restorations):
            if any(one.photo.format == "TIFF" for one in restorations):
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes.\nMore")
            return super().many(restorations)

    for batch in (1, 4):
        stage = Never(Compute(batch=batch))
        entries = restore_folder([tree], tmp_path / f"out{batch}", Pipeline([stage], compute=stage.compute))
        failed = [entry for entry in entries if entry["status"] == "failed"]
        assert len(entries) == 4 and [entry["photo"] for entry in failed] == ["1931/deep/c.tif"]
        begin = f"{tree / '1931/deep/c.tif'}: memory ran out in the stage 'translate', about "
        assert failed[0]["message"].startswith(begin) and "\n" not in failed[0]["message"]


@pytest.mark.parametrize("options", [{}, {"save_stages": True, "compare": True}])
def test_a_batch_of_photos_gives_the_files_that_they_give_one_by_one(tree, tmp_path, options, mark, lighten):
    (tree / "bad.jpg").touch()
    outs = tmp_path / "one", tmp_path / "four"
    told = []
    for out, batch in zip(outs, (1, 4), strict=True):
        stage = Large(Compute(batch=batch))
        pipeline = Pipeline([mark, lighten, stage], {"tone": "1234"}, stage.compute)
        told.append(restore_folder([tree], out, pipeline, **options))
        assert max(map(len, stage.groups)) == (1 if options else batch)  # stages are kept of one at a time
    assert files(outs[0]) == files(outs[1]) and len(files(outs[0])) > 4
    for name in files(outs[0]):
        if name != "manifest.jsonl":
            assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
    same = ("photo", "sha256", "status", "message", "settings", "faces", "extras", "written")
    assert [{key: entry.get(key) for key in same} for entry in told[0]] == [
        {key: entry.get(key) for key in same} for entry in told[1]
    ]
    assert restore_folder([tree], outs[1], pipeline, **options)[0]["status"] == "skipped"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_photo_is_planned_once_and_slow_stages_report(tree, tmp_path, monkeypatch, batch):
    class Reports(Large):
        def many(self, restorations):
            for one in restorations:
                one.on_step(self.name, one.photo.format)
            return super().many(restorations)

    planned, steps, plans = [], [], []
    plan_of = Pipeline.plan
    monkeypatch.setattr(Pipeline, "plan", lambda self, *size: planned.append(size) or plan_of(self, *size))
    stage = Reports(Compute(batch=batch))
    choices = {"on_step": lambda *step: steps.append(step), "on_plan": lambda name, plan: plans.append(name)}
    entries = restore_folder([tree], tmp_path / "out", Pipeline([stage], compute=stage.compute), **choices)
    assert set(statuses(entries).values()) == {"done"} and len(stage.groups) == 4 / batch
    assert [size[:3] for size in planned] == [(48, 64, 1.0)] * 4 and plans == [entry["photo"] for entry in entries]
    assert sorted(steps) == [("translate", kind) for kind in ("JPEG", "JPEG", "PNG", "TIFF")]
    waiting = [size[3] for size in planned]  # of photos that are read ahead or wait to be written
    assert waiting == [queued(48 * 64, batch), *[0] * (batch - 1)] * (4 // batch) and waiting[0] >= 48 * 64 * 67
    planned.clear()
    restore_folder([tree / "a.png"], tmp_path / "one", Pipeline([stage], compute=stage.compute))
    assert planned == [(48, 64, 1.0, 0, None)]  # nothing waits, and so small a photo has no softer scale


def test_kept_stages_are_numbered_whatever_is_in_the_notes(tree, tmp_path, mark, lighten):
    class Quiet:
        name = "fill"

        def __call__(self, restoration):
            restoration.notes.clear()
            return restoration

    restore_folder([tree / "a.png"], tmp_path / "out", Pipeline([mark, lighten, Quiet()]), save_stages=True)
    names = {"1-scratches.png", "1-scratches_mask.png", "2-tone.png", "3-fill.png"}
    assert {path.name for path in (tmp_path / "out/stages/a").iterdir()} == names


def test_photos_are_let_go_of_when_they_are_told_of(tree, tmp_path, lighten, monkeypatch):
    for number in range(12):
        (tree / f"{number}.png").write_bytes((tree / "a.png").read_bytes())
    alive, most = weakref.WeakSet(), []
    real = Photo.decode

    def decode(*given):
        photo = real(*given)
        alive.add(photo)
        return photo

    monkeypatch.setattr(Photo, "decode", decode)
    restore_folder([tree], tmp_path / "out", Pipeline([lighten]), on_photo=lambda entry: most.append(len(alive)))
    assert len(most) == 16 and 0 < max(most) <= 4 and most[-1] <= 1
