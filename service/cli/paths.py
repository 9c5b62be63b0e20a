"""A first look at the paths that a command is given, in its own process: before anything that is slow is loaded.

Commands call it first. It says only whether something is there; what it holds is said by what reads it.
"""

from pathlib import Path

from luthier.service.cli.connect import USAGE, CommandError

STDIN = "-"


def check_source(text: str) -> None:
    """Raise CommandError unless a text names a file or a folder on this machine."""
    if "://" in text:
        raise CommandError(USAGE, f"{text}: URLs are not fetched; download it and give its path.")
    if not Path(text).expanduser().exists():
        raise CommandError(USAGE, f"{text} does not exist; give a file or a folder.")


def check_file(path: Path) -> None:
    """Raise CommandError unless a path leads to a file, or is `-` for stdin."""
    if str(path) == STDIN:
        return
    if not path.exists():
        raise CommandError(USAGE, f"{path} does not exist.")
    if path.is_dir():
        raise CommandError(USAGE, f"{path} is a folder; name a file.")


def check_new(path: Path) -> None:
    """Raise CommandError where a file cannot be made at a path, or is there: nothing is written over."""
    check_target(path)
    if path.exists():
        raise CommandError(USAGE, f"{path} exists already; name another file with -o, or - for stdout.")


def check_target(path: Path) -> None:
    """Raise CommandError where no file can be written at a path: it is a folder, or lies in none."""
    if path.is_dir():
        raise CommandError(USAGE, f"{path} is a folder; name a file in it, as {path / 'NAME'}.")
    if not path.absolute().parent.is_dir():
        raise CommandError(USAGE, f"The folder {path.parent} does not exist; make it, or name another file.")
