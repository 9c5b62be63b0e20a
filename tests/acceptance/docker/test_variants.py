"""What the compose files do on machines with and without a GPU, and what the images weigh.

These tests come after the life of the stack in test_stack.py, and take it over.
"""

import os
import re
import time
from pathlib import Path

import pytest

from tests.support.stack import GPU, ROOT, Stack, build, sh, tree, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]


@pytest.mark.skipif(
    "DOCKER_LAB" not in os.environ, reason="needs the stand-in for NVIDIA's hook of docker/ci/engine.sh"
)
def test_the_gpu_file_comes_up_and_trains_on_nothing_less_than_a_gpu(stack: Stack) -> None:
    stack.files = GPU
    asked = Path(os.environ["DOCKER_LAB"], "gpu-requests.log")
    asked.unlink(missing_ok=True)
    stack.compose("up", "-d")
    until(lambda: "No GPU can be used here" in stack.logs("worker"), 60)
    until(lambda: stack.about("worker")["State"]["Health"]["Status"] == "unhealthy", 30)
    assert "NVIDIA_VISIBLE_DEVICES=all" in asked.read_text()
    about = stack.about("worker")
    (request,) = about["HostConfig"]["DeviceRequests"]
    assert request["Count"] == -1
    assert request["Capabilities"] == [["gpu", "compute", "utility"]]
    assert about["State"]["Running"]
    assert about["RestartCount"] == 0
    assert stack.about("service")["State"]["Health"]["Status"] == "healthy"


def test_without_the_toolkit_the_engine_says_what_the_page_says(stack: Stack, tmp_path: Path) -> None:
    """The same file, but for a driver that no engine has."""
    stack.files = GPU
    file = tmp_path / "compose.json"
    config = stack.compose("config", "--format", "json")
    assert config.count('"driver": "nvidia"') == 1
    file.write_text(config.replace('"driver": "nvidia"', '"driver": "absent"'))
    said = stack.compose("-f", str(file), "up", "-d", "--no-deps", "worker", check=False)
    (sentence,) = re.findall(r"Error response from daemon: .*", said)
    assert sentence.replace("absent", "nvidia") in (ROOT / "docs" / "docker.md").read_text().splitlines()
    assert stack.about("service")["State"]["Health"]["Status"] == "healthy"


def test_the_service_is_small_and_code_rebuilds_in_seconds(tmp_path: Path) -> None:
    size = int(sh("docker", "image", "inspect", "-f", "{{.Size}}", "luthier-service:test"))
    changed = tree(tmp_path / "changed")
    with (changed / "service" / "__init__.py").open("a") as file:
        file.write(f"# changed at {time.time_ns()}\n")
    began = time.monotonic()
    build(changed, "changed")
    seconds = time.monotonic() - began
    sh("docker", "rmi", "luthier-service:changed", "luthier-worker:changed")
    print(f"service image {size / 1e6:.0f} MB, both images after a change of code {seconds:.1f} s")
    assert size < 700e6
    assert seconds < 60
