"""Texts that models write: how a model is set up for it, in batches with a key-value cache, and how text ends.

Tasks with written texts call it. Nothing of a checkpoint's own generation settings but its special tokens plays a part:
sampling, penalties and suppressed tokens would make scores a matter of the checkpoint.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from luthier.studies.strategy import Generation
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.scoring import NO_TOKEN

CLOSE = 1e-3
"""Relative difference of logits with padding on the left and without: a model that does not know it differs by far."""
_TOKENS = ("bos_token_id", "decoder_start_token_id", "forced_bos_token_id")


def end_token(pretrained: Pretrained) -> int | None:
    """Return the token that ends a text, or None where neither tokenizer nor model has one."""
    tokenizer = pretrained.processor
    config: Any = pretrained.model.config.get_text_config()
    own = getattr(config, "eos_token_id", None)
    candidates = (tokenizer.eos_token_id, own[0] if isinstance(own, list) and own else own, tokenizer.sep_token_id)
    return next((int(token) for token in candidates if isinstance(token, int)), None)


def set_up(pretrained: Pretrained, name: str) -> None:
    """Give a model generation settings of our own: special tokens, and the most likely token each time.

    Args:
        pretrained: A model that writes, and its tokenizer.
        name: The model as the user wrote it, for error messages.

    Raises:
        BadData: The checkpoint lacks its output layer, or there is no token that ends a text.
    """
    if pretrained.fresh:
        lacks = ", ".join(sorted(pretrained.fresh)[:3])
        text = f"{name} lacks {lacks}, so it cannot write; choose a model that was trained to write texts."
        raise BadData(text, "model")
    end = end_token(pretrained)
    if end is None:
        text = f"{name}: its tokenizer has no token that ends a text, so the model could not learn to stop; save it "
        raise BadData(text + "with an eos_token.", "model")
    own: Any = pretrained.model.generation_config
    ends = getattr(own, "eos_token_id", None)
    further = [token for token in (ends if isinstance(ends, list) else [ends]) if isinstance(token, int)]
    kept = {name: getattr(own, name, None) for name in _TOKENS}
    pretrained.model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        **{name: token for name, token in kept.items() if token is not None},
        eos_token_id=list(dict.fromkeys([end, *further])),
        pad_token_id=pretrained.processor.pad_token_id,
        do_sample=False,
        use_cache=True,
    )


def settings(model: Any, generation: Generation) -> GenerationConfig:
    """Return the settings by which a model writes."""
    found: GenerationConfig = copy.deepcopy(model.generation_config)
    found.update(  # type: ignore[no-untyped-call]
        max_new_tokens=generation.max_new_tokens, num_beams=generation.num_beams, do_sample=False, use_cache=True
    )
    return found


def continue_prompts(
    model: Any, prompts: Sequence[Sequence[int]], generation: GenerationConfig, may_pad: bool
) -> torch.Tensor:
    """Return what a model writes behind each prompt: (prompts, tokens), `NO_TOKEN` behind the last one.

    Prompts of several lengths are padded on the left where the model gives the same logits with that padding; else
    those of one length go through it together.

    Args:
        model: In evaluation mode.
        prompts: The tokens of each prompt, one or more.
        generation: The settings.
        may_pad: Padding may be tried.
    """
    groups = _groups(model, prompts, generation, may_pad)
    parts: dict[int, torch.Tensor] = {}
    for rows in groups:
        written = _write(model, [prompts[row] for row in rows], generation)
        parts |= dict(zip(rows, written, strict=True))
    longest = max(len(part) for part in parts.values())
    found = torch.full((len(prompts), longest), NO_TOKEN, device=model.device)
    for row, part in parts.items():
        found[row, : len(part)] = part
    return found


def _groups(
    model: Any, prompts: Sequence[Sequence[int]], generation: GenerationConfig, may_pad: bool
) -> list[list[int]]:
    """Return the numbers of prompts that go through the model together."""
    lengths = [len(prompt) for prompt in prompts]
    if len(set(lengths)) == 1 or (may_pad and _knows_padding(model, prompts, generation)):
        return [list(range(len(prompts)))]
    return [[row for row, own in enumerate(lengths) if own == length] for length in sorted(set(lengths))]


def _knows_padding(model: Any, prompts: Sequence[Sequence[int]], generation: GenerationConfig) -> bool:
    """Return whether the shortest prompt has the same next token's logits beside the longest as alone."""
    once: GenerationConfig = copy.deepcopy(generation)
    once.update(  # type: ignore[no-untyped-call]
        max_new_tokens=1, num_beams=1, output_logits=True, return_dict_in_generate=True
    )
    short, long = min(prompts, key=len), max(prompts, key=len)
    alone, beside = (
        model.generate(**_padded(model, rows, once), generation_config=once).logits[0][0].float()
        for rows in ([short], [short, long])
    )
    return bool((alone - beside).abs().max() <= CLOSE * alone.abs().max())


def _write(model: Any, prompts: Sequence[Sequence[int]], generation: GenerationConfig) -> torch.Tensor:
    """Return the tokens behind each prompt, (prompts, tokens)."""
    inputs = _padded(model, prompts, generation)
    whole = model.generate(**inputs, generation_config=generation)
    return ended(whole[:, inputs["input_ids"].shape[1] :], generation)


def ended(written: torch.Tensor, generation: GenerationConfig) -> torch.Tensor:
    """Return written tokens, (rows, tokens), with `NO_TOKEN` in place of the first end token and what follows it."""
    ends: Any = generation.eos_token_id
    stops = torch.tensor(ends if isinstance(ends, list) else [ends], device=written.device)
    behind = torch.isin(written, stops).cumsum(1) > 0
    return written.masked_fill(behind, NO_TOKEN)


def _padded(model: Any, prompts: Sequence[Sequence[int]], generation: GenerationConfig) -> dict[str, torch.Tensor]:
    """Return prompts as inputs that are padded on the left, on the model's device."""
    longest = max(map(len, prompts))
    pad = generation.pad_token_id
    ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(mask, device=model.device),
    }
