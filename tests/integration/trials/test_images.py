"""Images: decoded and prepared as the model's own processor does it, refused with a sentence, changed at random."""

import csv
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers as hf
from PIL import Image
from transformers.image_utils import load_image

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.images import read_image
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.tasks.image_classification import ImageClassification
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.findings import about
from tests.support.pictures import PROCESSORS, encoded_bytes, picture, split_of, with_processor
from tests.support.tiers import a_few
from tests.support.trials import Memory

task = ImageClassification()


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_batch_is_what_the_processor_makes(name: str, tmp_path: Path) -> None:
    processor, items = PROCESSORS[name], []
    for i, size in enumerate([(50, 40), (31, 90), (400, 300), (1, 1), (3, 2)]):
        items.append(tmp_path / f"{i}.png")
        picture(size=size).save(items[-1])
    encoded = task.encode(with_processor(processor), split_of(*items), 128)
    assert encoded.columns["pixel_values"].dtype == torch.uint8
    batch = task.collate(encoded, [4, 0, 1, 2, 3])["pixel_values"]
    for made, item in zip(batch, (items[i] for i in (4, 0, 1, 2, 3)), strict=True):
        wanted = processor(load_image(str(item)), input_data_format="channels_last", return_tensors="pt")
        assert torch.allclose(made, wanted["pixel_values"][0], atol=1e-5)
    assert torch.equal(task.collate(encoded.sample([4, 0]), [0, 1])["pixel_values"], batch[:2])


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "turned", "gif", "webp", "transparent P"])
def test_every_kind_of_image_is_read_as_a_pipeline_reads_it(mode: str, tmp_path: Path) -> None:
    path, image, options = tmp_path / "x.png", picture(), {}
    if mode in ("CMYK", "turned"):
        path = path.with_suffix(".jpg")
        image = picture("CMYK" if mode == "CMYK" else "RGB")
        options = {"exif": b"Exif\0\0" + _turned()} if mode == "turned" else {}
    elif mode in ("gif", "webp"):
        path = path.with_suffix(f".{mode}")
    elif mode == "transparent P":
        image, options = picture("P"), {"transparency": bytes([0, 100, 255])}
    else:
        image = picture(mode)
    image.save(path, **options)
    with Image.open(path) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the palette's transparency
        wanted = load_image(opened)
    found = read_image(path, "x")
    assert found.mode == "RGB"
    assert found.size == ((40, 50) if mode == "turned" else (50, 40))
    assert numpy.array_equal(found, wanted)
    assert numpy.array_equal(read_image(path.read_bytes(), "x"), found)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = numpy.linspace(0, 65_535, 60, dtype=numpy.uint16).reshape(6, 10)
    found = numpy.asarray(read_image(encoded_bytes(Image.fromarray(values)), "x"))
    assert (found == (values >> 8)[..., None]).all()


def _huge() -> bytes:
    """A PNG of a few hundred bytes that says it has 40,000 by 40,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no image that can be read"),
        (b"not an image", "is no image that can be read"),
        (encoded_bytes(picture(size=(300, 300)), "JPEG")[:900], r"cannot be read as an image \(.*truncated"),
        (encoded_bytes(picture())[:100], "cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is no image that can be read"),
        (_huge(), "more than .* pixels; scale it down"),
        (encoded_bytes(picture(size=(2_000, 1))), "2000 by 1 pixels, too narrow"),
        (encoded_bytes(Image.new("F", (4, 4)), "TIFF"), "decimal numbers"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    good, processor = encoded_bytes(picture()), with_processor(PROCESSORS["a square"])
    for item, name in ((path, str(path)), (content, "The image of example 2")):
        for encode in (
            lambda s: task.encode(processor, s, 1),
            lambda s: task.encode_augmented(processor, s, "standard", 0),
        ):
            with pytest.raises(BadData, match=said) as caught:
                encode(split_of(good, item))
            assert caught.value.message.startswith(name)
            assert caught.value.path == ["dataset", "source"]


def test_images_of_many_sizes_need_a_processor_that_makes_them_alike(tmp_path: Path) -> None:
    items = [encoded_bytes(picture(size=size)) for size in ((50, 40), (40, 50))]
    with pytest.raises(BadData, match="different sizes, which cannot be batched; give it"):
        task.encode(
            with_processor(hf.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False)), split_of(*items), 1
        )


def test_model_and_processor_must_fit(tmp_path: Path) -> None:
    vit = ARCHITECTURES["vit"]
    folder = vit.build(tmp_path)
    task.load(folder, "m", ClassTargets(("a", "b")))
    hf.ViTImageProcessor(size={"height": 40, "width": 40}).save_pretrained(folder)
    with pytest.raises(BadData, match=r"does not suit the model: .*40.*Correct"):
        task.load(folder, "m", ClassTargets(("a", "b")))
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "Unheard"}')
    with pytest.raises(BadData, match=r"preprocessor_config.json cannot be loaded"):
        task.load(folder, "m", ClassTargets(("a", "b")))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BadData, match=r"holds no preprocessor_config.json; save"):
        task.check(folder, "m")


def test_timms_models_are_refused_where_torchvision_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "vgg11", "num_classes": 2, "pretrained_cfg": {}}')
    try:
        import torchvision  # noqa: F401
    except Exception:
        with pytest.raises(BadData, match="timm model and needs torchvision"):
            task.check(tmp_path, "vgg")
    else:
        pytest.skip("torchvision can be imported here, so there is nothing to refuse")


@pytest.fixture
def pictures(tmp_path: Path, assign: Callable[..., Assignment]) -> Callable[..., Assignment]:
    """assign(...) over a tiny ConvNeXt and images of two classes."""
    model = ARCHITECTURES["convnext"].build(tmp_path / "model")
    source = {"source": str(tiny_data("image-classification", tmp_path / "data", rows=80)), "test": 0}
    spec = {"task": "image-classification", "model": str(model), "dataset": source}

    def make(epochs: int, augmentation: str, evaluations: int = 1, **fields: Any) -> Assignment:
        changed = spec | {"augmentation": augmentation, "evaluations_per_epoch": evaluations}
        params = {"epochs": epochs, "batch_size": 8, "learning_rate": 2e-3}
        return assign(spec=changed, params=params, **fields)

    return make


@pytest.mark.full
def test_it_learns(pictures: Callable[..., Assignment], session: Memory) -> None:
    train(pictures(8, "none"), session, ModelCache())
    assert session.metrics[-1]["accuracy"] > 0.9
    assert session.metrics[-1]["top5_accuracy"] == 1


def test_a_batch_of_one_small_image_trains(tmp_path: Path) -> None:
    """At 32 pixels MobileNetV2's last layers see one place: one image has one value a channel."""
    model = task.load(ARCHITECTURES["mobilenet-v2"].build(tmp_path), "m", ClassTargets(("a", "b"))).model
    moved = model.get_buffer("mobilenet_v2.conv_1x1.normalization.running_mean")
    for images, changes in ((1, False), (2, True)):
        model.train()
        before = moved.clone()
        model(pixel_values=torch.randn(images, 3, 32, 32)).logits.sum().backward()
        assert torch.equal(moved, before) != changes
        assert all(module.training for module in model.modules())


@pytest.mark.parametrize("split", a_few(1, ["test", "train", "validation"]))
def test_a_broken_image_is_found_before_the_first_trial(
    split: str, assign: Callable[..., Assignment], session: Memory, tmp_path: Path
) -> None:
    model = ARCHITECTURES["convnext"].build(tmp_path / "model")
    files = {name: tiny_data("image-classification", tmp_path / name) for name in ("train", "validation", "test")}
    source = {"source": {name: str(file) for name, file in files.items()}}
    spec = {"task": "image-classification", "model": str(model), "dataset": source}
    assert inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache()).rows == {
        "train": 24,
        "validation": 24,
        "test": 24,
    }
    broken = tmp_path / split / "7.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(BadData, match=f"{split}/7.png cannot be read as an image"):
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())


def test_broken_images_are_left_out_of_the_inspection_and_the_trials(
    assign: Callable[..., Assignment], session: Memory, tmp_path: Path
) -> None:
    model = ARCHITECTURES["convnext"].build(tmp_path / "model")
    file = tiny_data("image-classification", tmp_path / "data", rows=60)
    for number in (3, 4, 5):
        broken = tmp_path / "data" / f"{number}.png"
        broken.write_bytes(broken.read_bytes()[:200])
    (tmp_path / "data" / "6.png").write_bytes(b"")
    spec = {"task": "image-classification", "model": str(model), "dataset": {"source": str(file)}}
    with pytest.raises(BadData, match=r"4 of 60 image files cannot be used: .*unreadable: skip"):
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    spec["dataset"] = {"source": str(file), "unreadable": "skip"}
    found = inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert sum(found.rows.values()) == 56
    assert any("4 of 60 image files cannot be used" in line for line in session.lines)
    said = [f"{finding.severity}: {finding.text}" for finding in found.findings]
    assert said == session.lines[: len(said)]
    train(assign(spec=spec, params={"epochs": 1}, inspection=found), session, ModelCache())
    assert session.metrics[-1]["accuracy"] is not None


@pytest.mark.full
def test_an_augmented_trial_repeats_itself_and_resumes_exactly(
    pictures: Callable[..., Assignment], tmp_path: Path
) -> None:
    plain, whole, again = (Memory(tmp_path / name) for name in ("plain", "whole", "again"))
    warm = ModelCache()
    train(pictures(1, "none", 2), plain, warm)
    train(pictures(1, "trivial", 2), whole, warm)
    train(pictures(1, "trivial", 2), again, ModelCache())
    assert whole.metrics == again.metrics != plain.metrics

    first = Memory(tmp_path / "parts", lambda step: Decision.STOP)
    with pytest.raises(Ended):
        train(pictures(1, "trivial", 2), first, warm)
    second = Memory(tmp_path / "parts")
    train(pictures(1, "trivial", 2, attempt=2, checkpoint=first.checkpoint()), second, warm)
    assert first.metrics + second.metrics == whole.metrics


def test_strict_data_is_refused_with_its_warnings_and_passes_with_notes(
    assign: Callable[..., Assignment], session: Memory, tmp_path: Path
) -> None:
    model = ARCHITECTURES["convnext"].build(tmp_path / "model")
    table = tiny_data("image-classification", tmp_path / "data", rows=60)
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folder = tmp_path / "classes"
    for row in rows:
        (folder / row["label"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(table.parent / row["image"], folder / row["label"])
    (folder / rows[0]["label"] / "licence.txt").write_text("free")
    spec = {"task": "image-classification", "model": str(model), "dataset": {"source": str(folder), "strict": True}}
    found = inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert [finding.severity for finding in about(found, "files-passed-over")] == ["note"]
    (folder / rows[0]["label"] / "1.heic").write_bytes(b"no image")
    with pytest.raises(BadData, match=r"what was found is refused: .*1 \.heic.*mogrify") as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert refused.value.path == ["dataset", "strict"]
