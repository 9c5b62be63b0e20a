"""A study is followed by the numbers that its trials have, which are not dense once some were deleted."""

from pathlib import Path

from luthier.service.cli.follow import follow
from luthier.service.client import Client
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from tests.support.command_line import SPEC
from tests.support.play import MODEL, packed, play


def test_each_trial_is_told_once_where_others_were_deleted(tmp_path: Path) -> None:
    with (
        Embedded(Settings(home=tmp_path / "home"), study="eleven", fleet="none") as service,
        Client(service.url, service.token) as client,
    ):
        client.create(SPEC.format(name="eleven") + "pruner: {name: none}\n")
        scores = [[0.9], [0.6], [0.7], [0.8], [0.75]]
        play(service, scores, b"", pieces=3)  # the inspection, and two trials
        client.delete_trial("eleven", 1)
        snapshots = follow(client, "eleven", interval_seconds=0)
        told = [[trial.number for trial in next(snapshots).ended]]
        play(service, scores, b"", pieces=1)
        client.delete_trial("eleven", 2)  # a trial that nobody was told of
        told.append([trial.number for trial in next(snapshots).ended])
        asked = []
        look = client.trial
        client.trial = lambda name, number: asked.append(number) or look(name, number)  # type: ignore
        told += [[trial.number for trial in next(snapshots).ended] for _ in range(2)]
        assert asked == [], "a deleted trial is not asked for again"
        play(service, scores, packed(MODEL))
        told += [[trial.number for trial in snapshot.ended] for snapshot in snapshots]
    assert [numbers for numbers in told if numbers] == [[0], [3, 4]]
