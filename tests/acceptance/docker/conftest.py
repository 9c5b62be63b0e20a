"""One stack for all container tests, and images of the code before the latest migration."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.archives import unpack_tar
from tests.support.stack import CPU, ROOT, Stack, behind_a_proxy, build, sh, tree


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack("luthier-test", "test", CPU, behind_a_proxy(tmp_path_factory.mktemp("docker-config")))
    made.compose("down", "--volumes", "--timeout", "5")
    try:
        yield made
    finally:
        made.files = CPU
        print(made.compose("logs", "--tail", "60", check=False))
        made.compose("down", "--volumes", "--timeout", "5", check=False)


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """The tag of images of the code before the latest migration; None where this clone has no such history."""
    latest = max((ROOT / "service" / "storage" / "migrations" / "versions").glob("[0-9]*.py")).relative_to(ROOT)
    added = ["git", "log", "--follow", "--diff-filter=A", "--format=%H", "-1", "--", str(latest)]
    commit = sh(*added, check=False).strip()
    context = tree(tmp_path_factory.mktemp("older"))
    packages = ("service", "studies", "trials", "src")
    sh("rm", "-r", *packages, cwd=context)
    archive = ["git", "-C", str(ROOT), "archive", f"{commit}^", *packages, "pyproject.toml", "docker/Dockerfile"]
    done = subprocess.run(archive, capture_output=True)
    if done.returncode:
        return None
    unpack_tar(done.stdout, context)
    assert not list(context.glob(f"service/**/{latest.name}"))
    build(context, "older")
    return "older"
