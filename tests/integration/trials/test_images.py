"""Images: decoded and prepared as the model's own processor does it, refused with a sentence, changed at random."""

import io
import random
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
from PIL import Image, ImageDraw
from pydantic import ValidationError
from transformers.image_utils import load_image

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.spec import StudySpec
from luthier.trials.data.augmentation import OPERATIONS, augment
from luthier.trials.data.media import read_image
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.image_classification import ImageClassification
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.trials import Memory

task = ImageClassification()

PROCESSORS: dict[str, Any] = {
    "a square": hf.ViTImageProcessor(size={"height": 24, "width": 32}),
    "the shorter side, then a crop": hf.MobileNetV2ImageProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    ),
    "a share that is cropped": hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
    "no crop": hf.ConvNextImageProcessor(size={"shortest_edge": 384}),
    "an offset, normalised twice": hf.EfficientNetImageProcessor(size={"height": 32, "width": 32}, rescale_offset=True),
    "not normalised": hf.ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False),
    "CLIP's": hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
}


def _picture(mode: str = "RGB", size: tuple[int, int] = (50, 40)) -> Image.Image:
    """A red disc on green, so that turning and cropping show."""
    image = Image.new("RGB", size, (20, 140, 60))
    ImageDraw.Draw(image).ellipse((5, 3, 25, 18), fill=(200, 30, 10))
    return image.convert(mode)


def _split(*items: Path | bytes) -> Split:
    return Split({"image": list(items)}, [0] * len(items))


def _with(processor: Any) -> Pretrained:
    return Pretrained(None, processor, frozenset(), {}, [])


def _bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_batch_is_what_the_processor_makes(name: str, tmp_path: Path) -> None:
    processor, items = PROCESSORS[name], []
    for i, size in enumerate([(50, 40), (31, 90), (400, 300), (1, 1), (3, 2)]):
        items.append(tmp_path / f"{i}.png")
        _picture(size=size).save(items[-1])
    encoded = task.encode(_with(processor), _split(*items), 128)
    assert encoded.columns["pixel_values"].dtype == torch.uint8
    batch = task.collate(encoded, [4, 0, 1, 2, 3])["pixel_values"]
    for made, item in zip(batch, (items[i] for i in (4, 0, 1, 2, 3)), strict=True):
        wanted = processor(load_image(str(item)), input_data_format="channels_last", return_tensors="pt")
        assert torch.allclose(made, wanted["pixel_values"][0], atol=1e-5)
    assert torch.equal(task.collate(encoded.sample([4, 0]), [0, 1])["pixel_values"], batch[:2])


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "turned", "gif", "webp", "transparent P"])
def test_every_kind_of_image_is_read_as_a_pipeline_reads_it(mode: str, tmp_path: Path) -> None:
    path, image, options = tmp_path / "x.png", _picture(), {}
    if mode in ("CMYK", "turned"):
        path = path.with_suffix(".jpg")
        image = _picture("CMYK" if mode == "CMYK" else "RGB")
        options = {"exif": b"Exif\0\0" + _turned()} if mode == "turned" else {}
    elif mode in ("gif", "webp"):
        path = path.with_suffix(f".{mode}")
    elif mode == "transparent P":
        image, options = _picture("P"), {"transparency": bytes([0, 100, 255])}
    else:
        image = _picture(mode)
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
    found = numpy.asarray(read_image(_bytes(Image.fromarray(values)), "x"))
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
        (_bytes(_picture(size=(300, 300)), "JPEG")[:900], r"cannot be read as an image \(.*truncated"),
        (_bytes(_picture())[:100], "cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is no image that can be read"),
        (_huge(), "more than .* pixels; scale it down"),
        (_bytes(_picture(size=(2_000, 1))), "2000 by 1 pixels, too narrow"),
        (_bytes(Image.new("F", (4, 4)), "TIFF"), "decimal numbers"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    good, processor = _bytes(_picture()), _with(PROCESSORS["a square"])
    for item, name in ((path, str(path)), (content, "The image of example 2")):
        for encode in (
            lambda s: task.encode(processor, s, 1),
            lambda s: task.encode_augmented(processor, s, "standard"),
        ):
            with pytest.raises(BadData, match=said) as caught:
                encode(_split(good, item))
            assert caught.value.message.startswith(name)
            assert caught.value.path == ["dataset", "source"]


def test_images_of_many_sizes_need_a_processor_that_makes_them_alike(tmp_path: Path) -> None:
    items = [_bytes(_picture(size=size)) for size in ((50, 40), (40, 50))]
    with pytest.raises(BadData, match="different sizes, which cannot be batched; give it"):
        task.encode(_with(hf.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False)), _split(*items), 1)


def test_model_and_processor_must_fit(tmp_path: Path) -> None:
    vit = ARCHITECTURES["vit"]
    folder = vit.build(tmp_path)
    task.load(folder, "m", ["a", "b"])
    hf.ViTImageProcessor(size={"height": 40, "width": 40}).save_pretrained(folder)
    with pytest.raises(BadData, match=r"does not suit the model: .*40.*Correct"):
        task.load(folder, "m", ["a", "b"])
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "Unheard"}')
    with pytest.raises(BadData, match=r"preprocessor_config.json cannot be loaded"):
        task.load(folder, "m", ["a", "b"])
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


def _augmented(kind: str) -> Any:
    pretrained = _with(PROCESSORS["the shorter side, then a crop"])
    items = [_bytes(_picture(size=size)) for size in ((50, 40), (31, 90), (400, 300), (2, 1))]
    return task.encode_augmented(pretrained, _split(*items), kind)


@pytest.mark.parametrize("kind", ["standard", "trivial"])
def test_augmentation_draws_anew_and_repeats_with_the_seed(kind: str) -> None:
    encoded, rows = _augmented(kind), [0, 1, 2, 3, 0, 0]
    assert encoded.augmented, "a large image is kept small"
    assert max(encoded.columns["image"][2].shape) <= 50, "a large image is kept small"
    random.seed(1)
    first, second = (task.collate(encoded, rows)["pixel_values"] for _ in range(2))
    random.seed(1)
    assert torch.equal(task.collate(encoded, rows)["pixel_values"], first)
    assert first.shape == (6, 3, 32, 32)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[4])
    assert not torch.equal(first[4], first[5])
    processor = PROCESSORS["the shorter side, then a crop"]
    black, white = ((c - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std) for c in (0, 1))
    assert (first >= black[:, None, None] - 1e-5).all()
    assert (first <= white[:, None, None] + 1e-5).all()


def test_parts_are_cut_and_mirrored() -> None:
    """Left half black, right half white: parts differ in their share of white, and half of them are mirrored."""
    image = Image.fromarray(numpy.repeat(numpy.array([[0] * 32 + [255] * 32], numpy.uint8), 64, 0)).convert("RGB")
    random.seed(0)
    made = [numpy.asarray(augment(image, "standard", (16, 16), 2), float)[..., 0] for _ in range(400)]
    shares = [part.mean() / 255 for part in made]
    assert min(shares) == 0
    assert max(shares) == 1
    assert 0.45 < sum(shares) / 400 < 0.55
    mirrored = [part[0, 0] > part[0, -1] for part in made if part[0, 0] != part[0, -1]]
    assert 0.4 < sum(mirrored) / len(mirrored) < 0.6


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_operations_keep_size_and_mode(operation: Callable[..., Image.Image], strength: float) -> None:
    changed = operation(_picture(), strength)
    assert changed.size == (50, 40)
    assert changed.mode == "RGB"


def test_only_images_can_be_augmented() -> None:
    document = {
        "name": "s", "model": "m", "dataset": {"source": "d"}, "space": {"epochs": 2}, "augmentation": "standard"
    }  # fmt: skip
    assert StudySpec.model_validate(document | {"task": "image-classification"}).augmentation == "standard"
    for changed, path in (
        ({"task": "text-classification"}, ("augmentation",)),
        ({"task": "image-classification", "augmentation": "heavy"}, ("augmentation",)),
        ({"task": "image-classification", "space": {"epochs": 2, "max_length": 5}}, ("space", "max_length")),
    ):
        with pytest.raises(ValidationError) as caught:
            StudySpec.model_validate(document | changed)
        assert [error["loc"] for error in caught.value.errors()] == [path]


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


def test_it_learns(pictures: Callable[..., Assignment], session: Memory) -> None:
    train(pictures(8, "none"), session, ModelCache())
    assert session.metrics[-1]["accuracy"] > 0.9
    assert session.metrics[-1]["top5_accuracy"] == 1


def test_a_batch_of_one_small_image_trains(tmp_path: Path) -> None:
    """At 32 pixels MobileNetV2's last layers see one place: one image has one value a channel."""
    model = task.load(ARCHITECTURES["mobilenet-v2"].build(tmp_path), "m", ["a", "b"]).model
    moved = model.get_buffer("mobilenet_v2.conv_1x1.normalization.running_mean")
    for images, changes in ((1, False), (2, True)):
        model.train()
        before = moved.clone()
        model(pixel_values=torch.randn(images, 3, 32, 32)).logits.sum().backward()
        assert torch.equal(moved, before) != changes
        assert all(module.training for module in model.modules())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
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
