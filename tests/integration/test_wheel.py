"""The wheel holds all that the three folders hold: code, and the pages' templates."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import luthier
from tests.support.paths import ROOT

FOLDERS = ("service", "studies", "trials")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of a wheel's files; built from a copy, with the setuptools that is installed (no network)."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in (*FOLDERS, "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_links_to_the_folders_are_folders() -> None:
    assert [name for name in FOLDERS if not (ROOT / "src" / "luthier" / name).is_dir()] == []


def test_every_file_of_the_folders_is_in_the_wheel(content: set[str]) -> None:
    files = [path for name in FOLDERS for path in (ROOT / name).rglob("*") if path.is_file()]
    names = {f"luthier/{path.relative_to(ROOT).as_posix()}" for path in files if "__pycache__" not in path.parts}
    assert len(names) > 100
    assert names - content == set()
    assert {"luthier/__init__.py", "luthier/py.typed"} <= content


def test_its_version_is_the_packages(content: set[str]) -> None:
    assert f"luthier-{luthier.__version__}.dist-info/METADATA" in content


def test_nothing_else_is(content: set[str]) -> None:
    inside = {Path(name).parts[0] for name in content}
    assert {part for part in inside if not part.endswith(".dist-info")} == {"luthier"}
    assert [name for name in content if "test" in Path(name).parts[1]] == []
