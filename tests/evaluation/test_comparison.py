"""Methods compared on the same photos: which see how many, what each is told, and the tables."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bringback.cli import app
from bringback.evaluation import comparison as restorers
from bringback.evaluation.comparison import METHODS, Method, restorers_table, run_restorers
from bringback.evaluation.protocol import PROTOCOLS
from bringback.evaluation.runner import evaluate
from bringback.models.unet import ScratchUNet
from bringback.pipeline import Pipeline
from bringback.weights.checkpoints import Checkpoints

CASES = list("USMHGD")
TINY = {
    "telea": METHODS["telea"],
    "prior": Method(("scratches", "fill"), {"scratches": {"method": "gradient"}, "fill": {"method": "ns"}}, slow=True),
    "main": Method(("tone", "fill")),
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size in (("a.png", (40, 52)), ("b.png", (64, 48)), ("c.png", (48, 48))):
        coarse = Image.fromarray(random.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restorers, "METHODS", TINY)


def tables(text: str) -> list[list[str]]:
    """The names of the rows of each table, and what is said of it."""
    blocks = text.split("\n\n")
    rows = [[line.split("|")[1].strip() for line in block.splitlines()[2:]] for block in blocks[::2]]
    return [[*names, said.splitlines()[0]] for names, said in zip(rows, blocks[1::2], strict=True)]


def test_slow_methods_see_few_photos_and_are_compared_on_these(photos: Path, tiny: None, tmp_path: Path) -> None:
    told: list[str] = []
    reports = run_restorers(photos, device="cpu", sheets=tmp_path / "sheets", on_case=told.append)
    assert {name: list(by_case) for name, by_case in reports.items()} == dict.fromkeys(TINY, CASES)
    assert {name: len(cases["U"].rows) for name, cases in reports.items()} == {"telea": 3, "prior": 2, "main": 3}
    assert told[:2] == ["telea, unstructured", "telea, structured"] and len(told) == len(CASES) * len(TINY)
    assert (tmp_path / "sheets" / "G-telea.png").is_file()
    table = restorers_table(reports)
    assert tables(table) == [
        ["as aged", "telea", "main", "3 photos"],
        ["as aged", "telea", "prior", "main", "2 photos"],
    ]
    assert len({line.count("|") for line in table.splitlines() if "|" in line}) == 1
    few = [row.psnr_after for row in reports["telea"]["D"].rows if row.name in ("a.png", "b.png")]
    assert f"| {np.mean(few):.2f} / " in table.split("3 photos")[1]
    assert tables(restorers_table(run_restorers(photos, device="cpu", limit=1))) == [["as aged", *TINY, "1 photo"]]
    (alone,) = tables(restorers_table(run_restorers(photos, ["prior"], device="cpu", subset=1)))
    assert alone == ["as aged", "prior", "1 photo"]


def test_every_method_is_told_the_holes_and_none_looks_for_more(photos: Path) -> None:
    reports = run_restorers(photos, ["telea", "telea-unet"], device="cpu", limit=1)
    assert reports["telea"]["H"].stages == ("fill",) and reports["telea"]["S"].stages == ("scratches", "fill")
    same = [reports[name]["H"].rows[0].psnr_after for name in reports]
    assert same[0] == same[1] > reports["telea"]["H"].rows[0].psnr_before + 3
    assert reports["telea"]["S"].rows[0].psnr_after != reports["telea-unet"]["S"].rows[0].psnr_after
    assert (
        reports["telea"]["H"].rows[0].psnr_before == evaluate(photos, "holes", 0, stages=["fill"]).rows[0].psnr_before
    )


def test_the_stages_get_their_settings(photos: Path) -> None:
    settings = {"fill": {"method": "ns"}}
    ns, pushpull = (evaluate(photos, "holes", 0, stages=["fill"], settings=given) for given in (settings, None))
    assert ns.rows[0].psnr_after != pushpull.rows[0].psnr_after
    with pytest.raises(ValueError, match="settings of the stage 'faces'"):
        evaluate(photos, "holes", 0, stages=["fill"], settings={"faces": {"min_size": 3}})


def test_what_cannot_be_built_is_told_before_anything_runs(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with pytest.raises(ValueError, match=r"unknown method 'magic'; the methods are telea, ns, .*main"):
        run_restorers(photos, ["telea", "magic"])
    monkeypatch.setattr(restorers, "METHODS", TINY | {"late": Method(("polish",))})
    with pytest.raises(ValueError, match="unknown stage 'polish'"):
        run_restorers(photos, device="cpu", on_case=told.append)
    assert not told


def test_all_that_is_compared_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "load", lambda *_: ScratchUNet((4, 4)))  # of networks, any will do
    for method in METHODS.values():
        if method.stages is not None:
            pipeline = Pipeline.from_pretrained(stages=method.stages, settings=method.settings, device="cpu", scale=1)
            assert [stage.name for stage in pipeline.stages] == list(method.stages)
    assert {name for name, method in METHODS.items() if method.slow} == {"prior", "prior-segnet", "prior-denoise"}
    assert list(PROTOCOLS["restorers"]) == CASES


def test_the_command(photos: Path, tiny: None) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["evaluate", str(photos), "--device", "cpu", *map(str, arguments)])
        assert result.exit_code == (0 if "--limit" in arguments else 2), result.output
        return result.output

    protocol = ("--protocol", "restorers")
    (shown,) = tables(run(*protocol, "--methods", "main, prior", "--limit", 1))
    assert shown == ["as aged", "main", "prior", "1 photo"]
    known = json.loads(run(*protocol, "--methods", "telea", "--json", "--limit", 2))
    assert list(known) == ["telea"] and list(known["telea"]) == CASES and len(known["telea"]["D"]["rows"]) == 2
    assert "unknown method 'magic'; the methods are" in run(*protocol, "--methods", "magic")
    assert "no --stages" in run(*protocol, "--stages", "fill")
    assert "belong to --protocol restorers" in run("--recipe", "mixed", "--methods", "telea")
    assert "belongs to --protocol default" in run(*protocol, "--old-photos", photos)


def test_a_case_that_is_none_of_a_methods_business_is_an_empty_cell(photos: Path, monkeypatch) -> None:
    monkeypatch.setattr(restorers, "METHODS", TINY | {"prior": replace(TINY["prior"], cases="SH")})
    reports = run_restorers(photos, ["prior", "telea"], device="cpu", limit=1)
    assert list(reports["prior"]) == ["S", "H"]
    row = next(line for line in restorers_table(reports).splitlines() if line.startswith("| prior"))
    assert [bool(cell.strip()) for cell in row.split("|")[2:-1]] == [case in "SH" for case in CASES]
