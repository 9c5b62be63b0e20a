"""Hand-made inputs of every kind, and what the prefix cache needs to know about a model that takes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers as hf

from luthier.trials.data.encoded import Encoded
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.context import PrefixContext

VOCABULARY = 96
LENGTHS = (4, 7, 5, 9, 3, 8, 6, 9, 5, 4, 7, 6)
ANSWER_LENGTHS = (5, 3, 6, 2, 7, 4, 8, 5, 3, 6, 2, 4)
"""Of the decoder's inputs; they do not go with those of the encoder."""


@dataclass(frozen=True)
class Model:
    """A tiny model of one task.

    Attributes:
        auto: The class of transformers that makes it of a configuration.
        config: Makes the configuration.
        encoded: Makes a split of its inputs.
        outputs: The names of the model's outputs that count.
        answers: The input that has a token for each token of the outputs; None: outputs have no padding.
    """

    auto: Any
    config: Callable[[], Any]
    encoded: Callable[[], Encoded]
    outputs: tuple[str, ...] = ("logits",)
    answers: str | None = None

    def build(self, seed: int = 0) -> Any:
        """Return the model in evaluation mode; the same seed gives the same weights, so large that each one matters."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            config = self.config()
            config.use_cache = False
            model = self.auto.from_config(config).eval()
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=parameter[0].numel() ** -0.5)
            return model


def collate(encoded: Encoded, rows: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return a batch of some rows; lists are padded to the longest, tensors are stacked."""
    batch = {}
    for name, values in encoded.columns.items():
        chosen = [torch.as_tensor(values[i]) for i in rows]
        pad = encoded.padding.get(name)
        batch[name] = (
            torch.stack(chosen)
            if pad is None
            else torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=pad)
        )
    return batch


def _ids(generator: torch.Generator, lengths: Sequence[int]) -> list[list[int]]:
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def texts(lengths: Sequence[int] = LENGTHS) -> Encoded:
    """Return rows of token ids of different lengths, with their mask."""
    ids = _ids(torch.Generator().manual_seed(1), lengths)
    columns = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
    return Encoded(columns, {"input_ids": 0, "attention_mask": 0}, {}, lengths, max(lengths))


def sentences() -> Encoded:
    """Return rows that end with the token of the text's end, which BART and T5 classify by."""
    whole = texts()
    ids = [[*row[:-1], 2] for row in whole.columns["input_ids"]]
    return replace(whole, columns={**whole.columns, "input_ids": ids})


def questions() -> Encoded:
    """Return rows with three separators, by which Longformer finds the question."""
    whole = texts(tuple(length + 4 for length in LENGTHS))
    ids = [[2, row[0], 2, 2, *row[4:]] for row in whole.columns["input_ids"]]
    return replace(whole, columns={**whole.columns, "input_ids": ids})


def text_pairs(lengths: Sequence[int] = LENGTHS, answers: Sequence[int] = ANSWER_LENGTHS) -> Encoded:
    """Return rows of an encoder's and a decoder's token ids, whose lengths have nothing to do with each other."""
    source, target = texts(lengths), _ids(torch.Generator().manual_seed(2), answers)
    columns = {"decoder_input_ids": target, "decoder_attention_mask": [[1] * len(row) for row in target]}
    return Encoded(
        {**source.columns, **columns},
        {**source.padding, **dict.fromkeys(columns, 0)},
        {},
        lengths,
        max(lengths),
        further_lengths={"decoder_input_ids": answers},
    )


def fixed(name: str, *shape: int) -> Encoded:
    """Return rows of one size: pictures, waveforms or spectra."""
    values = torch.randn(len(LENGTHS), *shape, generator=torch.Generator().manual_seed(3))
    return Encoded({name: values}, {}, {}, [1] * len(LENGTHS), 1)


def heard(name: str, *shape: int) -> Encoded:
    """Return spectra of one size, each with a decoder's token ids of its own length, by which rows are batched."""
    columns = {
        **fixed(name, *shape).columns,
        "decoder_input_ids": _ids(torch.Generator().manual_seed(2), ANSWER_LENGTHS),
    }
    lengths = {"decoder_input_ids": ANSWER_LENGTHS}
    return Encoded(columns, {"decoder_input_ids": 0}, {}, ANSWER_LENGTHS, max(ANSWER_LENGTHS), further_lengths=lengths)


def pictures() -> Encoded:
    """Return small pictures."""
    return fixed("pixel_values", 3, 32, 32)


def waves() -> Encoded:
    """Return short waveforms."""
    return fixed("input_values", 640)


def recordings(*, masked: bool = True) -> Encoded:
    """Return waveforms of different lengths, and how many frames `speech.SPEECH` makes of them.

    Args:
        masked: True for a mask of their padding.
    """
    generator = torch.Generator().manual_seed(4)
    sounds = [torch.randn(96 * length, generator=generator).tolist() for length in LENGTHS]
    lengths = [len(sound) for sound in sounds]
    masks = {"attention_mask": [[1] * length for length in lengths]} if masked else {}
    return Encoded(
        {"input_values": sounds, **masks},
        {"input_values": 0.0, **dict.fromkeys(masks, 0)},
        {},
        lengths,
        max(lengths),
        inner_lengths={"frames": frames},
    )


def frames(samples: int) -> int:
    """Return the frames of a sound, by two convolutions."""
    return ((samples - 10) // 8 + 1 - 4) // 4 + 1


def config(kind: str, options: Mapping[str, Any] | None = None, **more: Any) -> Callable[[], Any]:
    """Return a function that makes a configuration: of transformers' class for the kind, with these options."""

    def make() -> Any:
        return getattr(hf, kind + "Config")(**{**(options or {}), **more})

    return make


def models(
    auto: Any, encoded: Callable[[], Encoded], configs: Mapping[str, Callable[[], Any]], **fields: Any
) -> dict[str, Model]:
    """Return models of one class over the same inputs."""
    return {name: Model(auto, config, encoded, **fields) for name, config in configs.items()}


def zoo_context(model: Model) -> tuple[PrefixContext, Encoded]:
    """Build a model, and return it as the prefix cache sees it, with its split."""
    built, encoded, lines = model.build(), model.encoded(), []

    def forward(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        result = built(**inputs)
        return {name: getattr(result, name) for name in model.outputs}

    def counted(outputs: Mapping[str, torch.Tensor], encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        values = [
            outputs[name].flatten(2) if outputs[name].ndim > 2 else outputs[name][..., None] for name in model.outputs
        ]
        whole = torch.cat(values, -1)
        if model.answers is None:
            return whole
        return torch.cat([whole[b, : len(encoded.columns[model.answers][i])] for b, i in enumerate(rows)])

    context = PrefixContext(
        key="zoo", backbone=Backbone.find(built), forward=forward, collate=collate, counted=counted,
        run_halving=lambda compute, rows: compute(rows), tick=lambda: None, log=lines.append, exact=forward,
    )  # fmt: skip
    return context, encoded
