"""A service that has no file descriptor left says so once, and goes on when it has some again."""

import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import COMMAND, without_luthier
from tests.support.waiting import until

LIMITED = ("bash", "-c", 'ulimit -n 70; exec "$@"', "-")


@pytest.mark.full
def test_connections_that_cannot_be_accepted_are_one_line_in_the_log(tmp_path: Path) -> None:
    environment = without_luthier() | {"LUTHIER_HOME": str(tmp_path / "home"), "LUTHIER_FLEET": "none"}
    file = tmp_path / "log"
    with file.open("w") as log:
        service = subprocess.Popen([*LIMITED, *COMMAND, "serve", "--port", "0"], env=environment, stderr=log)
    try:
        until(lambda: "serving on" in file.read_text())
        host, port = re.search(r"http://([\d.]+):(\d+)", file.read_text()).groups()
        with ExitStack() as connections:
            for _ in range(90):
                connections.enter_context(socket.create_connection((host, int(port)), 5))
            until(lambda: "No connection can be accepted" in file.read_text())
        until(lambda: httpx.get(f"http://{host}:{port}/readyz").status_code == 200)
    finally:
        service.terminate()
        service.wait(20)
    said = file.read_text()
    assert said.count("No connection can be accepted") == 1
    assert "may have 70 files open" in said
    assert "Traceback" not in said
