"""Several `luthier run` in one home at the same time, each with a service and workers of its own."""

import json
import subprocess
from pathlib import Path

from tests.support.command_line import COMMAND
from tests.support.served import environment, spec


def test_two_runs_in_one_home_do_not_meet(tmp_path: Path, tiny: Path) -> None:
    home = tmp_path / "home"
    names = ("first", "second")
    runs = []
    for name in names:
        (tmp_path / name).write_text(json.dumps(spec(tiny, name, budget={"trials": 2})))
        command = [*COMMAND, "run", str(tmp_path / name), "--json"]
        given = environment(home, tiny)
        runs.append(subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for name, run in zip(names, runs, strict=True):
        shown, said = run.communicate(timeout=110)
        assert run.returncode == 0, said
        assert json.loads(shown)["counts"]["complete"] == 2
        log = (home / "logs" / f"run-{name}-0.log").read_text()
        assert f"train 0 of {name}" in log
        assert not [other for other in names if other != name and f" of {other}" in log]
