"""`docker compose` as a user runs it, on the engine that `docker` reaches (see docker/ci/run.sh)."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support import waiting
from tests.support.paths import ROOT

GPU = ("compose.yaml", "tests/acceptance/docker/impatient.yaml")
CPU = ("compose.yaml", "docker/compose.cpu.yaml", "tests/acceptance/docker/one-core.yaml")
OLDER = (*CPU, "tests/acceptance/docker/older.yaml")
Value = TypeVar("Value")


def sh(*command: str, env: dict[str, str] | None = None, check: bool = True, cwd: Path = ROOT) -> str:
    """Run a command and return its output. If the command fails, the test fails and shows the output."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=400)
    assert not check or done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if check else done.stdout + done.stderr


def until(what: Callable[[], Value], seconds: float) -> Value:
    """Return its first true value; an error of the transport counts as not yet."""

    def answered() -> Value | None:
        try:
            return what()
        except httpx.TransportError:
            return None

    return waiting.until(answered, seconds, 0.2)  # type: ignore[return-value]


class Stack:
    """A Compose project. `tag` is that of the images, `files` the compose files: both may change between calls."""

    def __init__(self, project: str, tag: str, files: Sequence[str], docker_config: Path) -> None:
        self._docker_config = docker_config
        self.tag, self.files, self.token = tag, files, ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._project = project

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "COMPOSE_PROJECT_NAME": self._project,
            "COMPOSE_FILE": ":".join(self.files),
            "COMPOSE_ENV_FILES": "/dev/null",  # not the .env of the user who runs the tests
            "COMPOSE_PROGRESS": "quiet",
            "DOCKER_CONFIG": str(self._docker_config),
            "LUTHIER_TAG": self.tag,
            "LUTHIER_PORT": str(self.port),
            "LUTHIER_LEASE_SECONDS": "10",  # more than a busy machine takes to bring Postgres back
            "HF_HUB_OFFLINE": "1",
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        return sh("docker", "compose", *arguments, env=self.environment, check=check)

    def run(self, *command: str) -> str:
        return sh(*command, env=self.environment)

    def up(self, *services: str) -> None:
        self.compose("up", "-d", "--wait", "--wait-timeout", "150", *services)

    def logs(self, service: str) -> str:
        return self.compose("logs", "--no-log-prefix", service)

    def about(self, service: str) -> dict[str, Any]:
        """Return the engine's description of the service's container."""
        (container,) = self.compose("ps", "-aq", service).split()
        return dict(json.loads(sh("docker", "inspect", container))[0])

    def crash(self, service: str) -> None:
        """Kill its main process from outside: Docker does not restart a container that it killed itself."""
        before = self.about(service)
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        until(lambda: self.about(service)["RestartCount"] == before["RestartCount"] + 1, 30)

    def sql(self, query: str) -> list[list[str]]:
        out = self.compose(
            "exec", "-T", "postgres", "psql", "-U", "luthier", "-d", "luthier", "-AtF", "\t", "-c", query
        )
        return [line.split("\t") for line in out.splitlines()]

    def request(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """Send a request with the stack's own token, or without a token if an empty one is given."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.request(method, url, headers=headers, timeout=30, trust_env=False, **options)

    def get(self, path: str) -> Any:
        """Return the JSON at a path; {} while the service or its database is away."""
        response = self.request("GET", path)
        return {} if response.status_code >= 500 else response.raise_for_status().json()

    def trials(self, name: str) -> list[dict[str, Any]]:
        return list(self.get(f"/v1/studies/{name}/trials?limit=100").get("items", []))


def behind_a_proxy(folder: Path) -> Path:
    """Copy Docker's configuration with a proxy that does not exist: inside the stack no proxy may be used."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    for path in own.glob("*"):
        if path.name != "config.json":
            (folder / path.name).symlink_to(path)
    config = json.loads((own / "config.json").read_text()) if (own / "config.json").exists() else {}
    dead = "http://127.0.0.1:9"
    config["proxies"] = {"default": {"httpProxy": dead, "httpsProxy": dead}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def build(context: Path, tag: str) -> None:
    """Build the images of the service and the worker, from another tree than this one."""
    wheels = os.environ.get("WHEELS_DIR", str(ROOT / "docker" / "ci"))
    for target in ("service", "worker"):
        command = ["docker", "build", "-q", "-f", "docker/Dockerfile", "--target", target]
        sh(*command, "--build-context", f"wheels={wheels}", "-t", f"luthier-{target}:{tag}", ".", cwd=context)


def tree(folder: Path) -> Path:
    """Copy all files that the images are built from."""
    for name in ("service", "studies", "trials", "src", "docker"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", ".dockerignore"):
        shutil.copy(ROOT / name, folder / name)
    return folder
