"""Studies of real data, run as users run them: the tests in tests/acceptance/learning call it.

fetch(*names)                 real models and data sets, by examples/fetch.py
learned(name, spec, folder)   the results of a study, from the command line
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

PLACES = ("models/{}", "data/{}", "data/{}.csv", "data/{}.jsonl")


def fetch(*names: str) -> None:
    """Fetch models into `models/` and data sets into `data/`, those that are not there yet.

    A data set that is there is not written anew: a study that another process runs on it would see its files change.
    """
    lacking = [name for name in names if not any((ROOT / place.format(name)).exists() for place in PLACES)]
    if lacking:
        subprocess.run([sys.executable, str(ROOT / "examples" / "fetch.py"), *lacking], check=True)


def learned(name: str, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a study to its end, print its scores and CPU seconds, and return its results.

    Args:
        name: The study's name.
        spec: The rest of its spec; without a budget and a pruner it has one trial that runs to its end.
        folder: An empty folder for its files.

    Returns:
        What `luthier run --json` prints: `best` and `majority`, each with its score and those of the test split.
    """
    file = folder / "study.json"
    file.write_text(json.dumps({"name": name, "budget": {"trials": 1}, "pruner": {"name": "none"}} | spec))
    command = [sys.executable, "-c", "from luthier.service.cli import main; main()", "run", str(file), "--json"]
    environment = os.environ | {"LUTHIER_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT / "src")}
    before = _cpu_seconds()
    ran = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    results: dict[str, Any] = json.loads(ran.stdout)
    print(f"{name}: {results['best']}")
    print(f"{name}, always the same answer: {results['majority']}; {_cpu_seconds() - before:.0f} s of CPU")
    return results


def _cpu_seconds() -> float:
    """Return the CPU seconds of the processes that this one started and that have ended, theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
