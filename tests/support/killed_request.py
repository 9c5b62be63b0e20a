"""A service that is killed within a request."""

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from pydantic import SecretStr

from luthier.service.server.app import Tokens, create_app
from luthier.service.settings import Settings
from tests.support.several_services import FORKS


def request(home: Path, url: str, function: str, after: int, method: str, path: str, body: dict[str, Any]) -> None:
    """Send a request to a service in this process, and kill the process at a function's call number `after`, from 0."""
    module, name = function.rsplit(".", 1)
    real = getattr(import_module(module), name)
    calls = iter(range(after + 1))

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(import_module(module), name, deadly)
    app = create_app(Settings(home=home, database_url=SecretStr(url)), Tokens(None, None))
    TestClient(app, base_url="http://127.0.0.1").request(method, path, json=body)  # without its threads


def exit_code(
    home: Path, url: str, function: str, after: int, method: str, path: str, body: dict[str, Any]
) -> int | None:
    """Run `request` in a process of its own and return its exit code; None where it did not end within 60 s."""
    given = (home, url, function, after, method, path, body)
    process = FORKS.Process(target=request, args=given, daemon=True)
    process.start()
    process.join(60)
    return process.exitcode
