"""`luthier watch` and `luthier logs --follow`, on a terminal and in a pipe."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.service.client import Client
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from tests.support.command_line import SPEC
from tests.support.play import MODEL, packed, play
from tests.support.terminal import CTRL_C, on_terminal
from tests.support.waiting import until

STYLES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Embedded]:
    """A service with the study `one`, which waits for its inspection."""
    with Embedded(Settings(home=tmp_path / "home"), study="one", fleet="none") as service:
        with Client(service.url, service.token) as client:
            client.create(SPEC.format(name="one").replace("trials: 3", "trials: 2") + "pruner: {name: none}\n")
        yield service


def given(service: Embedded, folder: Path) -> dict[str, object]:
    return {"folder": folder, "LUTHIER_SERVER": service.url, "LUTHIER_TOKEN": service.token}


def test_a_study_is_watched_to_its_end_in_sixty_columns(service: Embedded, tmp_path: Path) -> None:
    worker = threading.Thread(target=_play_once_watched, args=[service])
    worker.start()
    code, shown = on_terminal("watch", "one", **given(service, tmp_path))  # type: ignore[arg-type]
    worker.join()
    assert code == 0, shown
    plain = STYLES.sub("", shown)
    assert max(len(line) for line in re.split(r"\r?\n|\x1b\[[0-9]*[A-Z]", plain)) <= 60
    after = plain.rpartition("\x1b[?25h")[2].rpartition("\x1b[2K")[2]
    assert "completed" in after
    assert "▁" not in after  # the picture is taken away; what is left are the study's facts
    assert "curve" in plain


def _play_once_watched(service: Embedded) -> None:
    """Work on the study once somebody reads its events."""
    until(lambda: service._server.config.app.state.service.feed._streams, 60)  # type: ignore[attr-defined]
    play(service, [[0.6, 0.61, 0.62], [0.7, 0.8]], packed(MODEL))


def test_nothing_of_a_watched_study_is_left_after_ctrl_c(service: Embedded, tmp_path: Path) -> None:
    code, shown = on_terminal("watch", "one", at="0/2 trials", types=CTRL_C, **given(service, tmp_path))  # type: ignore[arg-type]
    before, _, after = shown.rpartition("\x1b[?25h")
    picture = before.rpartition("\x1b[2K")[2]
    assert code == 130
    assert STYLES.sub("", after).replace("\x1b[2K", "").replace("\x1b[1A", "").strip() == ""
    assert after.count("\x1b[2K") >= picture.count("\n")


def test_a_study_that_does_not_complete_ends_the_watch_with_one(service: Embedded, tmp_path: Path) -> None:
    with Client(service.url, service.token) as client:
        client.cancel("one")
    code, shown = on_terminal("watch", "one", **given(service, tmp_path))  # type: ignore[arg-type]
    assert (code, "cancelled" in shown) == (1, True)
    play(service, [[0.6]], packed(MODEL))
    code, shown = on_terminal("logs", "one", "0", "--follow", **given(service, tmp_path))  # type: ignore[arg-type]
    assert (code, "no trial 0" in shown) == (1, True)
