"""The reference page of the Python client, from the docstrings and signatures of its classes."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from docstring import parse

TITLES = {
    "Connection": "Opening and closing",
    "Client": "Studies and tasks",
    "TrialMethods": "Trials and results",
    "SteeringMethods": "One trial, tags and notes",
    "ExternalMethods": "Trials for a trainer of your own",
    "ReportMethods": "What such a trainer sends, without the class around it",
    "ScheduleMethods": "Schedules",
    "DatasetMethods": "Uploaded data",
    "FleetMethods": "Workers",
}


def client_reference(note: str) -> str:
    """Return the page; `note` says in its source that it is generated."""
    from luthier import AsyncClient, Client, ExternalTrial
    from luthier.service.client import Event, Plot

    parts = [note, "", "# Python client reference", ""]
    parts += [
        "[The Python client](../python.md) is the introduction. What methods return (`StudyView`, `TrialView`, ...)"
    ]
    parts += ["are [the objects of the REST interface](rest.md#objects), with the same fields.", "", "## Client", ""]
    parts += _paragraphs(Client)
    parents = [cls for cls in Client.__mro__ if cls is not object]
    for cls in sorted(parents, key=lambda cls: _place(cls.__name__)):
        parts += [f"### {_title(cls)}", "", *_methods(cls)]
    parts += ["## AsyncClient", "", *_paragraphs(AsyncClient)[:2]]
    yielding = [f"`{name}`" for name, method in _public(AsyncClient) if inspect.isasyncgenfunction(method)]
    parts += ["Each method has the arguments of `Client`'s and is awaited; these are iterated with `async for`:"]
    parts += [f"{', '.join(sorted(yielding))}.", ""]
    for cls in (ExternalTrial, Plot, Event):
        parts += [f"## {cls.__name__}", "", *_paragraphs(cls), *_attributes(cls), *_methods(cls)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _title(cls: type) -> str:
    """Return the heading of a class's methods: that of TITLES, else what its docstring says they are about."""
    about = re.match(r"The methods (?:about|on|for) ([^;.]+)", cls.__doc__ or "")
    return TITLES.get(cls.__name__) or (about[1][0].upper() + about[1][1:] if about else cls.__name__)


def _place(name: str) -> int:
    """Return where a class's methods stand: those that TITLES does not name come last."""
    return [*TITLES].index(name) if name in TITLES else len(TITLES)


def _public(cls: type) -> list[tuple[str, Any]]:
    """Return the public members that a class itself defines, with its `__init__`, in their order."""
    return [(name, member) for name, member in vars(cls).items() if name == "__init__" or name[0] != "_"]


def _paragraphs(cls: type) -> list[str]:
    return [line for paragraph in parse(cls.__doc__ or "").paragraphs for line in (paragraph, "")]


def _attributes(cls: type) -> list[str]:
    rows = parse(cls.__doc__ or "").sections.get("Attributes", [])
    return ["| attribute | is |", "|---|---|", *(f"| `{name}` | {_cell(words)} |" for name, words in rows), ""]


def _methods(cls: type) -> Iterator[str]:
    """Yield the lines of each method and property of a class that has a docstring of its own."""
    for name, member in _public(cls):
        function = member.fget if isinstance(member, property) else member
        if not inspect.isfunction(function) or not function.__doc__ or _is_generated(cls, name):
            continue
        doc = parse(function.__doc__)
        title = "Client" if name == "__init__" else name
        yield from [
            f"#### {title}",
            "",
            f"```python\n{_signature(title, function, isinstance(member, property))}\n```",
            "",
        ]
        for paragraph in doc.paragraphs:
            yield from [paragraph, ""]
        if arguments := doc.sections.get("Args"):
            yield from ["| argument | meaning |", "|---|---|"]
            yield from [*(f"| `{argument}` | {_cell(words)} |" for argument, words in arguments), ""]
        if raised := doc.sections.get("Raises"):
            yield from [*(f"- raises `{error}`: {words}" for error, words in raised), ""]


def _is_generated(cls: type, name: str) -> bool:
    """Return whether a constructor is for the client's own use, or a dataclass's."""
    return name == "__init__" and (cls.__name__ in ("ExternalTrial", "Plot") or hasattr(cls, "__dataclass_fields__"))


def _signature(title: str, function: Callable[..., Any], is_property: bool) -> str:
    """Return a call as its source has it, without `self`; defaults are values, not the names of constants."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    answer = ast.unparse(tree.returns).strip("'") if tree.returns else "Any"
    if is_property:
        return f"{title}: {answer}"
    nodes = {node.arg: node.annotation for node in ast.walk(tree.args) if isinstance(node, ast.arg)}
    arguments = [_argument(p, nodes[p.name]) for p in [*inspect.signature(function).parameters.values()][1:]]
    named = [p.kind for p in inspect.signature(function).parameters.values()][1:]
    if inspect.Parameter.KEYWORD_ONLY in named and inspect.Parameter.VAR_POSITIONAL not in named:
        arguments.insert(named.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returned = "" if title[0].isupper() else f" -> {answer}"
    line = f"{title}({', '.join(arguments)}){returned}"
    return line if len(line) <= 76 else f"{title}(\n    " + ",\n    ".join(arguments) + f",\n){returned}"


def _argument(parameter: inspect.Parameter, annotation: ast.expr | None) -> str:
    """Return an argument with its annotation and its default."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = f": {ast.unparse(annotation)}" if annotation else ""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}{kind}{default}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")
