"""The study of the container tests: the quickstart's, made smaller, with trials that can be disturbed."""

from typing import Any

import yaml

from tests.support.stack import ROOT, Stack, until

NAME, TRIALS, EVALUATIONS = "quickstart", 5, 6  # a trial for each disturbance, if each takes as long as one


def quickstart() -> dict[str, Any]:
    """The README's study with fewer rows and trials, each long enough to be killed in the middle."""
    spec = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    spec["dataset"]["limit"] = 120
    spec["space"] |= {"epochs": 2, "freeze_depth": {"low": 0, "high": 2}, "batch_size": [8, 16]}
    spec |= {"budget": {"trials": TRIALS}, "evaluations_per_epoch": EVALUATIONS // spec["space"]["epochs"]}
    return dict(spec | {"parallel": 1, "pruner": {"name": "none"}})


def under_way(stack: Stack) -> dict[str, Any]:
    """A trial that has been evaluated and has not come to its end. The study is paused: however fast the machine is,
    no trial starts while something is done to this one."""

    def found() -> dict[str, Any] | None:
        trials = (trial for trial in stack.trials(NAME) if trial["state"] == "running")
        return next((trial for trial in trials if 1 <= len(trial["values"]) <= EVALUATIONS / 2), None)

    resume(stack)
    trial = until(found, 120)
    stack.request("POST", f"/v1/studies/{NAME}/pause").raise_for_status()
    return trial


def resume(stack: Stack) -> None:
    """Also where it runs already."""
    assert stack.request("POST", f"/v1/studies/{NAME}/resume").status_code in (200, 409)


def ended_trials(stack: Stack) -> int:
    return sum(trial["state"] == "complete" for trial in stack.trials(NAME))
