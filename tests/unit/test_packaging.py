"""The installed package: `luthier` is one, whole in a wheel, and folders of a user do not collide with it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import luthier
from tests.support.paths import ROOT

PACKAGES = ("service", "studies", "trials")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_links_are_folders(name: str) -> None:
    link = ROOT / "src" / "luthier" / name
    assert link.is_dir(), "git did not make the link: set core.symlinks=true and check the tree out again"
    assert link.resolve() == ROOT / name


@pytest.mark.full
def test_a_wheel_holds_every_file(tmp_path: Path) -> None:
    tree = tmp_path / "tree"  # a copy: setuptools leaves files in the folder that it builds
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*PACKAGES, "src"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "build", "--wheel", "--no-build-isolation", "--offline", "--quiet", "--python", sys.executable, tree]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").glob("luthier-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    members = {name for name in names if ".dist-info/" not in name}
    files = {
        f"luthier/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for pattern in ("*.py", "*.html", "*.json", "*.svg", "*.js", "static/*")
        for path in (ROOT / package).rglob(pattern)
        if path.is_file()
    }
    assert members == files | {"luthier/__init__.py", "luthier/errors.py", "luthier/py.typed"}
    assert f"luthier-{luthier.__version__}.dist-info/licenses/LICENSE" in names


def test_there_is_one_version() -> None:
    from importlib.metadata import version

    assert version("luthier") == luthier.__version__
    images = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert images == [luthier.__version__] * 2, "the defaults of the service's and the workers' image"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        luthier.Server  # noqa: B018 - the access is what is tested


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of a user who has packages of these names, too."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a package of the user was imported')\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "from luthier import Client; Client('http://127.0.0.1:9').close()"),
        ("-c", "import sys; sys.argv = ['luthier', '--help']; from luthier.service.cli import main; main()"),
        ("-m", "luthier.trials", "--help"),
    ],
    ids=["client", "luthier", "worker"],
)
def test_folders_of_the_same_names_do_not_matter(hostile: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=hostile, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_worker_imports_no_file_of_the_working_directory(hostile: Path) -> None:
    (hostile / "random.py").write_text("raise SystemExit('a module of the user was imported')\n")
    command = [Path(sys.executable).with_name("luthier"), "worker", "--", "--help"]
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--server" in done.stdout


def test_the_package_costs_nothing_to_import() -> None:
    code = "import luthier, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"luthier.service", "luthier.trials", "httpx", "pydantic", "torch"} & set(done.stdout.split())
