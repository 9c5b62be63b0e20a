"""One trial of a search that really fine-tunes is stopped by its user, and keeps what it has."""

from pathlib import Path

import pytest

from tests.support.served import Served, spec
from tests.support.waiting import until


@pytest.mark.full
def test_trials_that_are_stopped_keep_their_best_and_one_of_them_wins(shared: Served, tiny: Path) -> None:
    epochs = 60
    document = spec(tiny, "steered", budget={"trials": 2}, pruner={"name": "none"})
    document["space"] |= {"learning_rate": 3e-3, "freeze_depth": [0, 1], "epochs": epochs}
    shared.client.post("/v1/studies", json=document).raise_for_status()
    trials, headers = "/v1/studies/steered/trials", {"Idempotency-Key": "mine"}
    for status in (201, 200):
        added = shared.client.post(trials, json={"params": {"freeze_depth": 1}, "seed": 7}, headers=headers)
        assert (added.status_code, added.json()["number"]) == (status, 1), "before its inspection, or just after"
    for number in (0, 1):

        def has_scores(number: int = number) -> bool:
            answer = shared.client.get(f"{trials}/{number}")
            return answer.is_success and bool(answer.json()["values"])

        until(has_scores, 60)
        assert shared.client.post(f"{trials}/{number}/stop").status_code == 200
    study = shared.ended("steered")
    assert study["state"] == "completed", study
    for trial in shared.trials("steered"):
        assert (trial["state"], trial["reason"]) == ("complete", "stopped")
        scores = [value["metrics"]["accuracy"] for value in trial["values"]]
        assert len(scores) < epochs
        assert trial["value"] == max(scores)
    assert study["best"]["test"]["accuracy"] is not None
    assert study["model"]["bytes"] > 0
