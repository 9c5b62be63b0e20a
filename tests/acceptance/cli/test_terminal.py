"""What the command line asks and shows on a terminal."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.service.client import Client
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from tests.support.command_line import SPEC
from tests.support.play import MODEL, packed, play
from tests.support.terminal import CTRL_C, on_terminal
from tests.support.tiny import tiny_csv, tiny_model


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A service with the ended study `one`: two trials and a model."""
    with Embedded(Settings(home=tmp_path_factory.mktemp("home")), study="one", fleet="none") as service:
        with Client(service.url, service.token) as client:
            client.create(SPEC.format(name="one").replace("trials: 3", "trials: 2") + "pruner: {name: none}\n")
        play(service, [[0.6], [0.7]], packed(MODEL))
        yield service


def test_deleting_says_what_goes_and_asks(ended: Embedded, tmp_path: Path) -> None:
    given = {"folder": tmp_path, "at": "[y/N]", "LUTHIER_SERVER": ended.url, "LUTHIER_TOKEN": ended.token}
    code, shown = on_terminal("delete", "one", types=b"\n", **given)
    assert code == 1
    assert "its 2 trials with their scores and logs and the winner's model" in " ".join(shown.split())
    assert "Nothing was deleted." in shown
    code, shown = on_terminal("get", "one", "-o", "json", **given)
    assert json.loads(shown)["state"] == "completed"
    code, shown = on_terminal("delete", "one", types=b"y\n", **given)
    assert (code, "was deleted" in shown) == (0, True)
    code, shown = on_terminal("delete", "one", "--yes", **given)
    assert (code, "no study named one" in shown) == (1, True)


ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\r")


@pytest.mark.parametrize("at", ["the service starts", "a worker opens"])
def test_nothing_is_left_on_the_screen_after_ctrl_c(tmp_path: Path, at: str) -> None:
    tiny_model(tmp_path / "model")
    tiny_csv(tmp_path / "data.csv", rows=60)
    spec = SPEC.format(name="one").replace("models/none", "model/.").replace("data/none.csv", "data.csv")
    (tmp_path / "spec.yaml").write_text(spec)
    code, shown = on_terminal("run", "spec.yaml", folder=tmp_path, at=at, types=CTRL_C)
    _, shows_cursor, after = shown.rpartition("\x1b[?25h")
    said = ESCAPES.sub("", after).strip()
    assert (code, bool(shows_cursor)) == (130, True)
    assert said == "Interrupted: running trials were given back. The same command goes on from there."
    last_picture = shown.rpartition("\x1b[?25h")[0].rpartition("\x1b[2K")[2]
    assert after.count("\x1b[2K") >= last_picture.count("\n")  # each of its lines is taken away
