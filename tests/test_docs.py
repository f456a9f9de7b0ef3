"""The lines of docs/plug-in.md run as they stand, section by section."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plug-in.md").read_text(encoding="utf-8")


def sections() -> Iterator[tuple[str, list[str]]]:
    """The titles that have Python under them, with their blocks."""
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            yield part.splitlines()[0], blocks


@pytest.mark.parametrize(("title", "blocks"), [pytest.param(*one, id=one[0]) for one in sections()])
def test_the_lines_run(
    title: str, blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    if "spandrel" in title:
        request.getfixturevalue("torchvision")
    shutil.copy(ROOT / "examples" / "photos" / "portrait.jpg", tmp_path / "scan.jpg")
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {"__name__": "plug_in"}
    for block in blocks:
        exec(compile(block, f"docs/plug-in.md, {title}", "exec"), known)


def test_every_section_that_shows_lines_is_tested():
    assert PAGE.count("```python") == sum(len(blocks) for _, blocks in sections())
    # nothing else that looks like Python, but for the line that ComfyUI runs
    assert re.findall(r"^    (?:from|import) .*", PAGE, flags=re.MULTILINE) == [
        "    from bringback.integrations.comfyui import comfy_entrypoint"
    ]
