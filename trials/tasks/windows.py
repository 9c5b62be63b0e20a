"""Questions on texts that may be longer than a model's inputs: read in windows that overlap.

`QuestionAnswering` makes its inputs with `in_windows`. That function and `answer_question` stand on the cards of its
models as they are, so they import nothing of this package.
"""

from typing import Any

from luthier.trials.tasks.usage import HERE, Answer, Usage, source


def in_windows(
    questions: list[str], contexts: list[str], tokenizer: Any, longest: int, shared: int | None = None
) -> Any:
    """Return questions and contexts as rows of at most `longest` tokens.

    A question that leaves too few for its context is cut, at most to half of them. A longer context goes on in further
    rows, which overlap by `shared` tokens, or by a third of `longest`; by fewer where a question leaves too few.
    """
    room = longest - tokenizer.num_special_tokens_to_add(pair=True)
    questions = [question.strip() for question in questions]
    parts = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for i, places in enumerate(parts["offset_mapping"]):
        if len(places) > room // 2:
            context = tokenizer(contexts[i], add_special_tokens=False, verbose=False)["input_ids"]
            most = max(room // 2, room - len(context))
            if len(places) > most:
                questions[i] = questions[i][: places[most - 1][1] if most else 0]
    return tokenizer(
        questions,
        contexts,
        truncation="only_second",
        max_length=longest,
        stride=max(0, min(longest // 3 if shared is None else shared, room - room // 2 - 9)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )


def answer_question(question: str, context: str, tokenizer: Any, model: Any) -> dict[str, Any]:
    """Return the part of the context that answers the question: its text, its first character's place, its score.

    The score is the sum of two logits. Where the model was trained with questions that have no answer, the text may be
    empty; the place is -1 then, and the score that of no answer. How long contexts are read and how long an answer may
    be stands in the model's configuration.
    """
    import torch

    config = model.config
    rows = in_windows([question], [context], tokenizer, tokenizer.model_max_length, config.doc_stride)
    best, nothing = (-float("inf"), 0, 0), float("inf")  # score, first and last character; score of no answer
    for i, ids in enumerate(rows["input_ids"]):
        inputs = {name: torch.tensor([rows[name][i]]) for name in tokenizer.model_input_names if name in rows}
        with torch.no_grad():
            output = model(**inputs)
        first, last = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        null = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
        nothing = min(nothing, first[null] + last[null])
        places = [k for k, part in enumerate(rows.sequence_ids(i)) if part == 1]  # the tokens of the context
        for n, start in enumerate(places):
            end = max(places[n : n + config.max_answer_length], key=last.__getitem__)
            span = (rows["offset_mapping"][i][start][0], rows["offset_mapping"][i][end][1])
            best = max(best, (first[start] + last[end], *span), key=lambda found: found[0])
    score, start, end = best
    if config.no_answer and nothing - config.null_score_diff_threshold > score:
        return {"answer": "", "start": -1, "score": nothing}
    text = context[start:end]
    return {"answer": text.strip(), "start": start + len(text) - len(text.lstrip()), "score": score}


def asked(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `answer_question` does; arguments as those of `piped`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda example: [answer_question(**example, tokenizer=tokenizer, model=model.eval(), **options)]


def usage_in_windows(tag: str, tokenizer: Any, unanswerable: bool) -> Usage:
    """Return how people use a packed model that answers questions.

    Args:
        tag: The task's name.
        tokenizer: As it is saved with the model, with the longest input.
        unanswerable: The model may say that there is no answer.
    """
    notes = [
        f"A context that does not fit into {tokenizer.model_max_length} tokens with its question is read in "
        "windows that overlap, as for the scores above.",
    ]
    if unanswerable:
        notes.append("An empty answer means that the context holds none.")
    return Usage(
        tag=tag,
        auto="AutoModelForQuestionAnswering",
        kind="tokenizer",
        processor=tokenizer,
        names=("answer", "start", "score"),
        code=f"""\
from typing import Any

from transformers import AutoModelForQuestionAnswering, AutoTokenizer


{source(in_windows)}


{source(answer_question)}


tokenizer = AutoTokenizer.from_pretrained({HERE!r})
model = AutoModelForQuestionAnswering.from_pretrained({HERE!r}).eval()
print(answer_question("Where does Anna live?", "Anna has lived in Rome since May.", tokenizer, model))
""",
        notes=tuple(notes),
        function=asked,
    )
