"""Which databases and which tests belong to `make test`, and which to `make test-all`."""

import itertools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence

import pytest

from tests.support.paths import ROOT
from tests.support.short_slice import SHORT_SLICE

SERVICE = "tests/integration/service"

COLLECT = """
import json, sys
import pytest

for options in json.loads(sys.argv[1]):
    print("run")
    assert pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *options]) == 0
"""


def collected(*runs: Sequence[str]) -> list[set[str]]:
    """The names of the tests that pytest would run with the options of each run; one process imports them once."""
    command = [sys.executable, "-c", COLLECT, json.dumps(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    parts = f"\n{done.stdout}".split("\nrun\n")[1:]
    return [{line for line in part.splitlines() if "::" in line} for part in parts]


def databases(names: set[str], test: str) -> Sequence[str]:
    """The databases on which a test of SERVICE would run."""
    prefix = f"{SERVICE}/{test}["
    return sorted(name.removeprefix(prefix).rstrip("]") for name in names if name.startswith(prefix))


@pytest.mark.full
def test_postgres_is_left_to_later_tiers_where_locks_or_neither_locks_nor_sql_differ() -> None:
    """Where locks differ all run it, where SQL does `make test-all` and `make test-wide`, else `make test-wide`."""
    locks, contract, page, kills = "test_replays.py", "test_confirm.py", "test_plots.py", "test_exactness.py"
    files = [f"{SERVICE}/{file}" for file in (locks, contract, page, kills)]
    replay = f"{locks}::test_a_replay_that_comes_out_otherwise_takes_no_better_ones_place"
    confirmed = f"{contract}::test_a_lucky_run_does_not_win"
    drawn = f"{page}::test_every_plot_is_drawn_as_page_and_as_json"
    killed = f"{kills}::test_a_service_that_is_killed_again_and_again"
    both = ["postgres", "sqlite"]
    short, usual, everything = collected(files, ["-m", "not wide", *files], ["-m", "full or not full", *files])
    assert databases(short, replay) == both
    assert databases(short, confirmed) == databases(usual, drawn) == ["sqlite"]
    assert databases(usual, confirmed) == databases(everything, drawn) == both
    assert databases(short, killed) == ["sqlite-11"], "the one of its file's tests that takes ten seconds"
    assert databases(usual, killed) == ["postgres-11", "sqlite-11"]
    assert short < usual < everything


def test_the_short_slice_of_the_acceptance_tests_is_there() -> None:
    tests = {
        path.name: set(re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE))
        for path in (ROOT / "tests" / "acceptance").rglob("test_*.py")
    }
    assert {file: names - tests[file] for file, names in SHORT_SLICE.items()} == {file: set() for file in SHORT_SLICE}


OTHER_TARGETS = ("wide", "learning", "docker", "timm", "trackers", "hostile", "faults")


def test_only_what_the_markers_name_is_left_out_of_make_test() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    left_out = " and ".join(f"not {name}" for name in ("full", *OTHER_TARGETS))
    assert settings["addopts"] == f"-p no:schemathesis -m '{left_out}'"
    makefile = (ROOT / "Makefile").read_text()
    assert "-m wide" in makefile
    assert "make test-all" in (ROOT / ".ci" / "run").read_text()


def test_the_two_parts_of_test_all_run_each_test_once_but_for_those_of_other_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    apart, *parts = (
        re.search(rf"^{name} := (.+)$", makefile, re.MULTILINE)[1] for name in ("APART", "MEASURED", "NOT_MEASURED")
    )
    for values in itertools.product((False, True), repeat=len(OTHER_TARGETS) + 2):
        marked = dict(zip(("full", "commands", *OTHER_TARGETS), values, strict=True))
        runs = sum(eval(part.replace("$(APART)", f"({apart})"), {}, marked) for part in parts)
        assert runs == (not any(marked[name] for name in OTHER_TARGETS)), marked
