"""One place changes leases: no other module of the service writes what belongs to `Leases`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LEASES = [ROOT / "service" / "storage" / name for name in ("leases.py", "assignments.py", "deadlines.py")]
"""The file of `Leases`, and those of its bases."""
OWN_COLUMNS = {
    "token",
    "worker",
    "deadline",
    "attempt",
    "losses",
    "gpu",
    "gpu_share",
    "gpu_bytes",
    "seconds",
    "seconds_before",
    "seconds_expected",
    "gpu_seconds_before",
    "gpu_seconds_charged",
}
SHARED_COLUMNS = {"state", "started_at", "finished_at"}  # other tables have them too
OTHER_ROWS = {"study", "run", "schedule", "champion", "delivery", "report"}  # variables that hold rows of these tables
STATEMENTS = {"update", "insert", "delete"}
BULK = {"bulk_insert_mappings", "bulk_update_mappings"}

WINGS = ("api", "schedules", "dispatch", "lifecycle", "storage")  # those that see rows


def modules() -> list[Path]:
    paths = (path for wing in WINGS for path in (ROOT / "service" / wing).rglob("*.py"))
    return sorted(path for path in paths if path not in LEASES)


def last_name(node: ast.expr) -> str:
    """The last name of `a.b.c`; empty for other expressions."""
    match node:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
    return ""


def is_table(node: ast.expr) -> bool:
    """`AssignmentRow`, `tables.AssignmentRow`, or an attribute of them."""
    while last_name(node) != "AssignmentRow":
        if not isinstance(node, ast.Attribute):
            return False
        node = node.value
    return True


def is_query(node: ast.expr) -> bool:
    """`session.query(AssignmentRow)`, with or without conditions, or the table itself."""
    while isinstance(node, ast.Call | ast.Attribute):
        if is_table(node):
            return True
        if isinstance(node, ast.Call) and last_name(node.func) == "query":
            return any(map(is_table, node.args))
        node = node.func if isinstance(node, ast.Call) else node.value
    return is_table(node)


def is_leased(row: ast.expr, column: str) -> bool:
    """Whether to write this column of this row is to write a lease."""
    if ast.unparse(row) == "self":  # no row is `self`
        return False
    return column in OWN_COLUMNS or (column in SHARED_COLUMNS and last_name(row) not in OTHER_ROWS)


def is_writing_call(call: ast.Call) -> bool:
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    name = last_name(call.func)
    if name == "AssignmentRow":
        return True
    if name in STATEMENTS | BULK and any(map(is_table, arguments)):
        return True
    match call:
        case ast.Call(ast.Attribute(owner, "update" | "insert" | "delete")) if is_query(owner):
            return True
        case ast.Call(ast.Attribute(ast.Name("session"), "delete"), [row]):
            return any(map(is_table, row.args)) if isinstance(row, ast.Call) else last_name(row) not in OTHER_ROWS
        case ast.Call(ast.Name("setattr"), [row, ast.Constant(str(column)), _]):
            return is_leased(row, column)
        case ast.Call(ast.Name("setattr"), [row, _, _]):
            return ast.unparse(row) != "self" and last_name(row) not in OTHER_ROWS
    return False


def writes(tree: ast.AST) -> list[str]:
    """Calls that insert, change or delete assignments, and columns of a lease that are assigned."""
    return list(_writes(tree))


def _writes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call() if is_writing_call(node):
                yield ast.unparse(node)
            case ast.Attribute(row, column, ctx=ast.Store() | ast.Del()) if is_leased(row, column):
                yield ast.unparse(node)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_leases_writes_leases(path: Path) -> None:
    assert writes(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_writes_of_leases_are_recognized() -> None:
    assert sum(len(writes(ast.parse(path.read_text(encoding="utf-8")))) for path in LEASES) >= 7


@pytest.mark.parametrize(
    "column",
    ["token", "worker", "deadline", "attempt", "losses", "gpu", "gpu_share", "gpu_bytes", "seconds", "seconds_before"],
)
def test_a_column_of_leases_alone_is_written_on_no_other_name(column: str) -> None:
    for row in ("row", "assignment", "study", "self.row", "session.get(AssignmentRow, 1)"):
        assert writes(ast.parse(f"{row}.{column} = None")) == [ast.unparse(ast.parse(f"{row}.{column}"))]
    assert writes(ast.parse(f"self.{column} = None")) == []
    assert writes(ast.parse(f"held = row.{column}")) == []


@pytest.mark.parametrize("column", ["state", "started_at", "finished_at"])
def test_a_column_of_several_tables_is_written_on_other_rows_only(column: str) -> None:
    for row in ("row", "assignment", "trial", "self.row"):
        assert writes(ast.parse(f"{row}.{column} = None")) == [f"{row}.{column}"]
    for row in ("self", "study", "run", "schedule", "self.study"):
        assert writes(ast.parse(f"{row}.{column} = None")) == []


@pytest.mark.parametrize(
    "statement",
    [
        "row.state = TrialState.QUEUED",
        "row.state, row.error = TrialState.FAILED, text",
        "[*rest, row.token] = values",
        "row.losses += 1",
        "row.deadline: float = now",
        "del row.token",
        "for row.worker in workers: pass",
        "setattr(row, 'token', None)",
        "setattr(assignment, 'state', state)",
        "setattr(row, column, value)",
        "insert(AssignmentRow)",
        "insert(AssignmentRow).values(**columns)",
        "database.insert(AssignmentRow)",
        "self.core.database.insert(tables.AssignmentRow).values(id=1)",
        "postgresql.insert(AssignmentRow)",
        "update(AssignmentRow).where(AssignmentRow.id == 1).values(token=None)",
        "update(tables.AssignmentRow)",
        "sqlalchemy.update(table=AssignmentRow)",
        "update(AssignmentRow.__table__)",
        "AssignmentRow.__table__.update()",
        "session.query(AssignmentRow).update({'token': None})",
        "session.query(tables.AssignmentRow).filter(AssignmentRow.id == 1).update({'token': None})",
        "session.query(AssignmentRow).delete()",
        "session.bulk_update_mappings(AssignmentRow, rows)",
        "delete(AssignmentRow)",
        "delete(tables.AssignmentRow).where(AssignmentRow.study_id == study.id)",
        "session.delete(row)",
        "session.delete(session.get_one(AssignmentRow, 1))",
        "session.add(AssignmentRow(study_id=1))",
        "session.merge(tables.AssignmentRow(id=1, token=None))",
    ],
)
def test_a_write_elsewhere_would_be_noticed(statement: str) -> None:
    assert len(writes(ast.parse(statement))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "study.state = StudyState.RUNNING",
        "study.started_at = study.started_at or now",
        "run.state, run.finished_at = RunState.FINISHED, now",
        "setattr(run, 'state', state)",
        "setattr(row, 'message', text)",
        "row.error = text",
        "token = row.token",
        "self.token = secrets.token_hex(16)",
        "select(AssignmentRow).where(AssignmentRow.state == state).with_for_update()",
        "session.query(AssignmentRow).all()",
        "database.insert(ReportRow).values(assignment_id=row.id)",
        "update(StudyRow).where(StudyRow.id.in_(select(AssignmentRow.study_id)))",
        "delete(ReportRow).where(ReportRow.assignment_id.in_(select(AssignmentRow.id)))",
        "session.delete(schedule)",
        "session.delete(session.get_one(StudyRow, study_id))",
        "digest.update(chunk)",
    ],
)
def test_what_is_no_write_of_a_lease_is_allowed(statement: str) -> None:
    assert writes(ast.parse(statement)) == []
