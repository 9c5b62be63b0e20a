"""What README.md and docs/ name exists, what they show works, and the generated pages say what the code says."""

import ast
import fnmatch
import functools
import re
import runpy
import sys
from pathlib import Path

import pytest
import typer.main
import yaml

from luthier.service.cli import app
from luthier.service.settings import Settings
from luthier.studies.schedule import parse_schedule
from luthier.studies.spec import parse_spec
from luthier.studies.tasks import TASKS
from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(text: str, language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [content for name, content in blocks if name == language]


def _tree(page: str) -> list[str]:
    """The lines of the tree of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (tree,) = re.findall(r"<!-- tree: [^>]* -->\n\n```\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return str(tree).splitlines()


def _anchor(heading: str) -> str:
    """The anchor that GitHub and MkDocs give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, link


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_the_readmes_spec_is_the_quickstarts() -> None:
    (shown,) = _blocks(README, "yaml")
    assert parse_spec(shown) == parse_spec((ROOT / "examples" / "quickstart.yaml").read_text())


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_each_line_of_a_tree_is_the_docstring_of_its_file(page: str) -> None:
    folder = ROOT
    for line in _tree(page):
        indent, name, words = re.fullmatch(r"( *)(\S+) +(\S.*)", line).groups()  # type: ignore[union-attr]
        path = folder / name if indent else ROOT / name
        if name.endswith("/"):
            folder, path = path, path / "__init__.py"
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring is not None
        assert re.split(r"\.(?:\s|$)", " ".join(docstring.split()), maxsplit=1)[0] == words, line
        assert len(line) <= 150, line


def test_the_tree_of_the_architecture_lists_every_file() -> None:
    folder, listed = "", set()
    for line in _tree("docs/architecture.md"):
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        listed.add(folder + name if line.startswith(" ") else name)
    files = {
        str(path.relative_to(ROOT)) if path.name != "__init__.py" else f"{path.parent.relative_to(ROOT)}/"
        for package in ("service", "studies", "trials")
        for path in (ROOT / package).rglob("*.py")
        if "versions" not in path.parts
    }
    assert files == listed


def _finding_codes() -> set[str]:
    """The codes of the findings that the source makes, with * for what is put in: one-label-in-*."""
    files = [*(ROOT / "trials").rglob("*.py"), ROOT / "studies" / "results.py"]
    texts = [path.read_text(encoding="utf-8") for path in files]
    trees = [ast.parse(text) for text in texts if "note(" in text or "warning(" in text]
    constants = {
        node.targets[0].id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    codes = set()
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Name) or call.func.id not in ("note", "warning"):
            continue
        first = call.args[0]
        if isinstance(first, ast.JoinedStr):
            parts = first.values
            codes.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts))
        else:
            codes.add(str(first.value if isinstance(first, ast.Constant) else constants[ast.unparse(first)]))
    return codes


def test_the_page_of_findings_lists_the_codes_that_the_source_makes() -> None:
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \| (?:note|warning)", text, flags=re.MULTILINE)
    listed = {code for row in rows for code in re.findall(r"`([^`]+)`", row)}
    made = _finding_codes()
    assert len(made) > 20
    assert [code for code in made if not fnmatch.filter(listed, code)] == []
    assert [code for code in listed if not any(fnmatch.fnmatch(code, pattern) for pattern in made)] == []


def test_every_task_has_a_page_and_a_place_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {page.stem for page in (ROOT / "docs" / "tasks").glob("*.md")}
    assert pages == set(TASKS)
    for name in TASKS:
        text = (ROOT / "docs" / "tasks" / f"{name}.md").read_text(encoding="utf-8")
        assert f"tasks/{name}.md" in menu
        assert text.startswith(f"# {name}\n")
        assert f"`{TASKS[name].metrics[0].name}`" in text
        whole, *parts = (yaml.safe_load(shown) for shown in _blocks(text, "yaml"))
        for part in ({}, *parts):  # a later block may be some keys of a spec
            assert parse_spec(yaml.safe_dump(whole | part)).task == name


def test_the_index_of_decisions_is_whole_and_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    rows = re.findall(
        r"^\| (\d{4}) \| \[[^]]+\]\(([^)]+)\) \|$", (folder / "README.md").read_text(), flags=re.MULTILINE
    )
    assert rows == [(name[:4], name) for name in files]


@pytest.mark.timeout(60)  # it imports much
def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs" / "generate.py"), run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err


@functools.cache
def _commands() -> frozenset[str]:
    """The names of the commands; typer builds all of them anew each time it is asked."""
    return frozenset(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    known = _commands()
    shown = "\n".join(_blocks(page.read_text(encoding="utf-8"), "sh"))
    assert set(re.findall(r"^luthier (\w[\w-]*)", shown, flags=re.MULTILINE)) <= known


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    shown = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"`make ([\w-]+)`", shown)) <= targets


def test_operations_names_every_setting() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"`LUTHIER_{name.upper()}`" not in operations] == []


def test_the_schedule_is_valid_and_the_one_that_is_explained() -> None:
    text = (ROOT / "examples" / "schedules" / "nightly.yaml").read_text()
    assert parse_schedule(text).name == "nightly"
    assert text in (ROOT / "docs" / "schedules.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    spec = parse_spec(path.read_text())
    assert yaml.safe_load(path.read_text())["name"] == spec.name == path.stem
