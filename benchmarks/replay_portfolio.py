"""A portfolio for each recorded task that was chosen without its data set, so that no search is told its own answer.

replay.py calls it before each search of Luthier. Where this version has no portfolios, nothing is done.
"""

import atexit
import importlib
import importlib.util
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from curve_files import FOLDER
from curve_tasks import CURVE_TASKS

MOST = 5
"""Configurations of a portfolio, as portfolio.py chooses them for the product."""


def is_there() -> bool:
    """Return whether this version has portfolios, and the program that chooses them."""
    names = ("portfolio", "luthier.studies.portfolio")
    return all(importlib.util.find_spec(name) is not None for name in names)


def leave_out(name: str) -> None:
    """Let studies of this process have the portfolios that the other data sets give."""
    if not is_there():
        return
    product: Any = importlib.import_module("luthier.studies.portfolio")
    product.FILE = _file_without(name)
    product._lists.cache_clear()


@cache
def _file_without(name: str) -> Path:
    """Write the portfolio of a task that is chosen without its data set, and return the file."""
    chooser: Any = importlib.import_module("portfolio")
    others = [chooser.read(path) for path in sorted(FOLDER.glob("*.csv.gz")) if path.name != f"{name}.csv.gz"]
    task = CURVE_TASKS[name].task
    entries = [others[0].entries[number] for number in chooser.choose(task, others, MOST)] if others else []
    folder = Path(tempfile.mkdtemp(prefix="portfolio-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "portfolio.json"
    path.write_text(json.dumps({"tasks": {task: [{"semantics": 1, "configurations": entries}]}}))
    return path
