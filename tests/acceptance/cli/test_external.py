"""The commands for trainers in other languages: a shell script asks, reports and tells."""

import json
from pathlib import Path

from luthier.service.client import Client
from luthier.service.server.embedded import Embedded
from tests.support import external
from tests.support.command_line import Luthier


def test_a_shell_script_trains(served: Luthier, service: Embedded, tmp_path: Path) -> None:
    with Client(service.url, service.token) as client:
        client.create(external.document(name="one", budget={"trials": 2}, parallel=1))  # the one that it hands out
        trial = json.loads(served("ask", "one", "--lease", "600").stdout)
        assert (trial["number"], trial["lease_seconds"], set(trial["params"])) == (0, 600, set(external.SPACE))
        none = served("ask", "one", "--wait", "0")
        assert (none.returncode, "may start now" in none.stderr) == (1, True)
        assert served("report", "one", trial["token"], "1", "score=0.5", "loss=2").stdout == "continue\n"
        assert served("report", "one", trial["token"], "2", "score=nan").stdout == "prune\n"
        wrong = served("report", "one", trial["token"], "3", "score:0.5")
        assert (wrong.returncode, "METRIC=VALUE" in wrong.stderr) == (2, True)
        told = served("tell", "one", trial["token"], "--value", "0.8")
        assert "complete" in told.stdout
        token = client.ask("one").view.token  # type: ignore[union-attr]
        served("tell", "one", token, "--state", "failed", "--reason", "oom", "--message", "no room")
        assert client.trial("one", 1).error == "no room"
    over = served("ask", "one")
    assert (over.returncode, "one is completed" in over.stderr) == (1, True)
    assert "score 0.8000 (trial 0)" in served("best", "one").stdout
    (tmp_path / "study.json").write_text(json.dumps(external.document()))
    plan = served("plan", "study.json")
    assert "1e-05 to 0.1, log" in plan.stdout, plan.stderr
    refused = served("run", "study.json")
    assert (refused.returncode, "trainer of your own" in refused.stderr) == (2, True)
