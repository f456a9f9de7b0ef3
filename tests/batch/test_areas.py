"""Picture areas by hand: for all photos or from a file, in the form of the manifest; wrong ones are told in a line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from bringback.batch.areas import pair_areas
from bringback.batch.jobs import Job
from bringback.batch.runner import restore_folder
from bringback.errors import UsageError
from bringback.ops.areas import Area
from bringback.pipeline import Pipeline

BOX = Area(((1.0, 2.0), (9.0, 2.0), (9.0, 8.0), (1.0, 8.0)))


def job(relative: str, source: str = "") -> Job:
    return Job(Path("in", source or relative), Path(relative), Path("out", relative), Path(relative).with_suffix(""))


def test_one_box_is_for_every_photo() -> None:
    jobs = [job("a.png"), job("b/c.png")]
    assert pair_areas(jobs, ["1,2,9,8"]) == {Path("a.png"): (BOX,), Path("b/c.png"): (BOX,)}
    assert pair_areas(jobs, ["all"]) == {Path("a.png"): (), Path("b/c.png"): ()} and pair_areas(jobs) == {}


def test_a_file_has_those_of_single_photos(tmp_path: Path) -> None:
    file = tmp_path / "areas.json"
    file.write_text(json.dumps({"b/c.png": [BOX.as_dict()], "a.png": []}))
    assert pair_areas([job("a.png"), job("b/c.png"), job("d.png")], file=file) == {
        Path("b/c.png"): (BOX,),
        Path("a.png"): (),
    }
    file.write_text(json.dumps({"c.tif": [1, 2, 9, 8]}), "utf-8-sig")
    assert pair_areas([job("new.jpg", "c.tif")], file=file) == {Path("new.jpg"): (BOX,)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "wants an object"),
        ('{"x.png": []}', "no photo 'x.png' among the inputs"),
        ('{"a.png": [[9, 2, 1, 8]]}', "a.png: the area 9,2,1,8 is empty|a.png: the area 1,2,9,8 is empty"),
        ('{"a.png": 3}', "a.png: no areas: 3"),
        ('{"a.png": ' + 99999 * "[" + 99999 * "]" + "}", "too many lists"),
    ],
)
def test_wrong_files_are_told_in_a_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "areas.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=reason):
        pair_areas([job("a.png")], file=file)


def test_other_conflicts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        pair_areas([job("a.png")], ["all"], tmp_path / "areas.json")
    with pytest.raises(UsageError, match="cannot be read"):
        pair_areas([job("a.png")], file=tmp_path / "areas.json")
    with pytest.raises(UsageError, match="--area: no area: 'left,2,9,8'"):
        pair_areas([job("a.png")], ["left,2,9,8"])
    with pytest.raises(UsageError, match="--area: all is the whole photo: it goes alone"):
        pair_areas([job("a.png")], ["all", "1,2,9,8"])


def test_the_manifest_has_them_and_other_areas_are_other_work(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, size in (("a.png", (12, 10)), ("small.png", (6, 6))):
        Image.new("RGB", size, (90, 80, 70)).save(tmp_path / "in" / name)

    def run(**choices: object) -> dict[str, dict]:
        done = restore_folder([tmp_path / "in"], tmp_path / "out", Pipeline([]), **choices)  # type: ignore[arg-type]
        return {entry["photo"]: entry for entry in done}

    by_hand = {Path("a.png"): [(1, 2, 9, 8)], Path("small.png"): [(1, 2, 9, 8)]}
    told = run(areas=by_hand)
    assert told["a.png"]["areas"] == told["a.png"]["settings"]["areas"] == [BOX.as_dict()]
    assert told["small.png"]["status"] == "failed"
    assert told["small.png"]["message"].endswith("the area 1,2,9,8 reaches beyond the photo of 6x6 pixels")
    assert run(areas=by_hand)["a.png"]["status"] == "skipped"
    assert run(areas=by_hand, dry_run=True)["small.png"]["message"] == told["small.png"]["message"]
    assert run()["a.png"]["status"] == "done" and run(areas=by_hand)["a.png"]["status"] == "done"
