"""Conversations: lists of messages, read and checked before any chat template sees them.

The targets of tasks that learn an assistant's answers read a column with it. Each fault is a BadData that names file,
row, message and cure. What only a template knows (whether it takes tools, say) is found when it is applied.
"""

import json
from collections.abc import Sequence
from typing import Any

from luthier.studies.syntax import json_fault
from luthier.trials.data.columns import text_fault
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

Message = dict[str, Any]  # role and content, and what a template may read beside them
ASSISTANT = "assistant"
_FIRST = ("system", "developer")
_ROLES = (*_FIRST, "user", ASSISTANT, "tool")
_OTHER_NAMES = {role: role for role in _ROLES} | {
    "human": "user",
    "gpt": ASSISTANT,
    "bot": ASSISTANT,
    "model": ASSISTANT,
    "ai": ASSISTANT,
}
"""Roles as other formats name them -> ours."""


class Prompt(list[Message]):
    """Messages up to an answer, which know the name of their row, for messages about chat templates.

    Args:
        messages: In order.
        row: The row as people find it, with its table.
    """

    def __init__(self, messages: Sequence[Message], row: str) -> None:
        super().__init__(messages)
        self.row = row


def read_prompts(table: Table, column: str) -> list[list[Message]]:
    """Return each conversation up to its last answer: what the model reads. Raises BadData."""
    found = enumerate(_conversations(table, column))
    return [Prompt(messages[:-1], f"{table.name}, {table.where(row)}") for row, messages in found]


def read_answers(table: Table, column: str) -> list[str]:
    """Return the last answer of each conversation: what the model learns to write. Raises BadData."""
    return [str(messages[-1]["content"]) for messages in _conversations(table, column)]


def read_chats(table: Table, column: str) -> list[list[Message]]:
    """Return each conversation whole. Raises BadData."""
    return _conversations(table, column)


def answer_places(messages: Sequence[Message]) -> list[int]:
    """Return the numbers of the assistant's messages that say something; those that call tools alone are context."""
    said = (place for place, message in enumerate(messages) if message["role"] == ASSISTANT)
    return [place for place in said if str(messages[place]["content"]).strip()]


def to_be_answered(value: Any) -> list[Message]:
    """Return a cell's messages without its last answer, if it ends with one. Raises ValueError: the end of a sentence.

    Args:
        value: Messages, or JSON of them, that end with a message to be answered, or with its answer.
    """
    messages = _messages(value)
    if messages[-1]["role"] == ASSISTANT:
        messages = messages[:-1]
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise ValueError("holds no message to be answered; end it with one of the user")
    _check_turns([message["role"] for message in messages])
    return messages


def _conversations(table: Table, column: str) -> list[list[Message]]:
    found = []
    for row, value in enumerate(table.columns[column]):
        try:
            found.append(_conversation(value))
        except ValueError as problem:
            raise BadData(f"{table.name}, {table.where(row)}: column {column!r} {problem}.", *table.path) from None
    return found


def _conversation(value: Any) -> list[Message]:
    """Return a cell as messages that end with an answer. Raises ValueError, whose text says what is wrong."""
    messages = _messages(value)
    _check_order([message["role"] for message in messages])
    if fault := text_fault(messages[-1]["content"], "conversation"):
        raise ValueError(f"ends with an answer that {fault}")
    return messages


def _messages(value: Any) -> list[Message]:
    """Return a cell as messages, one at least. Raises ValueError, whose text says what is wrong."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # JSON in the cell of a csv file
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"holds a list that is no JSON ({json_fault(error)}); write it with json.dumps") from None
        except RecursionError:
            raise ValueError("holds lists within lists without end; write one list of messages") from None
    if not isinstance(value, list):
        raise ValueError(
            f"holds {type(value).__name__} where a list of messages is wanted, such as "
            '[{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]; write the data as jsonl'
        )
    if not value:
        raise ValueError("holds no messages; remove the row")
    return [_message(number, message) for number, message in enumerate(value, 1)]


def _message(number: int, message: Any) -> Message:
    """Return a message with a known role and its content as text; keys without a value are left out."""
    if not isinstance(message, dict):
        raise ValueError(f"holds {type(message).__name__} as message {number}; write {{role: ..., content: ...}}")
    if "role" not in message and {"from", "value"} <= set(message):
        raise ValueError(f'names the parts of message {number} "from" and "value"; call them "role" and "content"')
    role = message.get("role")
    if role is None:
        keys = ", ".join(map(str, list(message)[:5])) or "none"
        raise ValueError(f"gives message {number} no role; its keys are {keys}: write role and content")
    if role not in _ROLES:
        known = _OTHER_NAMES.get(str(role).strip().lower())
        cure = f"write {known!r}" if known else f"it is one of {', '.join(_ROLES)}"
        raise ValueError(f"gives message {number} the role {role!r}; {cure}")
    content = _content(number, message.get("content"))
    if not content.strip() and not (role == ASSISTANT and message.get("tool_calls")):
        raise ValueError(f"has no content in message {number} ({role}); fill it in or remove the row")
    if fault := text_fault(content or "-", "row"):
        raise ValueError(f"has a message, number {number}, that {fault}")
    further = {key: inner for key, inner in message.items() if inner is not None and key not in ("role", "content")}
    return {"role": role, "content": content, **further}


def _content(number: int, content: Any) -> str:
    """Return a message's content; parts of text are joined."""
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        other = {str(part.get("type", "text")) for part in content} - {"text"}
        if other:
            told = ", ".join(sorted(other))
            raise ValueError(f"has {told} in message {number}; conversations are text alone: remove the row")
        texts = [part.get("text") for part in content]
        for part, text in enumerate(texts, 1):
            if not isinstance(text, str):
                kind = "nothing" if text is None else type(text).__name__
                raise ValueError(f"holds {kind} as the text of part {part} of message {number}; write it as text")
        return "".join(texts)
    if not isinstance(content, str):
        raise ValueError(f"holds {type(content).__name__} as the content of message {number}; write it as text")
    return content


def _check_order(roles: list[str]) -> None:
    """Raise ValueError where roles do not take turns, or no answer is at the end."""
    if ASSISTANT not in roles:
        raise ValueError("has no message of the assistant, so nothing to learn; add an answer or remove the row")
    if roles[-1] != ASSISTANT:
        raise ValueError(f"ends with a message of the role {roles[-1]}; remove what follows the last answer")
    _check_turns(roles)


def _check_turns(roles: list[str]) -> None:
    """Raise ValueError where roles do not take turns."""
    before = ""
    for number, role in enumerate(roles, 1):
        if role in _FIRST and number > 1:
            raise ValueError(f"has the role {role} in message {number}; it comes first, or not at all")
        if role == ASSISTANT and before in ("", *_FIRST):
            raise ValueError(f"begins with an answer (message {number}); put the user's message before it")
        if role == "tool" and before not in (ASSISTANT, "tool"):
            raise ValueError(f"has a tool's message {number} that follows no call of the assistant")
        if role == before and role != "tool":
            raise ValueError(f"has two messages of the role {role} in turn (number {number}); join them into one")
        before = role
