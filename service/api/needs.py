"""What each route asks of its caller, in one place: a line of NEEDS is a method and a route's path.

The access control looks here before a route runs. A route without a line is open to admins only, and a test refuses it.
"""

from enum import StrEnum

from luthier.service.caller import Scope


class Need(StrEnum):
    """What a route asks of its caller: a scope, any token at all, or nothing."""

    OPEN = "open"
    ANY = "any"
    READ = Scope.READ
    WRITE = Scope.WRITE
    WORKER = Scope.WORKER
    ADMIN = Scope.ADMIN


_OPEN = """
GET /healthz
GET /readyz
GET /login
POST /login
GET /favicon.ico
GET /favicon.svg
GET /site.css
"""
_ANY = """
POST /logout
"""
_READ = """
GET /openapi.json
GET /docs
GET /docs/{name}
GET /assets/{name}
GET /v1/tasks
GET /v1/workers
GET /metrics
GET /v1/events
GET /v1/studies
GET /v1/studies/{name}
GET /v1/studies/{name}/bundle
GET /v1/studies/{name}/events
GET /v1/studies/{name}/model
GET /v1/studies/{name}/onnx
GET /v1/studies/{name}/onnx/file
GET /v1/studies/{name}/plots/{kind}
GET /v1/studies/{name}/predictions
GET /v1/studies/{name}/predictions/{prediction_id}
GET /v1/studies/{name}/predictions/{prediction_id}/file
GET /v1/studies/{name}/report
GET /v1/studies/{name}/results
GET /v1/studies/{name}/trials
GET /v1/studies/{name}/trials/{number}
GET /v1/studies/{name}/trials/{number}/logs
GET /v1/schedules
GET /v1/schedules/{name}
GET /v1/schedules/{name}/champion
GET /v1/schedules/{name}/plots/champion
GET /v1/schedules/{name}/runs
GET /v1/schedules/{name}/runs/{run_id}
GET /v1/datasets
GET /v1/datasets/{id}
GET /v1/datasets/{id}/preview
GET /v1/projects
GET /v1/projects/{name}
GET /
GET /compare
GET /data
GET /data/{id}
GET /data/{id}/preview
GET /schedules
GET /schedules/{name}
GET /studies/{name}
GET /studies/{name}/live
GET /studies/{name}/onnx
GET /studies/{name}/predict
GET /studies/{name}/results
GET /studies/{name}/table
GET /studies/{name}/timeline
GET /studies/{name}/trials/{number}
GET /studies/{name}/trials/{number}/live
GET /studies/{name}/trials/{number}/log
GET /workers
"""
_WRITE = """
POST /v1/plan
POST /v1/studies:plan
POST /v1/studies
PATCH /v1/studies/{name}
DELETE /v1/studies/{name}
POST /v1/studies/{name}/{action:verb}
POST /v1/studies/{name}/extend
POST /v1/studies/{name}/ask
POST /v1/studies/{name}/report
POST /v1/studies/{name}/tell
POST /v1/studies/{name}/trials
POST /v1/studies/{name}/trials/{number}/stop
POST /v1/studies/{name}/trials/{number}/retry
DELETE /v1/studies/{name}/trials/{number}
POST /v1/studies/{name}/predict
DELETE /v1/studies/{name}/predictions/{prediction_id}
POST /v1/studies/{name}/onnx
DELETE /v1/studies/{name}/onnx
POST /v1/schedules
PATCH /v1/schedules/{name}
DELETE /v1/schedules/{name}
POST /v1/schedules/{name}/trigger
POST /v1/schedules/{name}/rollback
POST /v1/datasets
DELETE /v1/datasets/{id}
GET /new
GET /studies/{name}/change
GET /studies/{name}/enqueue
GET /studies/{name}/extend
GET /studies/{name}/successor
GET /studies/{name}/trials/{number}/again
POST /data
POST /data/{id}/delete
POST /new
POST /new/trials
POST /new/plan
POST /schedules/{name}/{action}
POST /studies/{name}/change
POST /studies/{name}/enqueue
POST /studies/{name}/extend
POST /studies/{name}/onnx
POST /studies/{name}/onnx/delete
POST /studies/{name}/predict
POST /studies/{name}/predict/{prediction_id}/delete
POST /studies/{name}/trials/{number}/{action}
POST /studies/{name}/{action}
"""
_WORKER = """
POST /v1/worker/claim
POST /v1/worker/report
POST /v1/worker/renew
POST /v1/worker/finish
PUT /v1/worker/files/{assignment_id}/{name}
GET /v1/worker/files/{assignment_id}/{name}
GET /v1/worker/datasets/{assignment_id}/{dataset_id}
"""
_ADMIN = """
GET /v1/audit
GET /v1/tokens
POST /v1/tokens
PATCH /v1/tokens/{id}
DELETE /v1/tokens/{id}
GET /tokens
POST /tokens
POST /tokens/{id}/revoke
GET /audit
PUT /v1/projects/{name}
DELETE /v1/projects/{name}
GET /projects
POST /project
POST /projects
POST /projects/{name}/delete
"""
# The dashboard shows the studies of the caller's project; its routes take every method, and answer 405 but to GET.
_DASHBOARD = """
GET /studies/-/{number}
GET /studies/{name}/dashboard
GET /api/studies/{optuna_id}/plot/{kind}
* /dashboard
* /dashboard/{path:path}
* /static
* /static/{path:path}
* /csv
* /csv/{path:path}
* /artifacts
* /artifacts/{path:path}
* /incompatible-rdb-schema
* /incompatible-rdb-schema/{path:path}
* /api/meta
* /api/meta/{path:path}
* /api/studies
* /api/studies/{path:path}
* /api/trials
* /api/trials/{path:path}
* /api/artifacts
* /api/artifacts/{path:path}
"""
_LINES = {
    Need.OPEN: _OPEN,
    Need.ANY: _ANY,
    Need.READ: _READ + _DASHBOARD,
    Need.WRITE: _WRITE,
    Need.WORKER: _WORKER,
    Need.ADMIN: _ADMIN,
}
# Not in the log of actions: messages of trials, of which there are too many, and what changes nothing.
_QUIET = """
POST /v1/worker/claim
POST /v1/worker/report
POST /v1/worker/renew
POST /v1/worker/finish
PUT /v1/worker/files/{assignment_id}/{name}
POST /v1/studies/{name}/ask
POST /v1/studies/{name}/report
POST /v1/studies/{name}/tell
POST /v1/plan
POST /v1/studies:plan
POST /new/plan
"""
EVERY_METHOD = "*"  # of a route that takes any


def _split(lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines.split("\n") if line)


NEEDS = {line: need for need, lines in _LINES.items() for line in _split(lines)}
OPEN = tuple(dict.fromkeys(line.partition(" ")[2] for line in _split(_OPEN)))  # paths that need no token
QUIET = frozenset(_split(_QUIET))
