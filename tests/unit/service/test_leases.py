"""One place changes leases: no other module of the service writes what belongs to `Leases`."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LEASES = ROOT / "service" / "storage" / "leases.py"
OWN_COLUMNS = {"token", "worker", "deadline", "attempt", "losses", "gpu_share", "gpu_bytes", "seconds_before"}


WINGS = ("api", "schedules", "dispatch", "lifecycle", "storage")  # those that see rows


def modules() -> list[Path]:
    paths = (path for wing in WINGS for path in (ROOT / "service" / wing).rglob("*.py"))
    return sorted(path for path in paths if path != LEASES)


def is_assignment_row(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "AssignmentRow"


def writes(tree: ast.AST) -> list[str]:
    """Statements that insert or update assignments, or set a column of a lease."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            updates = (
                isinstance(node.func, ast.Name) and node.func.id == "update" and any(map(is_assignment_row, node.args))
            )
            if updates or is_assignment_row(node.func):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            attributes = [target for target in targets if isinstance(target, ast.Attribute)]
            names = [target.attr for target in attributes if ast.unparse(target.value) != "self"]  # no row is `self`
            if OWN_COLUMNS.intersection(names):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_leases_writes_leases(path: Path) -> None:
    assert writes(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_a_write_elsewhere_would_be_noticed() -> None:
    assert len(writes(ast.parse(LEASES.read_text(encoding="utf-8")))) >= 5
    assert writes(ast.parse("row.token = None")) == ["row.token = None"]
