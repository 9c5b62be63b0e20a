"""A real study whose texts tell nothing of their labels: its winner is called no better than the majority."""

import random
from pathlib import Path

from tests.support.served import Served, spec


def test_a_winner_at_the_majoritys_share(shared: Served, tiny: Path) -> None:
    draw = random.Random(0)
    words = ("the", "a", "film", "story", "was", "is", "very", "quite", "day", "meal", "room")
    lines = [f"{' '.join(draw.choices(words, k=12))},{'spam' if i % 10 == 0 else 'ham'}\n" for i in range(200)]
    (tiny / "noise.csv").write_text("text,label\n" + "".join(lines))
    document = spec(tiny, "noise", budget={"trials": 1})
    document["dataset"] = {"source": str(tiny / "noise.csv")}
    document["space"] |= {"learning_rate": 1e-3, "epochs": 1, "freeze_depth": 0}
    shared.client.post("/v1/studies", json=document).raise_for_status()
    study = shared.ended("noise")
    assert study["majority"]["label"] == "ham"
    assert study["majority"]["value"] == study["best"]["value"] == 0.9
    assert study["majority"]["metrics"]["matthews"] == 0.0
    verdict = next(text for text in study["warnings"] if "no better" in text)
    assert verdict.startswith("The winner is no better than always answering 'ham': on validation its accuracy is 0.90")
