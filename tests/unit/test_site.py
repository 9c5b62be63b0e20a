"""The pages of the documentation's site: its menu is whole, its recipes are valid, its numbers have been measured."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from luthier.service.cli import app
from luthier.studies.schedule import parse_schedule
from luthier.studies.spec import parse_spec
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
RECIPES = sorted(path for path in (DOCS / "howto").glob("*.md") if path.name != "index.md")
NAMED = re.compile(r"^luthier (?:schedule )?(?:trials|plot|best|watch|model|get|trigger) ([\w-]+)", re.MULTILINE)
CODE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def _menu(part: Any) -> list[str]:
    """The pages of a part of the menu, in their order."""
    if isinstance(part, str):
        return [part]
    parts = part.values() if isinstance(part, dict) else part
    return [page for below in parts for page in _menu(below)]


def test_the_menu_names_every_page_once() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    menu = _menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert len(menu) == len(set(menu))
    assert set(menu) == {page for page in pages if not re.match(r"decisions/\d", page)}  # their index lists these


@pytest.mark.parametrize("path", [*RECIPES, DOCS / "quickstart.md"], ids=lambda path: path.stem)
def test_a_recipe_is_short_and_its_spec_is_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert 20 <= len(text.splitlines()) <= 75
    (shown,) = [code for language, code in CODE.findall(text) if language == "yaml"]
    parse = parse_schedule if "cron" in yaml.safe_load(shown) else parse_spec
    assert parse(shown).name == yaml.safe_load(shown)["name"]
    assert f"({path.name})" in (DOCS / "howto" / "index.md").read_text(encoding="utf-8") or path not in RECIPES


def test_commands_of_a_recipe_name_its_study() -> None:
    for path in RECIPES:
        blocks = CODE.findall(path.read_text(encoding="utf-8"))
        spec = next(yaml.safe_load(code) for language, code in blocks if language == "yaml")
        names = {spec["name"], spec.get("from", {}).get("study")}
        shell = "\n".join(code for language, code in blocks if language == "sh")
        for word in re.findall(
            r"^luthier (?:schedule )?(?:trials|plot|best|watch|model|get|trigger) ([\w-]+)", shell, re.M
        ):
            assert word in names, path


@pytest.mark.parametrize("page", ["comparison.md", "howto/from-trainer.md"])
def test_measured_numbers_are_those_of_the_benchmarks(page: str) -> None:
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    text = re.sub(
        r"\]\([^)]*\)|^```.*?^```$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    numbers = set(re.findall(r"(?<![\w.])\d[\d,]*\.\d+|\d+,\d{3}|\d+ %", text))
    assert len(numbers) >= 1
    assert [number for number in numbers if number not in measured] == []


@pytest.mark.timeout(40)  # it imports the command line
def test_options_that_pages_show_exist() -> None:
    root, seen = typer.main.get_command(app), 0
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        shell = "\n".join(code for language, code in CODE.findall(path.read_text(encoding="utf-8")) if language == "sh")
        for line in re.findall(r"^luthier (.*)$", shell.replace("\\\n", " "), flags=re.MULTILINE):
            command: Any = root
            words = shlex.split(re.split(r"[|>&;]", line)[0], comments=True)
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            given = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
            assert [name for name in given if name not in options | {"--help"}] == [], (path.name, line)
            seen += 1
    assert seen > 50
