"""What the README names exists, and what it shows works."""

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from luthier.service.cli import app
from luthier.service.settings import Settings
from luthier.studies.schedule import parse_schedule
from luthier.studies.spec import parse_spec
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_its_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_its_spec_is_the_quickstarts() -> None:
    (shown,) = _blocks("yaml")
    assert parse_spec(shown) == parse_spec((ROOT / "examples" / "quickstart.yaml").read_text())


def test_its_file_tree_is_there() -> None:
    (tree,) = (block for block in _blocks("") if block.startswith("service/ "))
    folder, missing = "", []
    for line in tree.splitlines():
        indent, names = re.match(r"( *)([\w./-]+(?:, [\w./-]+)*)", line).groups()  # type: ignore[union-attr]
        paths = [(folder if indent else "") + name for name in names.split(", ")]
        folder = folder if indent else names
        missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def test_its_commands_exist() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    used = set(re.findall(r"^luthier (\w+)", "\n".join(_blocks("sh")), flags=re.MULTILINE))
    assert {"run", "serve", "create"} <= used <= known


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?make (\w+)`", README)) <= targets


def test_it_names_every_setting() -> None:
    assert [name for name in Settings.model_fields if f"`LUTHIER_{name.upper()}`" not in README] == []


def test_the_schedule_is_valid_and_the_one_that_is_explained() -> None:
    text = (ROOT / "examples" / "schedules" / "nightly.yaml").read_text()
    assert parse_schedule(text).name == "nightly" and text in (ROOT / "docs" / "schedules.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    spec = parse_spec(path.read_text())
    assert yaml.safe_load(path.read_text())["name"] == spec.name == path.stem
