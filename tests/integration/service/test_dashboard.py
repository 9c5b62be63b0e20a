"""optuna-dashboard: shown, and nothing else."""

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.harness import Running, problem, running


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None) as house:
        house.finished(budget={"trials": 2})
        yield house


def test_it_shows_our_studies(shown: Running) -> None:
    page = shown.client.get("/dashboard")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    style, script = re.findall(r'(?:href|src)="(/assets/dashboard-[^"]+)"', page.text)
    assert '[aria-label="delete study"]' in shown.client.get(style).text
    assert "luthier-back" in shown.client.get(script).text
    assert 'id="luthier-back"' in page.text
    summaries = shown.get("/api/studies")["study_summaries"]
    assert [summary["study_name"] for summary in summaries] == ["s1"]
    detail = shown.get(f"/api/studies/{summaries[0]['study_id']}?after=0")
    assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * 2
    assert detail["objective_names"] == ["accuracy"]
    back = shown.client.get(f"/studies/-/{summaries[0]['study_id']}").headers["location"]
    assert back == "/studies/s1"
    assert shown.client.get(f"{back}/dashboard").headers["location"] == f"/dashboard/studies/{summaries[0]['study_id']}"
    assert shown.client.get("/studies/-/99").headers["location"] == "/"


def test_it_changes_nothing(shown: Running) -> None:
    before = shown.optuna()
    study_id = shown.get("/api/studies")["study_summaries"][0]["study_id"]
    for path in (
        f"/api/studies/{study_id}",
        "/api/studies",
        f"/api/studies/{study_id}/rename",
        f"/api/trials/{before[0]._trial_id}/tell",
        f"/api/trials/{before[0]._trial_id}/user-attrs",
        f"/api/artifacts/{study_id}/{before[0]._trial_id}",
        "/dashboard",
    ):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            problem(shown.client.request(method, path, json={"state": "Complete", "values": [1.0]}), 405)
    assert shown.optuna() == before
    for path in ("/api/llm/x", "/api", "/v1/api/studies"):
        assert shown.client.post(path).status_code in (404, 405)


def test_its_pages_are_kept_in_their_place(shown: Running) -> None:
    for path, source in (("/dashboard", "'self'"), ("/api/studies", "'none'"), ("/static/bundle.js", "'self'")):
        headers = shown.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
        assert f"default-src {source}" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path


def test_its_files_come_without_accept_encoding(shown: Running) -> None:
    address = urlsplit(shown.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.putrequest("GET", "/static/bundle.js", skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 200
    assert len(response.read()) > 100_000
    connection.close()


@pytest.mark.parametrize("path", ["/static/../../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "/artifacts/1/2"])
def test_it_serves_no_other_file(shown: Running, path: str) -> None:
    address = urlsplit(shown.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status in (400, 403, 404)
    assert b"root:" not in response.read()
    connection.close()
