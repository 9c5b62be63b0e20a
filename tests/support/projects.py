"""Requests of people who share a service, each in a project of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support.harness import Running


@contextmanager
def working_in(house: Running, project: str) -> Iterator[Running]:
    """Let the client of a service name a project in each request, until the block ends."""

    def name(request: httpx.Request) -> None:
        request.url = request.url.copy_merge_params({"project": project})

    before = house.client.event_hooks
    house.client.event_hooks = {"request": [name]}
    try:
        yield house
    finally:
        house.client.event_hooks = before


def make_projects(house: Running, *names: str, **limits: Any) -> None:
    for name in names:
        answer = house.client.put(f"/v1/projects/{name}", json=limits)
        assert answer.status_code == 201, answer.text
