"""Rows of a causal language model: texts in blocks, prompts with completions, conversations by a chat template.

Text generation encodes its splits with it. A completion is cut only where it alone is too long, else the start of its
prompt; of a text that is learned as a whole no token is lost.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import Any

from luthier.studies.text import one_line
from luthier.trials.data.conversations import Message, Prompt, answer_places
from luthier.trials.data.splits import Split
from luthier.trials.data.text_targets import COMPLETION, MESSAGES, TEXT
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks import written
from luthier.trials.tasks.token_rows import batches, blocks, packed

FORMS = {COMPLETION: "prompt", MESSAGES: "messages"}
"""What the rows of a split are -> the role by which it is known."""
EXCERPT = 40
"""Characters of a conversation in a sentence."""


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around a text.

    Attributes:
        before: Those before it.
        behind: Those behind it.
    """

    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: Any) -> "Frame":
        """Find the special tokens around a text."""
        whole = list(tokenizer("a", verbose=False)["input_ids"])
        plain = list(tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return cls(tuple(whole[:start]), tuple(whole[start + len(plain) :]))
        return cls()

    def around(self, ids: Sequence[int], room: int) -> list[int]:
        """Return the end of a text's tokens in the frame: at most `room` tokens, but one of the text at least."""
        kept = max(1, room - len(self.before) - len(self.behind))
        return [*self.before, *ids[-kept:], *self.behind]


@dataclass(frozen=True)
class Pair:
    """A prompt and its completion as tokens, before any is cut.

    Attributes:
        prompt: Without the frame.
        completion: With the token that ends it.
    """

    prompt: Sequence[int]
    completion: Sequence[int]


@dataclass(frozen=True)
class Rows:
    """The rows of a split, and what is learned of each.

    Attributes:
        ids: The tokens of each row.
        targets: Those of `EncodedTokens`; and where completions are learned, of each row the `prompts`, without what is
            around them, and the `frames`.
        offsets: The number of rows before each example, and last the number of all; None: each example is one row.
    """

    ids: list["array[int]"]
    targets: dict[str, list[Any]]
    offsets: list[int] | None = None


@dataclass(frozen=True)
class CausalRows:
    """Makes rows of tokens.

    Attributes:
        tokenizer: It makes the tokens.
        end: The token that ends a text.
        start: The token before a text that has no other token to be predicted from.
        frame: What is around a prompt.
    """

    tokenizer: Any
    end: int
    start: int
    frame: Frame

    def blocks(self, split: Split, room: int) -> Rows:
        """Return the rows of texts that are learned as a whole."""
        ids: list[array[int]] = []
        offsets = [0]
        for whole in self.texts(split):
            ids += map(packed, blocks(whole, room))
            offsets.append(len(ids))
        targets: dict[str, list[Any]] = {"labels": [row[1:] for row in ids], "first": [0] * len(ids)}
        return Rows(ids, targets, None if len(ids) == len(split) else offsets)

    def completions(self, split: Split, room: int) -> Rows:
        """Return the rows of prompts with completions. Raises BadData where the chat template refuses one."""
        ids, labels, first, prompts = list[Any](), list[Any](), list[int](), list[Any]()
        answers = [[target] if isinstance(target, str) else target for target in split.targets]
        for pair in self.pairs(split):
            row, start = self.fitted(pair, room)
            ids.append(packed(row))
            labels.append(ids[-1][start:])
            first.append(start - 1)
            prompts.append(packed(pair.prompt[-room:]))
        frames = [self.frame] * len(ids)
        offsets = [0, *accumulate(map(len, answers))]
        texts = list(chain.from_iterable(answers))
        return Rows(
            ids,
            {"labels": labels, "first": first, "prompts": prompts, "frames": frames, "texts": texts},
            None if len(ids) == len(split) else offsets,
        )

    def lengths(self, split: Split, poll: Callable[[], None]) -> tuple[list[int], list[int]]:
        """Return the tokens of each whole row, and the least room in which nothing that is learned is cut.

        Args:
            split: Some examples.
            poll: Called after each.

        Raises:
            BadData: The chat template refuses a conversation.
        """
        lengths, learned = list[int](), list[int]()
        if form_of(split) == TEXT:
            for ids in self.texts(split):
                lengths.append(len(ids))
                poll()
            return lengths, lengths
        around = len(self.frame.before) + len(self.frame.behind)
        pairs = self.pairs(split)
        for target in split.targets:
            own = list(islice(pairs, 1 if isinstance(target, str) else len(target)))  # one for each answer
            lengths.append(around + max(len(pair.prompt) + len(pair.completion) for pair in own))
            learned.append(around + 1 + max(len(pair.completion) for pair in own))
            poll()
        return lengths, learned

    def texts(self, split: Split) -> Iterator[list[int]]:
        """Yield the tokens of each text that is learned as a whole, two at least."""
        values = split.columns["text"]
        for rows in batches([values]):
            for ids in self.tokenizer(values[rows], truncation=False, verbose=False)["input_ids"]:
                whole = self._ended(list(ids))
                yield whole if len(whole) > 1 else [self.start, *whole]

    def pairs(self, split: Split) -> Iterator[Pair]:
        """Yield prompt and completion of each row, or of each answer. Raises BadData where a template refuses one."""
        if form_of(split) != MESSAGES:
            for rows in batches([split.columns["prompt"], split.targets]):
                prompts, completions = self._plain(split.columns["prompt"][rows]), self._plain(split.targets[rows])
                yield from (Pair(*pair) for pair in zip(prompts, map(self._ended, completions), strict=True))
            return
        for messages, target in zip(split.columns["messages"], split.targets, strict=True):
            for read, answer in turns(messages, target):
                row = messages.row if isinstance(messages, Prompt) else ""
                prompt, completion = self._rendered(read, answer, row)
                ids, learned = self._plain([prompt, completion])
                yield Pair(ids, self._turned(learned))

    def _rendered(self, messages: list[Message], answer: str, row: str) -> tuple[str, str]:
        """Return prompt and answer of a conversation as its template writes them; `row`: its name, or ""."""
        prompt = self._applied(messages, row, add_generation_prompt=True)
        whole = self._applied([*messages, {"role": "assistant", "content": answer}], row, add_generation_prompt=False)
        if whole.startswith(prompt) and len(whole) > len(prompt):
            return prompt, whole[len(prompt) :]
        return prompt, answer  # a template that begins answers with what it does not keep, such as a thought

    def _applied(self, messages: list[Message], row: str, add_generation_prompt: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=add_generation_prompt
                )
            )
        except Exception as error:  # a template's own code raises what it likes
            begin = next((str(message["content"]) for message in messages if message["content"]), "")
            text = f"{row}: the" if row else "The"
            text += f" model's chat template refuses a conversation that begins {one_line(begin)[:EXCERPT]!r}: "
            text += f"{one_line(error).rstrip('.')}. Change its messages or remove the row, or choose another model."
            raise BadData(text, "dataset", "source") from None

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of some texts without special ones around them."""
        found = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [list(ids) for ids in found["input_ids"]]

    def _ended(self, ids: list[int]) -> list[int]:
        """Return tokens with the one that ends them, once."""
        return ids if ids and ids[-1] == self.end else [*ids, self.end]

    def _turned(self, ids: list[int]) -> list[int]:
        """Return an answer's tokens up to the end token that its template writes, or with one behind them."""
        if self.end in ids:
            return ids[: len(ids) - ids[::-1].index(self.end)]
        return [*ids, self.end]

    def fitted(self, pair: Pair, room: int) -> tuple[list[int], int]:
        """Return a row of at most `room` tokens, and the place of its first learned token.

        Args:
            pair: Prompt and completion.
            room: Two tokens at least. A completion that is too long loses its end.
        """
        least = len(self.frame.before) + len(self.frame.behind) + 1
        completion = pair.completion[: max(1, room - least)]
        prompt = self.frame.around(pair.prompt, room - len(completion)) or [self.start]
        return [*prompt, *completion], len(prompt)


def turns(messages: list[Message], target: str | Sequence[str]) -> list[tuple[list[Message], str]]:
    """Return each answer of a conversation that is learned, with what is read before it.

    Args:
        messages: Those before the last answer.
        target: The last answer, or all of them in order.
    """
    if isinstance(target, str):
        return [(messages, target)]
    prompts = [*(messages[:place] for place in answer_places(messages)), messages]
    return list(zip(prompts, target, strict=True))


def causal_rows(pretrained: Pretrained, split: Split) -> CausalRows:
    """Return what makes rows of a split for a model, whose settings for writing hold the token that ends a text."""
    tokenizer = pretrained.processor
    end = written.end_token(pretrained)
    assert end is not None, "the model was loaded with one"
    start = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    # Around a conversation its template writes what there is.
    return CausalRows(tokenizer, end, start, Frame() if form_of(split) == MESSAGES else Frame.of(tokenizer))


def form_of(split: Split) -> str:
    """Return what the rows of a split are."""
    return next((form for form, role in FORMS.items() if role in split.columns), TEXT)
