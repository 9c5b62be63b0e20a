"""How people use a packed model that segments images: the function on its card, and the same function as a check.

`segment` stands on the cards of image segmentation as it is, so it imports nothing of this package.
"""

from typing import Any

from luthier.trials.tasks.usage import Answer, Values


def segmented(model: Any, folder: str, tag: str, kind: str) -> Answer:
    """Return the function that answers as `segment` does, averaged over pixels; arguments as those of `piped`."""
    from transformers import AutoImageProcessor

    auto: Any = AutoImageProcessor
    processor = auto.from_pretrained(folder, trust_remote_code=False)

    def answer(image: Any) -> list[Values]:
        means = segment(image, processor, model.eval()).double().mean((1, 2)).tolist()
        return [{model.config.id2label[k]: mean for k, mean in enumerate(means)}]

    return answer


def segment(image: Any, processor: Any, model: Any) -> Any:
    """Return the probability of each class for each pixel of an RGB image: (classes, height, width)."""
    import torch

    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=inputs["pixel_values"]).logits
    size = (image.height, image.width)
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].softmax(0)
