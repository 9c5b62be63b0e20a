"""Tokens of people in tests: made over REST, and presented."""

from typing import Any

import httpx

from tests.support.harness import Running

USER, WORKER = "user-token-0123456789", "worker-token-0123456789"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def made(house: Running, name: str, **fields: Any) -> dict[str, Any]:
    """Make a token, and the project that it is of, and return the token with its secret."""
    if "project" in fields:
        assert house.client.put(f"/v1/projects/{fields['project']}", json={}).is_success
    answer = house.client.post("/v1/tokens", json={"name": name, "scopes": ["read"]} | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def ask(house: Running, method: str, path: str, secret: str, **options: Any) -> httpx.Response:
    """Send a request that presents a token; without one for ""."""
    house.anyone.cookies.clear()
    return house.anyone.request(method, path, headers=bearer(secret) if secret else {}, **options)
