"""Segmentation: masks follow their images, metrics are the reference's, and so are a winner's pixels."""

import json
import random
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers as hf
from PIL import Image
from sklearn.metrics import jaccard_score

from luthier.studies.paired_tests import randomization
from luthier.studies.promotion import Promote
from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.data.augmentation import draw_change
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.mask_targets import MaskTargets
from luthier.trials.data.masks import IGNORED
from luthier.trials.files import file_ref
from luthier.trials.jobs import replicates
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.packed_model import NAME
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.jobs.train import train
from luthier.trials.tasks.encoded_images import fixed_size
from luthier.trials.tasks.image_segmentation import ImageSegmentation
from luthier.trials.tasks.pixels import PixelEntropy, pixel_scores, pixel_statistics, reduced
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training import collector, engine
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES
from tests.support.archives import unpack_tar
from tests.support.tiers import a_few
from tests.support.tiny_masks import pair, write_pairs
from tests.support.trials import Memory

task = ImageSegmentation()
NOTHING = Encoded(columns={}, padding={}, targets={}, lengths=[], longest=0)


def _random(seed: int, classes: int, sizes: list[tuple[int, int]], present: int) -> tuple[torch.Tensor, list[Any]]:
    """Return logits at a quarter of the first size, and masks of the sizes with some of the classes and 255."""
    draw = numpy.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(size=(len(sizes), classes, 8, 10))).float()
    logits[:, -1] -= 100  # never predicted
    masks = [draw.choice([*range(present), IGNORED], size).astype(numpy.uint8) for size in sizes]
    return logits, masks


@pytest.mark.parametrize(("classes", "present"), [(4, 4), (6, 3), (2, 2)])
def test_the_metrics_are_the_references(classes: int, present: int) -> None:
    sizes = [(32, 40), (17, 33), (50, 21)]
    logits, masks = _random(classes, classes, sizes, present)
    padded = torch.full((3, 50, 40), IGNORED, dtype=torch.uint8)
    for i, mask in enumerate(masks):
        padded[i, : mask.shape[0], : mask.shape[1]] = torch.from_numpy(mask)
    scores = pixel_scores(pixel_statistics(reduced(logits, padded, torch.tensor(sizes))))

    processor = hf.SegformerImageProcessor()
    output = type("Output", (), {"logits": logits})
    maps = processor.post_process_semantic_segmentation(output, target_sizes=sizes)
    counted = [mask != IGNORED for mask in masks]
    true = numpy.concatenate([mask[c] for mask, c in zip(masks, counted, strict=True)])
    said = numpy.concatenate([found.numpy()[c] for found, c in zip(maps, counted, strict=True)])
    held = sorted({*true.tolist(), *said.tolist()})
    assert classes - 1 not in said.tolist()
    assert scores["mean_iou"] == pytest.approx(jaccard_score(true, said, labels=held, average="macro"), abs=1e-9)
    assert scores["pixel_accuracy"] == pytest.approx((true == said).mean(), abs=1e-9)
    losses = [
        torch.nn.functional.cross_entropy(
            torch.nn.functional.interpolate(row[None], mask.shape, mode="bilinear", align_corners=False),
            torch.from_numpy(mask).long()[None],
            ignore_index=IGNORED,
            reduction="sum",
        )
        for row, mask in zip(logits, masks, strict=True)
    ]
    assert scores["loss"] == pytest.approx(float(sum(losses)) / len(true), rel=1e-5)


def test_the_loss_is_the_models_own(tmp_path: Path) -> None:
    folder = ARCHITECTURES["segformer"].build(tmp_path)
    model = hf.AutoModelForSemanticSegmentation.from_pretrained(folder, num_labels=3).eval()
    draw = numpy.random.default_rng(0)
    masks = torch.from_numpy(draw.choice([0, 1, 2, IGNORED], (2, 32, 32)).astype(numpy.uint8))
    with torch.no_grad():
        result = model(pixel_values=torch.randn(2, 3, 32, 32), labels=masks.long())
    loss = PixelEntropy(None, 0.0)
    mine = loss.total({"logits": result.logits}, {"masks": masks}) / loss.weight({"masks": masks})
    assert float(mine) == pytest.approx(float(result.loss), rel=1e-5)
    assert loss.weight({"masks": torch.full((1, 4, 4), IGNORED, dtype=torch.uint8)}) == 1, "nothing is divided by 0"


def test_masks_are_resized_as_the_processor_does() -> None:
    processor = hf.SegformerImageProcessor(size={"height": 24, "width": 32}, do_reduce_labels=False)
    image, mask = pair(3, (61, 47))
    made = processor(images=Image.fromarray(image), segmentation_maps=Image.fromarray(mask), return_tensors="pt")
    resized = numpy.asarray(Image.fromarray(mask).resize((32, 24), Image.Resampling.NEAREST))
    assert made["labels"][0].tolist() == resized.tolist()


@pytest.mark.parametrize(
    "processor",
    [
        hf.MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
        hf.MobileViTImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
        hf.SegformerImageProcessor(size={"height": 32, "width": 32}),
    ],
)
def test_a_processor_that_cuts_shows_the_whole_image_instead(processor: Any) -> None:
    image = Image.new("RGB", (90, 40))
    image.paste((255, 255, 255), (0, 0, 4, 40))  # a centre crop would lose it
    pixels = fixed_size(processor)(images=image, return_tensors="pt")["pixel_values"][0]
    assert pixels.shape == (3, 32, 32)
    assert pixels[0, 16, 0] > pixels[0, 16, 16]


@pytest.mark.parametrize("kind", ["standard", "trivial"])
def test_image_and_mask_are_changed_together(kind: str) -> None:
    """Of a red rectangle on blue, the mask says which is which: after any change of places it still does."""
    _, mask = pair(1, (64, 64))
    colours = numpy.array([[0, 0, 255], [255, 0, 0]], numpy.uint8)
    image = Image.fromarray(colours[mask])
    random.seed(0)
    agreed, outside = [], 0
    for _ in range(60):
        change = draw_change((64, 64), kind, (48, 48), Image.Resampling.NEAREST)
        changed, classes = numpy.asarray(change(image)).astype(int), numpy.asarray(change(Image.fromarray(mask)))
        red, blue, inside = changed[..., 0], changed[..., 2], classes != IGNORED
        outside += int((~inside).sum())
        told = inside & (red != blue)
        if told.any():
            right = (red > blue) == (classes == 1)
            agreed.append(max(right[told].mean(), 1 - right[told].mean()))  # solarize inverts colours
    assert len(agreed) > 50
    assert min(agreed) > 0.999
    assert (outside > 0) == (kind == "trivial"), "what is shifted in has no class"


def _work(assign: Callable[..., Assignment], tmp_path: Path, **fields: Any) -> Callable[..., Assignment]:
    source = tmp_path / "data"
    if not source.exists():
        source.mkdir()
        write_pairs(source, 40)
        (source / "id2label.json").write_text(json.dumps({"0": "ground", "1": "box"}))
        ARCHITECTURES["segformer"].build(tmp_path / "model")
    dataset = {"source": str(source / "data.csv"), "validation": 0.2, "test": 0.3}
    spec = {"task": "image-segmentation", "model": str(tmp_path / "model"), "dataset": dataset, **fields}

    def make(kind: AssignmentKind = AssignmentKind.TRAIN, epochs: int = 12, **more: Any) -> Assignment:
        params = {"freeze_depth": 0, "epochs": epochs, "batch_size": 4, "learning_rate": 1e-2}
        return assign(kind, spec=spec, params=params, **more)

    return make


@pytest.mark.full
def test_a_winner_answers_in_its_pipeline_and_beats_an_early_model(
    assign: Callable[..., Assignment], tmp_path: Path
) -> None:
    make, warm = _work(assign, tmp_path, semantics=NEWEST_SEMANTICS), ModelCache()
    found = inspect(make(AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), warm)
    assert found.label_names == ["ground", "box"]
    assert found.majority is not None
    assert found.majority.label == "ground"
    sessions, tests = {}, {}
    for side, epochs in (("champion", 1), ("challenger", 12)):
        session = Memory(tmp_path / side)
        assert train(make(epochs=epochs), session, warm).status == "complete"
        best = Checkpoint(best=file_ref(session.named("best")))
        evaluation = evaluate(make(AssignmentKind.EVALUATE, epochs=epochs, checkpoint=best), session, warm)
        assert evaluation.test is not None
        sessions[side], tests[side] = session, evaluation.test
    assert tests["challenger"]["mean_iou"] > 0.75 > tests["champion"]["mean_iou"]
    assert tests["challenger"]["mean_iou"] > (found.majority.test or {})["mean_iou"] + 0.2
    assert any("predictions for 12 test rows are the recorded ones" in line for line in sessions["challenger"].lines)

    folder = tmp_path / "winner"
    unpack_tar(sessions["challenger"].folder / NAME, folder)
    assert json.loads((folder / "config.json").read_text())["semantic_loss_ignore_index"] == IGNORED
    segment = hf.pipeline("image-segmentation", model=str(folder))
    opened = warm.open(make())
    rows = opened.data.splits["test"]
    true, said = [], []
    for image, mask in zip(rows.columns["image"], rows.targets, strict=True):
        answer = {found["label"]: numpy.asarray(found["mask"]) > 0 for found in segment(str(image))}
        true.append(numpy.asarray(Image.open(mask.item)).ravel())
        said.append(answer.get("box", numpy.zeros(mask.size, bool)).ravel())
    reference = jaccard_score(numpy.concatenate(true), numpy.concatenate(said).astype(int), average="macro")
    assert tests["challenger"]["mean_iou"] == pytest.approx(reference, abs=1e-6), "at the masks' own size"

    session = Memory(tmp_path / "comparison")
    refs = {}
    for side, path in ((side, sessions[side].folder / NAME) for side in sessions):
        refs[side] = file_ref(path.rename(session.folder / f"{side}.tar.gz"))
    compared = compare(make(AssignmentKind.COMPARE, **refs), session, ModelCache())
    assert compared.challenger["mean_iou"] == pytest.approx(tests["challenger"]["mean_iou"], abs=1e-6)
    assert (compared.examples, len(compared.exchanged), len(compared.resampled)) == (12, 1000, 1000)
    measured = (compared.challenger["mean_iou"] or 0) - (compared.champion["mean_iou"] or 0)
    assert sorted(compared.exchanged)[950] < measured, "chance does not explain it"


def test_pieces_of_an_augmented_batch_add_up(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    make = _work(assign, tmp_path, augmentation="standard")
    opened = ModelCache().open(make())
    encoded = opened.task.encode_augmented(opened.pretrained, opened.data.splits["train"], "standard", 64)
    model = opened.pretrained.model.eval()  # type: ignore[no-untyped-call]
    loss, gradients = opened.loss(encoded, make().params), []
    for size in (4, 1):
        random.seed(1)
        micro_batch = MicroBatch()
        micro_batch.lower(size)
        computer = Engine(model, opened.task, micro_batch, loss)
        total = computer.gradient(encoded, [3, 0, 3, 1])
        gradients.append((float(total), torch.cat([p.grad.flatten() for p in computer.trained if p.grad is not None])))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    assert torch.allclose(gradients[0][1], gradients[1][1], rtol=1e-3, atol=1e-6)


def test_a_model_of_other_classes_is_compared_by_label() -> None:
    own, today = MaskTargets(("sky", "road")), MaskTargets(("road", "tree", "sky"))
    logits = torch.tensor([[[[9.0, 9, 0, 0]], [[0.0, 0, 9, 9]]]])  # sky, sky, road, road
    mask = torch.tensor([[[2, 0, 0, 1]]], dtype=torch.uint8)  # sky, road, road, tree
    answers = task.translated(reduced(logits, mask, torch.tensor([[1, 4]])), own, today)
    scores = pixel_scores(pixel_statistics(answers))
    assert scores == {"mean_iou": pytest.approx((1 / 3 + 0 + 1 / 2) / 3), "pixel_accuracy": 0.5, "loss": None}


def test_no_logits_are_kept(assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "EVALUATION_BATCH", {"cuda": 4, "cpu": 4})
    monkeypatch.setattr(collector, "HELD_BYTES", 0)
    alive: list[Any] = []
    sizes, most = set(), 0

    def watched(outputs: Any, targets: Any) -> Any:
        alive.append(weakref.ref(outputs["logits"]))
        answers = task.answers(outputs, targets)
        sizes.add(sum(values[0].numel() for values in answers.values()))
        return answers

    def count() -> None:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))

    opened = ModelCache().open(_work(assign, tmp_path)())
    monkeypatch.setattr(opened.task, "answers", watched)
    computer = Engine(opened.pretrained.model, opened.task, MicroBatch())
    found = computer.evaluate(opened.encoded("train", 64), opened.data.targets, tick=count)
    assert len(alive) == 5
    assert most <= 1
    assert sizes == {256 * 2 + 256 + 1 + 2}, "counts by true and predicted class, not pixels"
    assert max(values[0].numel() for values in found.units.values()) == 2


@pytest.mark.full
@pytest.mark.parametrize("augmentation", a_few(1, ["trivial", "standard"]))
def test_an_augmented_trial_repeats_itself(
    assign: Callable[..., Assignment], tmp_path: Path, augmentation: str
) -> None:
    work, warm = _work(assign, tmp_path, augmentation=augmentation)(epochs=1), ModelCache()
    sessions = [Memory(tmp_path / f"{run}") for run in range(2)]
    assert all(train(work, session, warm).status == "complete" for session in sessions)
    assert sessions[0].metrics == sessions[1].metrics
    plain = Memory(tmp_path / "plain")
    train(_work(assign, tmp_path)(epochs=1), plain, warm)
    assert plain.metrics != sessions[0].metrics


def _promoted(assign: Callable[..., Assignment], folder: Path, runs: int, misses: tuple[float, float]) -> float:
    """Return the share of runs in which a challenger is promoted; each model misses about such shares of pixels."""
    won = 0
    spec = {"task": "image-segmentation", "dataset": {"source": "none"}, "semantics": NEWEST_SEMANTICS}
    for run in range(runs):
        draw = numpy.random.default_rng(run)
        shares = draw.dirichlet([4, 1, 1], 60)  # of three classes in 60 images
        true = torch.from_numpy((shares * 1000).astype(int))
        models = []
        for miss in misses:
            missed = torch.from_numpy(numpy.clip(miss * draw.gamma(2, 0.5, (60, 3)), 0, 1))
            right = (true * (1 - missed)).long()
            said = right + (true - right).roll(1, 1)
            units = {"right": right, "predicted": said, "labelled": true, "nll": torch.zeros(60).double()}
            models.append(Predictions(task, MaskTargets(("a", "b", "c")), NOTHING, Statistics(units, {})))
        drawn = Replicates(assign(spec=spec, seed=run), Memory(folder), models[0], models[1], None).draw()
        champion, challenger = (model.scores()["mean_iou"] or 0.0 for model in models)
        test = randomization(challenger - champion, *drawn, Promote().confidence)
        won += test.p_value <= 1 - Promote().confidence
    return won / runs


@pytest.mark.full
def test_an_equal_challenger_is_promoted_in_at_most_five_percent_of_runs(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 39)
    share = _promoted(assign, tmp_path, 200, (0.2, 0.2))
    assert share <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5, "two standard deviations of the share of 200 runs"


def test_a_better_challenger_is_promoted(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 99)
    assert _promoted(assign, tmp_path, 10, (0.3, 0.2)) >= 0.8
