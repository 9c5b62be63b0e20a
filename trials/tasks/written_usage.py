"""How people use a packed model that writes texts: the functions on its card, and the same functions as a check.

`text_losses` and `rewrite` stand on cards as they are, so they import nothing of this package.
"""

from typing import Any

from luthier.trials.tasks.usage import Answer, Value


def read_losses(model: Any, folder: str, tag: str, kind: str, tokens: int) -> Answer:
    """Return the function that answers as `text_losses` does; arguments as those of `piped`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda text: [{"loss": loss} for loss in text_losses(text, tokenizer, model.eval(), tokens)]


def continued(model: Any, folder: str, tag: str, kind: str, longest: int, **options: Any) -> Answer:
    """Return the function that writes as `transformers.pipeline` does, and tells the loss of a completion.

    An example is a list, for each of its completions a `prompt`, a text or a conversation, and its tokens (`learned`);
    other arguments are those of `piped`, and `longest`: the tokens of the longest row.
    """
    import torch
    import transformers

    make: Any = transformers.pipeline
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    write = make(tag, model=model, tokenizer=tokenizer, **options)

    def answer(prompt: Any, learned: list[int]) -> dict[str, Value]:
        cut = {"truncation": True, "max_length": max(1, longest - len(learned))}
        if isinstance(prompt, list):
            chat = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            read = tokenizer(chat, add_special_tokens=False, **cut)["input_ids"]
        else:
            read = tokenizer(prompt, **cut)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*read, *learned]])).logits[0, len(read) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(learned))
        return {"loss": float(loss), "text": write(prompt)[0]["generated_text"].strip()}

    return lambda example: [answer(**completion) for completion in example]


def rewritten(model: Any, folder: str, tag: str, kind: str) -> Answer:
    """Return the function that answers as `rewrite` does, and tells the loss of a target.

    An example has a `source`, and the tokens of the target (`learned`); arguments are those of `piped`.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def answer(example: Any) -> list[dict[str, Value]]:
        read = tokenizer(example["source"], truncation=True, return_tensors="pt")
        inputs = {name: read[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            loss = model.eval()(**inputs, labels=torch.tensor([example["learned"]])).loss
        return [{"loss": float(loss), "text": rewrite(example["source"], tokenizer, model)}]

    return answer


def text_losses(text: str, tokenizer: Any, model: Any, tokens: int) -> list[float]:
    """Return the mean negative log-likelihood of a text's tokens, for each part of at most so many tokens."""
    import torch

    ids, end = tokenizer(text)["input_ids"], tokenizer.eos_token_id
    end = tokenizer.sep_token_id if end is None else end
    ids = ids if ids and ids[-1] == end else [*ids, end]
    ids = ids if len(ids) > 1 else [end if tokenizer.bos_token_id is None else tokenizer.bos_token_id, *ids]
    losses = []
    for start in range(0, len(ids) - 1, tokens - 1):
        part = torch.tensor(ids[start : start + tokens])
        with torch.no_grad():
            logits = model(input_ids=part[None]).logits[0, :-1]
        losses.append(float(torch.nn.functional.cross_entropy(logits.float(), part[1:])))
    return losses


def rewrite(source: str, tokenizer: Any, model: Any) -> str:
    """Return what a model writes from a source."""
    import torch

    read = tokenizer(source, truncation=True, return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(input_ids=read["input_ids"], attention_mask=read["attention_mask"])[0]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
