"""The docs hold: their Python runs as it stands, links lead somewhere, options are those of the commands."""

import ast
import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from PIL import Image

from bringback.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Their Python needs training pictures, a cluster or a bucket: it is compiled, and what it imports of ours is there.
COMPILED = ("docs/training.md", "docs/training-reference.md", "docs/scale.md", "docs/integrations/ray.md")
EXAMPLE = "denoise"  # the module that docs/training-reference.md shows how to write
# Options of programs that are not ours, where a page names them without their program.
FOREIGN = {"--with_scratch", "--HR"}

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def python_of(page: Path) -> list[tuple[str, list[str]]]:
    """The titles of a page that have Python under them, with their blocks."""
    found = []
    for part in re.split(r"^#+ (?=.*\n)", FENCE.sub(_without_hashes, text_of(page)), flags=re.MULTILINE)[1:]:
        blocks = [match[3].replace("\0", "#") for match in FENCE.finditer(part) if match[2] == "python"]
        if blocks:
            found.append((part.splitlines()[0], blocks))
    return found


def _without_hashes(match: re.Match[str]) -> str:
    """A block whose comments cannot be taken for titles."""
    return match[0].replace("#", "\0")


def each_page(pages: list[Path]) -> list:
    return [pytest.param(page, id=name_of(page)) for page in pages]


def each_section(*, run: bool) -> list:
    sections = [(page, *one) for page in PAGES for one in python_of(page) if (name_of(page) in COMPILED) != run]
    return [pytest.param(*one, id=f"{name_of(one[0])}: {one[1]}") for one in sections]


# Python


@pytest.mark.parametrize(("page", "title", "blocks"), each_section(run=True))
def test_the_lines_run(
    page: Path,
    title: str,
    blocks: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    if page.stem == "spandrel":
        request.getfixturevalue("torchvision")
    with Image.open(ROOT / "examples" / "photos" / "portrait.jpg") as photo:
        photo.reduce(2).save(tmp_path / "scan.jpg", exif=photo.getexif())
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {"__name__": "docs"}
    for block in blocks:
        exec(compile(block, f"{name_of(page)}, {title}", "exec"), known)


@pytest.mark.parametrize(("page", "title", "blocks"), each_section(run=False))
def test_the_lines_compile_and_import(page: Path, title: str, blocks: list[str]):
    for block in blocks:
        if block.startswith("    "):
            continue  # a line to be entered in a table
        tree = ast.parse(block, f"{name_of(page)}, {title}")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bringback"):
                if node.module.endswith(EXAMPLE):
                    continue
                module = importlib.import_module(node.module)
                assert all(hasattr(module, one.name) for one in node.names), ast.unparse(node)


def test_every_line_of_python_is_tested():
    blocks = sum(text_of(page).count("```python\n") for page in PAGES)
    assert blocks == sum(len(found) for page in PAGES for _, found in python_of(page)) >= 15
    # nothing else that looks like Python, but for the line that ComfyUI runs
    rest = [re.sub(r"^```python\n.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL) for page in PAGES]
    lines = [line for text in rest for line in re.findall(r"^ *(?:from [\w.]+ )?import \w.*", text, re.MULTILINE)]
    assert lines == ["    from bringback.integrations.comfyui import comfy_entrypoint"]


# Links


def prose_of(page: Path) -> str:
    """A page without blocks of code and without code between its words."""
    text = FENCE.sub("", text_of(page))
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"(`+)[^`].*?\1", "", text, flags=re.DOTALL)


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the titles of a page."""
    found: set[str] = set()
    for title in re.findall(r"^#{1,6} +(.+?) *#*$", FENCE.sub("", text_of(page)), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchor, number = slug, 0
        while anchor in found:
            number += 1
            anchor = f"{slug}-{number}"
        found.add(anchor)
    return found


def broken_links(page: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(\s*<?([^)\s>]+)", prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        there = (page.parent / place).resolve() if place else page
        if not there.exists() or not there.is_relative_to(ROOT):
            yield f"{link}: no such file"
        elif anchor and (there.suffix != ".md" or anchor not in anchors_of(there)):
            yield f"{link}: no such title"


@pytest.mark.parametrize("page", each_page(PAGES))
def test_links_lead_somewhere(page: Path):
    assert list(broken_links(page)) == []


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)]+)", prose_of(index))}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {index} <= linked


# Options


def parameters_of(command: Any) -> list[Any]:
    """The options of a command, of whichever click typer uses."""
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]


def options_of(command: Any) -> set[str]:
    return {name for parameter in parameters_of(command) for name in names_of(parameter)}


def names_of(parameter: Any) -> set[str]:
    """The names of an option, with those that switch it off."""
    return {*parameter.opts, *parameter.secondary_opts}


@cache
def commands() -> dict[str, Any]:
    """All commands by name, as "restore" and "weights list"; "" is the program itself."""

    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", {})
        if not children or not name:
            yield name, command
        for child in children.values():
            yield from below(child, f"{name} {child.name}".strip())

    return dict(below(typer.main.get_command(app), ""))


@cache
def options_of_script(name: str) -> set[str]:
    """The options of a script of this repository, whichever way it reads them."""
    source = (ROOT / name).read_text(encoding="utf-8")
    if command := re.search(r"^ +script\((\w+)\)", source, re.MULTILINE):
        alone = typer.Typer()
        alone.command()(runpy.run_path(str(ROOT / name))[command[1]])
        return options_of(typer.main.get_command(alone)) | {"--help"}
    if name.startswith("train/") and "bringback.training.run" in source:
        source = inspect.getsource(importlib.import_module("bringback.training.run"))
    return set(re.findall(r"""["'](--?[\w-]+)["']""", source)) | {"--help"}


PROGRAM = re.compile(
    r"(?P<script>(?:benchmarks|inference|train|examples)/\w+\.py)"
    r"|(?<![\w/.-])bringback +(?P<command>[a-z]+(?: [a-z]+)?)"
    r"|(?<![\w/.-])(?P<foreign>accelerate|torchrun|tensorboard|pytest|pip|tar|git|make|sh|hf|#SBATCH"
    r"|run\.py|detection\.py)(?![\w/.])"
)


def code_of(page: Path) -> Iterator[str]:
    """Every line of a page's shell blocks, continued lines joined, and every piece of code between its words."""
    text = text_of(page)
    for match in FENCE.finditer(text):
        if match[2] in ("", "bash", "sh"):
            yield from re.sub(r"\\\n\s*", " ", match[3]).splitlines()
    text = FENCE.sub("", text)
    yield from re.sub(r"\\\n\s*", " ", "\n".join(re.findall(r"^ {4}.*$", text, re.MULTILINE))).splitlines()
    text = re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)
    yield from re.findall(r"`([^`]+)`", text)


def known_by(page: Path, program: re.Match[str] | None) -> set[str] | None:
    """The options of the program that was named last; None for one of others.

    Without any it may be an option of all commands, and of the scripts that the page names.
    """
    if program is None:
        named = set(re.findall(r"(?:benchmarks|inference|train)/\w+\.py", text_of(page))) - {f"train/{EXAMPLE}.py"}
        of_scripts = set().union(*(options_of_script(name) for name in named))
        return set().union(*map(options_of, commands().values())) | of_scripts | FOREIGN | {"--help"}
    if program["foreign"]:
        return None
    if program["script"]:
        return options_of_script(program["script"])
    name = program["command"]
    command = commands().get(name) or commands().get(name.split()[0])
    assert command, f"{name_of(page)}: there is no command {name!r}"
    return options_of(command) | {"--help"}


def unknown_options(page: Path) -> Iterator[str]:
    for line in code_of(page):
        programs = list(PROGRAM.finditer(line))
        for option in OPTION.finditer(line):
            before = [one for one in programs if one.start() < option.start()]
            known = known_by(page, before[-1] if before else None)
            if known is not None and option[0] not in known:
                yield f"{option[0]} in {line!r}"


@pytest.mark.parametrize("page", each_page([page for page in PAGES if page.name != "CHANGELOG.md"]))
def test_options_exist(page: Path):
    assert list(unknown_options(page)) == []


def test_all_options_of_all_commands_are_in_their_page():
    page = ROOT / "docs" / "options.md"
    sections = {part.splitlines()[0]: part for part in re.split(r"^## ", text_of(page), flags=re.MULTILINE)[1:]}
    names = set(commands()) - {""}
    assert len(names) >= 12 and names == sections.keys() - {"Scripts"}
    assert all(name in text_of(page) for name in options_of(commands()[""]))
    for name in names:
        rows = {row.partition(" | ")[0]: row for row in re.findall(r"^\| (`-.*) \|$", sections[name], re.MULTILINE)}
        shown = [set(re.findall(r"(?<=`)--?[\w-]+", first)) for first in rows]
        command = commands()[name]
        assert set().union(*shown) == options_of(command), f"the table of {name}"
        for parameter in parameters_of(command):
            (row,) = [row for row, given in zip(rows.values(), shown, strict=True) if names_of(parameter) == given]
            words = set(re.findall(r"`--?[\w-]+ ([^`]+)`", row.partition(" | ")[0]))
            assert words <= {*(parameter.metavar or "").split("|")}, f"{name}: {row}"
            assert parameter.is_flag or words, f"{name}: {row}"
            shown_default, value = row.split(" | ")[1].strip("`"), parameter.default
            if value in (None, "", False):
                assert (shown_default == "required") == parameter.required, f"{name}: {row}"
            else:
                value = "on" if value is True else value
                assert shown_default == (f"{value:g}" if isinstance(value, float) else str(value)), f"{name}: {row}"


def test_the_tables_of_restore_are_the_panels_of_its_help():
    restore = commands()["restore"]
    panels: dict[str, list[set[str]]] = {}
    for parameter in parameters_of(restore):
        panels.setdefault(parameter.rich_help_panel or "option", []).append(names_of(parameter))
    section = text_of(ROOT / "docs" / "options.md").partition("## restore\n")[2].partition("\n## ")[0]
    tables, title = dict[str, list[set[str]]](), ""
    for first in re.findall(r"^\| (.*?) \|", section, re.MULTILINE):
        if first.startswith("`"):
            tables[title].append(set(re.findall(r"(?<=`)--?[\w-]+", first)))
        else:
            title = first
            tables[title] = []
    assert list(tables.items()) == list(panels.items())


# The README


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 110


def test_citation_and_changelog_name_the_version():
    from bringback import __version__

    assert f"\nversion: {__version__}\n" in text_of(ROOT / "CITATION.cff")
    assert f"## [{__version__}]" in text_of(ROOT / "CHANGELOG.md")
