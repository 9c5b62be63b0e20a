"""A service that is killed within a schedule's step."""

import os
import signal
from pathlib import Path

from pydantic import SecretStr

from luthier.service.schedules import champions, retention
from luthier.service.server.app import create_app
from luthier.service.settings import Settings
from tests.support.several_services import FORKS

MODULES = {"champions": champions, "retention": retention}


def tick(home: Path, url: str, module: str, name: str, now: float) -> None:
    """Do what is due, and kill this process where it calls this function of the module."""
    setattr(MODULES[module], name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    create_app(Settings(home=home, database_url=SecretStr(url))).state.service.scheduler.tick(now)


def exit_code_of_tick(home: Path, url: str, module: str, name: str, now: float) -> int | None:
    """Run `tick` in a process of its own and return its exit code; None where it did not end within 60 s."""
    process = FORKS.Process(target=tick, args=(home, url, module, name, now), daemon=True)
    process.start()
    process.join(60)
    return process.exitcode
