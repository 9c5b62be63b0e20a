"""Uploads of data sets over REST, for tests."""

from typing import Any

from tests.support.harness import Running

CSV = b"text,label\n" + b"".join(b"row %d,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40))
BOUNDARY = "multipart/form-data; boundary=abc"
START = b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


def upload(house: Running, content: bytes = CSV, file: str = "a.csv", status: int = 201, **data: str) -> dict[str, Any]:
    response = house.client.post("/v1/datasets", files={"file": (file, content)}, data=data)
    assert response.status_code == status, response.text
    return dict(response.json())


def stored(house: Running) -> list[str]:
    """Names in the store, of what is there and of what uploads may have left."""
    return sorted(path.name for path in house.core.store.root.iterdir() if path.name != ".mark")
