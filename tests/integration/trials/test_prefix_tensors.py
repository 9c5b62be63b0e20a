"""Every tensor that leads out of a frozen part is kept: outputs and gradients are those of the whole model."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from luthier.studies.results import Batching
from luthier.trials.data.batches import pieces
from luthier.trials.data.encoded import Encoded
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.axes import BATCH, Inputs, axis_size
from luthier.trials.prefix.cache import PrefixCache
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.cut_search import find_cut
from luthier.trials.prefix.field import SHARED
from luthier.trials.prefix.probe import FIRST, Outputs, random_projection
from luthier.trials.prefix.rows import split_lengths
from tests.support.zoo import ZOO, zoo_context
from tests.support.zoo.inputs import ANSWER_LENGTHS, LENGTHS, collate, text_pairs

FAST = ("text2text-generation/BART", "image-segmentation/SegFormer", "text-generation/GPT-2")
"""`make test` tries these, `make test-all` those below too, and `make test-wide` the others."""
USUAL = ("text2text-generation/T5", "automatic-speech-recognition/Whisper", "object-detection/YOLOS")
OTHERS = (
    "text2text-generation/umT5", "text2text-generation/Marian", "text2text-generation/Pegasus",
    "text2text-generation/T5Gemma", "automatic-speech-recognition/Speech2Text", "automatic-speech-recognition/SpeechT5",
    "automatic-speech-recognition/WavLM", "automatic-speech-recognition/SEW", "image-segmentation/UperNet, Swin",
    "image-segmentation/BEiT", "image-segmentation/DPT", "image-segmentation/MobileViT", "object-detection/DETR",
    "object-detection/Deformable DETR", "object-detection/RT-DETR", "question-answering/DeBERTa-v3",
    "question-answering/Longformer", "text2text-generation/LED", "audio-classification/HuBERT, unequal lengths",
    "question-answering/XLNet", "question-answering/T5", "question-answering/BART", "text-generation/Gemma 3",
    "text-generation/Mamba",
)  # fmt: skip
BATCHES: Sequence[Sequence[int]] = ((0, 1, 2, 3), (4, 9), (7, 5, 6, 8, 10, 11), (2,))

Gradients = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path / "prefixes"))
    monkeypatch.setenv("LUTHIER_CACHE_MEMORY", "0")


def batches(encoded: Encoded) -> Iterator[Sequence[int]]:
    for rows in BATCHES:
        yield from pieces(encoded, rows, len(rows))


def compared(context: PrefixContext, outputs: Outputs, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
    return context.counted(outputs, encoded, rows)


def gradients(context: PrefixContext, outputs: Outputs, encoded: Encoded, rows: Sequence[int]) -> Gradients:
    random_projection(compared(context, outputs, encoded, rows)).backward()
    trained = {name: p for name, p in context.backbone.model.named_parameters() if p.requires_grad}
    found = {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}
    context.backbone.model.zero_grad()
    return found


@pytest.mark.parametrize(
    "key",
    [
        *FAST,
        *(pytest.param(key, marks=pytest.mark.full) for key in USUAL),
        *(pytest.param(key, marks=pytest.mark.wide) for key in OTHERS),
    ],
)
def test_outputs_and_gradients_are_those_of_the_whole_model_at_every_depth(key: str) -> None:
    task, _, name = key.partition("/")
    context, encoded = zoo_context(ZOO[task][name])
    cache, model = PrefixCache(), context.backbone.model
    for depth in range(1, context.backbone.depth + 1):
        context.backbone.freeze(depth)
        model.eval()
        prefix = cache.open(context, depth, {"train": encoded})
        assert prefix is not None, (depth, context.log)
        for rows in batches(encoded):
            whole = context.forward(collate(encoded, rows))
            short = prefix.outputs(context.forward, collate, encoded, rows)
            expected = compared(context, whole, encoded, rows)
            close = 1e-5 * float(expected.detach().abs().max())
            assert torch.allclose(compared(context, short, encoded, rows), expected, rtol=0, atol=close), (depth, rows)
            mine = gradients(context, short, encoded, rows)
            theirs = gradients(context, whole, encoded, rows)
            assert mine.keys() == theirs.keys()
            assert mine, "something trains"
            for parameter, gradient in theirs.items():
                size = 1e-4 * max(1.0, float(gradient.abs().max()))
                assert torch.allclose(mine[parameter], gradient, rtol=1e-4, atol=size), (depth, parameter)
        prefix.close()


def test_what_the_decoder_needs_is_kept_at_its_own_lengths() -> None:
    context, encoded = zoo_context(ZOO["text2text-generation"]["BART"])
    cut = find_cut(context.backbone, 4, context.exact, context.probes(encoded))
    assert [(f.part, f.axis) for f in cut.fields] == [
        ("model.encoder.layers.2", "tokens"),
        ("model.decoder.layers.0", "decoder_input_ids"),
    ]
    assert all(f.row == (32,) for f in cut.fields)
    cache = PrefixCache()
    prefix = cache.open(context, 4, {"train": encoded})
    assert prefix is not None
    prefix.close()
    (size,) = [taken for taken in cache.files.bytes() if taken]
    assert size == 4 * 32 * (sum(LENGTHS) + sum(ANSWER_LENGTHS)), "no padding is kept"


@pytest.mark.parametrize(
    ("lengths", "answers"),
    [
        ((6,) * 12, ANSWER_LENGTHS),  # all texts as long
        (LENGTHS, (4,) * 12),  # all answers as long
        (LENGTHS, LENGTHS),  # answers as long as their texts
        ((3, 5) * 6, (5, 3) * 6),  # batches of three and five are as large as some lengths
        ((9, 9, 9, 9, 9, 9, 2, 2, 2, 2, 2, 2), (2, 2, 2, 2, 2, 2, 9, 9, 9, 9, 9, 9)),  # long here or there
    ],
)
def test_axes_are_told_apart_whatever_the_lengths(lengths: Sequence[int], answers: Sequence[int]) -> None:
    context, _ = zoo_context(ZOO["text2text-generation"]["BART"])
    encoded = text_pairs(lengths, answers)
    sizes = context.probes(encoded).sizes
    varying = [axis for axis, own in split_lengths(encoded).items() if len(set(own)) > 1]
    shown = {axis: tuple(axis_size(axis, probe.inputs) for probe in sizes) for axis in (BATCH, *varying)}
    assert all(len(set(own)) > 1 for own in shown.values())
    assert len(set(shown.values())) == len(shown) or list(lengths) == list(answers)
    cache = PrefixCache()
    context.backbone.freeze(4)
    prefix = cache.open(context, 4, {"train": encoded})
    assert prefix is not None
    for rows in BATCHES:
        expected = compared(context, context.forward(collate(encoded, rows)), encoded, rows)
        short = compared(context, prefix.outputs(context.forward, collate, encoded, rows), encoded, rows)
        assert torch.allclose(short, expected, atol=1e-5)
    prefix.close()


def test_a_plan_for_answers_of_one_length_is_not_used_for_others() -> None:
    context, encoded = zoo_context(ZOO["text2text-generation"]["BART"])
    splits = {"train": text_pairs(LENGTHS, (4,) * 12), "validation": encoded}
    prefix = PrefixCache().open(context, 4, splits)
    assert prefix is not None
    for split in splits.values():
        expected = compared(context, context.forward(collate(split, [0, 2])), split, [0, 2])
        short = compared(context, prefix.outputs(context.forward, collate, split, [0, 2]), split, [0, 2])
        assert torch.allclose(short, expected, atol=1e-5)
    prefix.close()


@pytest.mark.parametrize(
    ("key", "depth", "words"),
    [
        (
            "text2text-generation/LongT5",
            1,
            "output 2 of encoder.block.0, (3, 2, 2, 4, 12) then (5, 3, 2, 4, 12), cannot",
        ),
    ],
)
def test_a_tensor_that_cannot_be_kept_is_named_in_the_log(key: str, depth: int, words: str) -> None:
    task, _, name = key.partition("/")
    context, encoded = zoo_context(ZOO[task][name])
    lines: list[str] = []
    context = replace(context, log=lines.append)
    assert PrefixCache().open(context, depth, {"train": encoded}) is None
    assert len(lines) == 1
    assert lines[0].startswith(f"trains without the frozen-prefix cache, because {words}")


@pytest.mark.parametrize("depth", [2, 4, 6])
def test_masks_of_images_are_their_own_also_where_those_that_are_tried_are_alike(depth: int) -> None:
    context, whole = zoo_context(ZOO["object-detection"]["DETR"])
    masks = torch.ones(len(whole), 64, 64, dtype=torch.long)
    masks[4, :, 20:] = 0  # one that is in no batch of `probes`
    columns = {"pixel_values": whole.columns["pixel_values"].repeat(1, 1, 2, 2), "pixel_mask": masks}  # type: ignore[attr-defined]
    encoded = replace(whole, columns=columns)
    assert not any((probe.inputs["pixel_mask"] == 0).any() for probe in context.probes(encoded).sizes)
    prefix = PrefixCache().open(context, depth, {"train": encoded})
    assert prefix is not None
    expected = compared(context, context.forward(collate(encoded, [0, 4])), encoded, [0, 4])
    short = compared(context, prefix.outputs(context.forward, collate, encoded, [0, 4]), encoded, [0, 4])
    assert torch.allclose(short, expected, atol=1e-5 * float(expected.detach().abs().max()))
    unmasked = context.forward(collate(encoded, [0, 4]) | {"pixel_mask": masks[:2]})
    assert not torch.allclose(compared(context, unmasked, encoded, [0, 4]), expected, atol=1e-3)
    prefix.close()


class Stem(nn.Linear):
    """Its second output marks examples by a large first value."""

    def forward(self, input: torch.Tensor) -> Any:
        return super().forward(input), input[:, 0] > 5


class Marked(nn.Module):
    """A backbone of which only the last block looks at the marks."""

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self.base_model = nn.Module()
        self.base_model.stem = stem
        self.base_model.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        hidden, marks = self.base_model.stem(values)
        first, second, last = self.base_model.blocks
        hidden = second(first(hidden))
        seen = hidden.masked_fill(marks[:, None], 0.0) if marks.dtype == torch.bool else hidden - marks
        result: torch.Tensor = self.head(last(seen))
        return result


def in_context(model: nn.Module, values: torch.Tensor) -> tuple[PrefixContext, Encoded]:
    """Return a model as the prefix cache sees it, with a split of its inputs."""

    def forward(inputs: Inputs) -> Outputs:
        return {"logits": model(inputs["values"])}

    context, _ = zoo_context(ZOO["object-detection"]["YOLOS"])
    context = replace(
        context,
        key="marked",
        backbone=Backbone.find(model),  # type: ignore[arg-type]
        forward=forward,
        exact=forward,
        counted=lambda outputs, encoded, rows: outputs["logits"],
    )
    return context, Encoded({"values": values}, {}, {}, [1] * len(values), 1)


class Centred(Stem):
    """Its second output is the mean of the batch."""

    def forward(self, input: torch.Tensor) -> Any:
        return nn.Linear.forward(self, input), input.mean(0, keepdim=True)


def test_what_the_examples_of_one_batch_have_in_common_is_not_kept() -> None:
    model = Marked(Centred(4, 4)).eval()
    context, encoded = in_context(model, torch.randn(12, 4, generator=torch.Generator().manual_seed(0)))
    cut = find_cut(context.backbone, 1, context.exact, context.probes(encoded))
    assert cut.computed == ["base_model.stem"]
    said = "output 2 of base_model.stem, (1, 4), cannot be kept: it does not belong to one example each"
    assert list(cut.refusals) == [said]


def test_marks_that_none_of_the_tried_examples_has_are_kept() -> None:
    values = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    values[4, 0] = 9.0
    context, encoded = in_context(Marked(Stem(4, 4)).eval(), values)
    prefix = PrefixCache().open(context, 2, {"train": encoded})
    assert prefix is not None
    short = prefix.outputs(context.forward, collate, encoded, [3, 4])["logits"]
    assert torch.allclose(short, context.forward(collate(encoded, [3, 4]))["logits"], atol=1e-6)
    prefix.close()


def test_the_log_names_what_is_computed_although_frozen() -> None:
    context, encoded = zoo_context(ZOO["text2text-generation"]["LongT5"])
    lines: list[str] = []
    prefix = PrefixCache().open(replace(context, log=lines.append), 2, {"train": encoded})
    assert prefix is not None
    prefix.close()
    assert lines[1:] == [
        "computes encoder.block.0 in every step, although frozen: output 2 of encoder.block.0, "
        "(3, 2, 2, 4, 12) then (5, 3, 2, 4, 12), cannot be kept: its size differs from batch to batch, and is that of "
        "no input"
    ]


def test_what_all_examples_share_is_kept_once_and_for_the_longest_of_each_axis() -> None:
    context, encoded = zoo_context(ZOO["text2text-generation"]["T5"])
    cut = find_cut(context.backbone, 4, context.exact, context.probes(encoded))
    shared = [(f.shape.dims, f.stored(split_lengths(encoded))) for f in cut.fields if f.kind == SHARED]
    assert shared == [
        ((1, 2, "decoder_input_ids", "decoder_input_ids"), (1, 2, max(ANSWER_LENGTHS), max(ANSWER_LENGTHS))),
        ((1, 2, "decoder_input_ids", "tokens"), (1, 2, max(ANSWER_LENGTHS), max(LENGTHS))),
    ]
    bias = next(field for field in cut.fields if field.kind == SHARED)
    values = torch.randn(1, 2, 5, 5)
    assert bias.is_shared([values, values[:, :, :3, :3]])
    assert not bias.is_shared([values, values[:, :, 2:, 2:]]), "it would be another one for a longer batch"


def test_of_a_pooler_that_trains_only_the_token_that_it_looks_at_is_kept() -> None:
    context, encoded = zoo_context(ZOO["text-classification"]["BERT"])
    pooler = frozenset(name for name in context.backbone.layers if "pooler" in name)
    context = replace(context, backbone=Backbone.find(context.backbone.model, pooler))
    cut = find_cut(context.backbone, 3, context.exact, context.probes(encoded))
    assert [(f.part, f.kind) for f in cut.fields] == [("bert.encoder.layer.2", FIRST)]


@pytest.mark.wide
def test_the_table_in_the_docs_is_what_the_product_finds() -> None:
    script = Path(__file__).parents[3] / "docs" / "prefix_table.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pieces_of_one_length_have_one_length_of_answers_too() -> None:
    encoded = text_pairs((4, 4, 4, 6), (2, 2, 3, 3)).batched(Batching.EQUAL)
    assert [list(piece) for piece in pieces(encoded, range(4), 4)] == [[0, 1], [2], [3]]
    assert encoded.sample([3, 0]).further_lengths == {"decoder_input_ids": [3, 2]}
