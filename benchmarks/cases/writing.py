"""Cases whose answers are texts: a small GPT-2 and a small BART with random weights."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from cases.case import Case, Features, Official, Row, saved, table, with_head

WORDS = 2_000
LONGEST = 96
PAD, START, END, IGNORED = 0, 1, 2, -100
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
PARAMS = {"learning_rate": 1e-3, "batch_size": 16, "epochs": 1, "max_length": LONGEST}


def byte_pairs(texts: Iterable[str], words: int = WORDS) -> Any:
    """Return a byte-level BPE tokenizer made of texts, each of which it ends with `</s>`."""
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(SPECIAL.values())
    trainer = trainers.BpeTrainer(
        vocab_size=words, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    pairs.train_from_iterator(texts, trainer)
    pairs.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=pairs,
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"],
        **SPECIAL,
    )


def gpt2(folder: Path) -> Path:
    """Save a GPT-2 of 4 blocks."""
    config = transformers.GPT2Config(
        vocab_size=WORDS, n_positions=LONGEST, n_embd=192, n_layer=4, n_head=4, bos_token_id=START,
        eos_token_id=END, pad_token_id=PAD, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    texts = (row["text"] for row in table("wikitext.jsonl", ["text"])[:500])
    return saved(folder, lambda: transformers.GPT2LMHeadModel(config), byte_pairs(texts))


def bart(folder: Path) -> Path:
    """Save a BART of 3 + 3 blocks."""
    config = transformers.BartConfig(
        vocab_size=WORDS, d_model=192, max_position_embeddings=LONGEST, dropout=0.0, forced_eos_token_id=None,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_layers=3, decoder_layers=3,
        encoder_ffn_dim=768, decoder_ffn_dim=768, pad_token_id=PAD, bos_token_id=START, eos_token_id=END,
        decoder_start_token_id=END, forced_bos_token_id=None,
    )  # fmt: skip
    texts = (text for row in table("tatoeba.jsonl", ["source", "target"])[:2000] for text in row.values())
    return saved(folder, lambda: transformers.BartForConditionalGeneration(config), byte_pairs(texts))


def paragraphs(rows: int) -> list[Row]:
    """Return the beginnings of encyclopedia paragraphs, which are one row of the model each."""
    return [{"text": " ".join(row["text"].split()[:30])[:160]} for row in table("wikitext.jsonl", ["text"])[:rows]]


def translations(rows: int) -> list[Row]:
    """Return English sentences with their Spanish."""
    return table("tatoeba.jsonl", ["source", "target"], 2 * LONGEST)[:rows]


def likelihoods(outputs: Any, labels: torch.Tensor, shift: bool) -> torch.Tensor:
    """Return the negative log likelihood of each row's tokens, and their number: (rows, 2).

    Without this, as in run_clm.py, the mean of batches' means is the loss, and all logits of the split are kept.
    """
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    logits, labels = (logits[:, :-1], labels[:, 1:]) if shift else (logits, labels)
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return torch.stack([losses.sum(1), (labels != IGNORED).sum(1)], 1)


def _loss(predicted: Any) -> float:
    return float(predicted[0][:, 0].sum() / predicted[0][:, 1].sum())


def _continued(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_clm.py, with a row for each text in place of blocks of joined ones."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer([row["text"] for row in training + validation], truncation=True)["input_ids"]
    made: Features = [{"input_ids": one} for one in ids]
    return Official(
        make=with_head("AutoModelForCausalLM", folder),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processor=tokenizer,
        score=_loss,
        reduce=partial(likelihoods, shift=True),
    )


def _translated(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_translation.py with the loss in place of written texts; generation.py has these."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = training + validation
    found = tokenizer([row["source"] for row in rows], text_target=[row["target"] for row in rows], truncation=True)
    made: Features = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    return Official(
        make=with_head("AutoModelForSeq2SeqLM", folder),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=transformers.DataCollatorForSeq2Seq(tokenizer, model),
        processor=tokenizer,
        score=_loss,
        reduce=partial(likelihoods, shift=False),
    )


CASES = {
    "text-generation": Case("text-generation", "loss", paragraphs, gpt2, _continued, ("wikitext",), PARAMS, 96, 48),
    "text2text-generation": Case(
        "text2text-generation", "loss", translations, bart, _translated, ("tatoeba",), PARAMS, 160, 64
    ),
}
