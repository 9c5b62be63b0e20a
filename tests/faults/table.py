"""The table of a run: how often each kind of fault happened on each database, and what broke in its rounds."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.faults.kinds.registry import FAULTS
from tests.faults.rounds import Result
from tests.faults.setting import Setting

COLUMNS = ("sqlite", "postgres", "postgres, two services")


def table(results: Iterable[Result]) -> str:
    """Return the table as Markdown."""
    counts: Counter[tuple[str, str]] = Counter()
    broken: Counter[str] = Counter()
    for result in results:
        for name, _ in result.injected:
            counts[name, result.setting.column] += 1
        for name in {name for name, _ in result.injected} or {"before any fault"}:
            broken[name] += len(result.violations)
    names = [fault.name for fault in FAULTS if any(counts[fault.name, column] for column in COLUMNS)]
    names = list(dict.fromkeys(names)) + (["before any fault"] if broken["before any fault"] else [])
    lines = [("fault", *COLUMNS, "violations in its rounds"), ("---", *("---:" for _ in range(len(COLUMNS) + 1)))]
    for name in names:
        lines.append((name, *(str(counts[name, column] or "") for column in COLUMNS), str(broken[name])))
    totals = [sum(counts[name, column] for name in names) for column in COLUMNS]
    lines.append((f"**{sum(totals)} in all**", *map(str, totals), str(sum(len(one.violations) for one in results))))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def broken_rounds(results: Sequence[Result]) -> Iterable[str]:
    """Yield what was broken, round by round."""
    for result in results:
        for sentence in result.violations:
            yield f"{describe(result.setting)}, after {[name for name, _ in result.injected]}: {sentence}"


def describe(setting: Setting) -> str:
    """Return a setting in words."""
    return f"{setting.column}, {setting.workers} workers"
