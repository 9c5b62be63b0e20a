"""Why a text is no YAML or no JSON, in words for people: where, what is wrong there, and the cure.

The parsers' own texts speak of tokens, nodes and delimiters. `markup` asks for documents and messages, the readers of
data for their files. A text of a parser that is not known here becomes a sentence that is true of all of them.
"""

import json

import yaml

QUOTE = "put quotes around a text that holds one"
_YAML = {  # what libyaml says -> what is wrong, and the cure
    "mapping values are not allowed in this context": f"a second colon, or lines that are indented alike: {QUOTE}",
    "mapping keys are not allowed in this context": f"a question mark where none can be: {QUOTE}",
    "block sequence entries are not allowed in this context": "a list begins behind its key: put each - on a new line",
    "did not find expected key": "no key stands here: indent it as its neighbours, and close quotes above",
    "did not find expected '-' indicator": "the list does not go on here: begin with - as above, or indent less",
    "did not find expected ',' or ']'": "a list is not closed: a comma or ] is missing before this place",
    "did not find expected ',' or '}'": "a mapping is not closed: a comma or } is missing before this place",
    "did not find expected node content": "a value is missing here, or a bracket is not closed",
    "did not find expected <document start>": "the text goes on after its end: begin with one mapping, key: value",
    "could not find expected ':'": "a colon is missing after the key",
    "found unexpected end of stream": "quotes are not closed before the end",
    "found unexpected document indicator": "quotes are not closed before --- or ...",
    "found character that cannot start any token": "a tab, @, ` or % begins a value: use spaces, and quote a text",
    "found a tab character that violates indentation": "a tab is no indentation: use spaces",
    "found a tab character where an indentation space is expected": "a tab is no indentation: use spaces",
    "found unknown escape character": "an unknown \\ in double quotes: write \\\\, or use single quotes",
    "did not find expected hexdecimal number": "a \\x or \\u without its digits: write \\\\, or use single quotes",
    "did not find expected alphabetic or numeric character": f"& or * begins a value without a name: {QUOTE}",
    "found undefined tag handle": f"! begins a tag that is not known: {QUOTE}",
    "found undefined tag": f"! begins a tag that is not known: {QUOTE}",
}
_JSON = {  # what Python's reader says -> the same
    "Expecting ':' delimiter": "a colon is missing after the key",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing before this place",
    "Expecting value": "a value is missing; a text needs double quotes, and no comma stands before a bracket",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing; no comma stands before a "
    "bracket",
    "Illegal trailing comma before end of object": "no comma stands before a bracket; remove it",
    "Illegal trailing comma before end of array": "no comma stands before a bracket; remove it",
    "Extra data": "the text goes on after its end",
    "Unterminated string starting at": "quotes are not closed",
    "Invalid control character at": "a line break or tab inside quotes: write \\n or \\t",
    "Invalid \\escape": "an unknown \\ inside quotes: write \\\\",
    "Invalid \\uXXXX escape": "a \\u without its four digits: write \\\\u",
}


def yaml_fault(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong with a text, as `line 2, column 5: a colon is missing after the key`."""
    if isinstance(error, yaml.reader.ReaderError):
        line, column = _place(text, _first_unreadable(text))
        return f"line {line}, column {column}: it holds control characters; remove them, and save it as UTF-8 text"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = _YAML.get(
        str(getattr(error, "problem", "")), "it is not written as YAML: check its colons, quotes and brackets"
    )
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    begun = getattr(error, "context_mark", None)
    if begun is not None and mark is not None and begun.line < mark.line and "closed" in problem:
        problem += f"; it begins in line {begun.line + 1}"
    return f"{where}{problem}"


def json_fault(error: Exception) -> str:
    """Return what is wrong with a text, as `line 1, column 6: a colon is missing after the key`."""
    if isinstance(error, RecursionError):
        return "its brackets are nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        problem = _JSON.get(error.msg, "it is not written as JSON: check its commas, quotes and brackets")
        return f"line {error.lineno}, column {error.colno}: {problem}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no UTF-8 text; save it as UTF-8"
    return "a number has too many digits" if "digits" in str(error) else str(error)


def _first_unreadable(text: str) -> int:
    """Return the position of the first character that YAML does not allow."""
    allowed = "\t\n\r\x85\ufeff"
    ranges = (("\x20", "\x7e"), ("\xa0", "\ud7ff"), ("\ue000", "\ufffd"), ("\U00010000", "\U0010ffff"))
    bad = (i for i, c in enumerate(text) if c not in allowed and not any(low <= c <= high for low, high in ranges))
    return next(bad, 0)


def _place(text: str, position: int) -> tuple[int, int]:
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
