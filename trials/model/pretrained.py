"""Pretrained models: loaded from safetensors, with their processors. Pickles and remote code are never run.

Tasks load models and processors with it, and `ModelCache` keeps what it returns.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import dropout as draws
from luthier.trials.model import libraries
from luthier.trials.model.auto_classes import AutoClass, choose_class
from luthier.trials.model.blocks import head_of
from luthier.trials.model.fresh import draw_fresh, dropout_probabilities
from luthier.trials.model.pooling import Pooling
from luthier.trials.model.weights import check_complete, check_finite


@dataclass(frozen=True)
class Head:
    """The head that a model gets on its backbone.

    Attributes:
        names: The names of its outputs, in their order; None: its outputs have no names, and there is no other head
            than the checkpoint's.
        options: Further entries of the model's configuration, such as problem_type.
        fresh: It is drawn anew although the checkpoint's has the same names.
        kept: Parts of the names of its parameters that suit any outputs, and stay as the checkpoint has them.
        further: Parts of the names of parameters inside of the backbone that depend on the outputs, as the head does.
    """

    names: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    kept: tuple[str, ...] = ()
    further: tuple[str, ...] = ()


def device() -> torch.device:
    """Return the device to compute on: the visible GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quieten() -> None:
    """Make transformers log errors only: no progress bars, no advice about fresh heads."""
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass
class Pretrained:
    """A loaded model that can be reset to its pretrained state without reading a file.

    Attributes:
        model: The model.
        processor: The tokenizer, image processor or feature extractor that turns examples into the model's inputs.
        fresh: Names of the parameters that the checkpoint did not hold: the new head.
        pristine: The pretrained parameters and buffers by name, on the CPU.
        dropout: (module, attribute, the model's own probability) of each dropout probability.
        replaced: (parent, name, own layer) of each layer that an adapter has replaced.
        table_sizes: Input name -> the number of ids that the model has embeddings for.
        pooling: The poolings that its class allows; None: it has one.
        intact: The marks of the parameters, by name, when they had their pretrained values last.
    """

    model: PreTrainedModel
    processor: Any
    fresh: frozenset[str]
    pristine: dict[str, torch.Tensor]
    dropout: list[tuple[nn.Module, str, float]]
    replaced: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)
    table_sizes: dict[str, int] = field(default_factory=dict)
    pooling: Pooling | None = None
    intact: dict[str, tuple[int, int]] = field(default_factory=dict)

    def reset(self, seed: int, dropout: float = -1.0) -> PreTrainedModel:
        """Give the model its pretrained weights and a new head; all parameters train, and adapters are gone.

        Parameters that were frozen since the last time have their values still, and are not copied again.

        Args:
            seed: The head is drawn from it.
            dropout: Probability for every dropout layer; negative: each layer's own.

        Returns:
            The model itself.
        """
        self.put_back()
        with torch.no_grad():
            for name, tensor in _tensors(self.model).items():
                may_change = tensor.requires_grad or not isinstance(tensor, nn.Parameter) or name in self.fresh
                if may_change or self.intact.get(name) != _mark(tensor):
                    tensor.copy_(self.pristine[name])
            torch.manual_seed(seed)
            draw_fresh(self.model, self.fresh)
        self.intact = {name: _mark(parameter) for name, parameter in self.model.named_parameters()}
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        for module, attribute, own in self.dropout:
            setattr(module, attribute, own if dropout < 0 else dropout)
        return self.model

    def put_back(self) -> None:
        """Put the model's own layers back in place of adapters and of layers in four bits, on the model's device."""
        place = next(self.model.parameters()).device
        if self.replaced:  # adapters may have been merged into frozen weights
            self.intact = {}
        while self.replaced:
            parent, name, layer = self.replaced.pop()
            setattr(parent, name, layer.to(place))


def load(task: str, folder: Path, name: str, head: Head, processor: Any) -> Pretrained:
    """Load a model with a task's head, in float32, on `device()`.

    Args:
        task: A key of `luthier.studies.tasks.TASKS`.
        folder: The model's folder.
        name: The model's name, for messages.
        head: What the model's outputs are.
        processor: Turns examples into the model's inputs.

    Raises:
        BadData: The model does not suit the task, or its weights do not fit it.
    """
    auto, config = choose_class(task, folder, name)
    try:
        model, info = _load_with_head(auto, folder, head)
    except Exception as error:  # a model's own code raises what it likes
        if out_of_memory(error):
            raise
        libraries.check(error, folder, name, "it")
        reason = f"transformers knows no {error}" if isinstance(error, KeyError) else one_line(error).rstrip(".")
        text = f"{name} cannot be loaded for this task: {reason}. Check that the model suits the task."
        raise BadData(text, "model") from None
    parameters = {key for key, _ in model.named_parameters()}
    own = head_of(model) | {key for key in parameters if any(part in key for part in head.further)}
    fresh = check_complete(model, info, own, name)
    if head.fresh or (head.names is not None and config.id2label != dict(enumerate(head.names))):
        # a head that was trained for other labels is useless here, but for what knows no labels
        fresh |= {key for key in own if not any(part in key for part in head.kept)}
    model.to(device())
    draws.enable_shortcuts(model)
    pristine = {key: tensor.detach().to("cpu", copy=True) for key, tensor in _tensors(model).items()}
    check_finite(model, {key: tensor for key, tensor in pristine.items() if key not in fresh}, name)
    return Pretrained(
        model,
        processor,
        fresh & parameters,
        pristine,
        list(dropout_probabilities(model)),
        pooling=Pooling.find(model),
    )


def _load_with_head(auto: AutoClass, folder: Path, head: Head) -> Any:
    """Load a model with its head; return it with the report of transformers on its weights."""
    options = dict(head.options)
    if head.names is not None:
        names = dict(enumerate(head.names))
        options |= {"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}}
    torch.manual_seed(0)  # parameters that `draw_fresh` does not reach are at least the same every time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return auto.from_pretrained(
            folder,
            **options,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )


def _mark(tensor: torch.Tensor) -> tuple[int, int]:
    """Return what changes with most changes of a tensor: its place in memory, and torch's count of changes in place.

    Fused optimizers leave no trace in it; they change only parameters that train.
    """
    return tensor.data_ptr(), tensor._version


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
