"""How people use a packed model that tags words: the function on its card, and the same function as a check.

`tag_words` stands on the cards of token classification as it is, so it imports nothing of this package.
"""

from typing import Any

from luthier.trials.tasks.usage import Answer


def tagged(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `tag_words` does; arguments as those of `piped`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda words: tag_words(words, tokenizer, model.eval(), **options)


def tag_words(words: list[str], tokenizer: Any, model: Any, space: str = "") -> list[dict[str, float]]:
    """Return the probability of each tag, for each word: that of the word's first token.

    A sentence that is too long for the model is read in parts, so that every word gets a tag.
    """
    import torch

    words = [space + word for word in words]
    for i, word in enumerate(words):
        if not tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]:
            words[i] = tokenizer.unk_token or "?"  # the tokenizer drops every character of this word
    parts = tokenizer(words, is_split_into_words=True, truncation=True, return_overflowing_tokens=True)
    names = [name for name in tokenizer.model_input_names if name in parts]
    tags, last = [], None
    for i in range(len(parts["input_ids"])):
        with torch.no_grad():
            logits = model(**{name: torch.tensor([parts[name][i]]) for name in names}).logits[0]
        for scores, word in zip(logits.softmax(-1).tolist(), parts.word_ids(i), strict=True):
            if word is not None and word != last:  # a word's first token
                tags.append({model.config.id2label[k]: score for k, score in enumerate(scores)})
                last = word
    return tags
