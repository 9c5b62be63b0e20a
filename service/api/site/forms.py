"""What forms of pages share: the text of their fields, numbers in it, and the sentence beside a field."""

from collections.abc import Iterable

from fastapi import Request

from luthier.service.errors import Problem


async def field_values(request: Request, names: Iterable[str]) -> dict[str, str]:
    """Return the text of a form's fields, without the space around it; "" for one that the form lacks."""
    async with request.form(max_files=0) as form:
        return {name: str(form.get(name) or "").strip() for name in names}


def number_or_text(text: str) -> int | float | str | None:
    """Return a field's text as the number that it is; None for an empty one, and other text as it is, to be refused."""
    for kind in (int, float):
        try:
            return kind(text[:400])
        except ValueError:
            continue
    return text or None


def fault_of(problem: Problem | None, prefix: str) -> dict[str, str]:
    """Return the sentence for each field that a problem names, by the field.

    Args:
        problem: what is wrong with the form, if anything.
        prefix: of the paths of fields, before their names.
    """
    found = problem.errors if problem else ()
    return {fault.path.removeprefix(prefix): fault.message for fault in found if fault.path.startswith(prefix)}
