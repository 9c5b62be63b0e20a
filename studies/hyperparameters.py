"""The hyperparameters that a study may search: their types, bounds and defaults.

Spaces are validated by them; workers complete a configuration with their defaults.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Scalar = bool | int | float | str
Params = dict[str, Scalar]
PROBE = "probe"  # a strategy: the head's last layer is solved for the pretrained features, and nothing trained
USED_BY_PROBE = frozenset({"strategy", "max_length", "pooling", "class_weighting", "threshold"})
AUTO = "auto"  # a number that is known once a worker has inspected model and data: blocks, or the length of inputs
MODULE = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"  # a module's name within a block, as attention.self.query
MODULES = f"{MODULE}( *, *{MODULE})*"
LONGEST_TEXT = 1_000  # characters of names of modules


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter: its type, its bounds, and the value that it has where a space leaves it out.

    A choice is one of `choices`; a text is one of them, or names of modules with commas between.
    """

    name: str
    kind: Literal["float", "int", "choice", "text"]
    default: Scalar
    about: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    above_low: bool = False  # the lower bound itself is excluded
    auto: bool = False  # accepts "auto"
    auto_default: bool = False  # new studies have "auto" in place of `default`: their resolved spaces hold its number
    unit: str = ""  # words that follow the bounds in a message
    only_with: tuple[str, str] | None = None  # (a hyperparameter of choices, its choice without which this is idle)

    def check(self, value: Any) -> Scalar:
        """Return `value` in this hyperparameter's type. Raises ValueError whose text says what would be right."""
        if self.kind == "choice":
            value = f"{value:g}" if type(value) is float else value  # YAML reads 0.5 as a number
            if value not in self.choices:
                raise ValueError(f"must be one of {', '.join(self.choices)}")
            return str(value)
        if self.kind == "text":
            return self._check_text(value)
        if self.auto and value == AUTO:
            return AUTO
        if isinstance(value, bool) or not isinstance(value, int | float):
            noun = "a whole number" if self.kind == "int" else "a number"
            raise ValueError(f"must be {noun}" + (' or "auto"' if self.auto else ""))
        if not is_finite(value):
            raise ValueError("must be a finite number")
        if self.kind == "int" and value != int(value):
            raise ValueError("must be a whole number")
        if value < self.low or value > self.high or (self.above_low and value == self.low):
            raise ValueError(f"must be {self.bounds()}")
        return int(value) if self.kind == "int" else float(value)

    def _check_text(self, value: Any) -> str:
        """Return one of the choices, or names in one form: each once, in the alphabet's order."""
        if value in self.choices:
            return str(value)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not re.fullmatch(MODULES, value.strip()):
            words = ", ".join(self.choices)
            raise ValueError(f'must be {words}, or names of modules in one text with commas, as "q_proj,v_proj"')
        return ",".join(sorted({name.strip() for name in value.split(",")}))

    @property
    def has_words(self) -> bool:
        """Whether its values are words, which have no order."""
        return self.kind in ("choice", "text")

    @property
    def pattern(self) -> str | None:
        """The regular expression of a text's values; None for other kinds."""
        return f"^({'|'.join((*self.choices, MODULES))})$" if self.kind == "text" else None

    def bounds(self) -> str:
        """Return the bounds in words, as "above 0 and at most 10"."""
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.above_low else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"at most {self.high:g}")
        return " and ".join(parts) + (f", {self.unit}" if self.unit else "")

    @property
    def shown_default(self) -> Scalar:
        """The default of new studies, as people write it."""
        return AUTO if self.auto_default else self.default


def is_finite(value: int | float) -> bool:
    """Return whether the value is a number that a float can hold."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False


def _number(
    name: str, default: float, about: str, low: float, high: float, above_low: bool = False, scheduler: str = ""
) -> Hyperparameter:
    only_with = ("scheduler", scheduler) if scheduler else None
    return Hyperparameter(name, "float", default, about, low, high, above_low=above_low, only_with=only_with)


def _whole(
    name: str, default: int, about: str, low: int, high: int, auto: bool = False, scheduler: str = ""
) -> Hyperparameter:
    only_with = ("scheduler", scheduler) if scheduler else None
    return Hyperparameter(name, "int", default, about, low, high, auto=auto, only_with=only_with)


def _choice(name: str, default: str, about: str, *choices: str) -> Hyperparameter:
    return Hyperparameter(name, "choice", default, about, choices=choices)


def _of_adapters(kind: Literal["float", "int", "choice", "text"], name: str, default: Scalar, **traits: Any) -> Any:
    return Hyperparameter(f"lora_{name}", kind, default, only_with=("strategy", "lora"), **traits)


LENGTH_ABOUT = (
    "Tokens an input is truncated to, milliseconds where it is a sound; auto: what 95 % of the training inputs need."
)
STRATEGY_ABOUT = (
    "What is trained above the freeze depth: all, low-rank adapters, or all, unfrozen block by block from the top; "
    "probe: nothing, the head's last layer is solved."
)
SCHEDULERS = (
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "polynomial",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "inverse_sqrt",
    "one_cycle",
)
"""Names of transformers, and `one_cycle`, torch's OneCycleLR. `constant` warms up, as constant_with_warmup does."""
ALPHA_ABOUT = "An adapter's output is multiplied by alpha / rank; by alpha / square root of the rank for rslora."
ADAPTER_DROPOUT_ABOUT = "Probability of dropout before the adapters; -1 takes that of dropout, and 0 where that is -1."
TARGETS_ABOUT = (
    "The layers with adapters: attention, all-linear (convolutions too), or names of modules, as q_proj,v_proj."
)
VARIANT_ABOUT = "Kind of adapter: LoRA, rank-stabilised, or weight-decomposed."
THRESHOLD_ABOUT = (
    "Probability above which a label is given, where examples have several; searched: the one with the best micro_f1 "
    "on the validation split, saved with the model."
)
SAMPLING_ABOUT = (
    "Rows of an epoch: each once, or as many of each class (rare ones repeat, of frequent ones some are left out)."
)
RATE_ABOUT = "Share of tokens that augmentation changes, of a spectrum that it blanks, or of a sound that it shifts."
ALPHA_OF_MIXTURES_ABOUT = "Alpha of the weights that images or sounds are mixed with; -1: 0.2 for mixup, 1 for cutmix."
CYCLES_ABOUT = "Cycles of the scheduler cosine_with_restarts; 1 has no restart."
FLOOR_ABOUT = "Lowest share of the learning rate with cosine_with_min_lr."
HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    h.name: h
    for h in (
        _number("learning_rate", 5e-5, "Peak learning rate.", 0, 10, above_low=True),
        _whole("batch_size", 32, "Examples per optimizer step.", 1, 65_536),
        _whole("epochs", 3, "Passes over the training split.", 1, 1_000),
        _number("weight_decay", 0.01, "Decoupled weight decay; none on biases and norms.", 0, 10),
        _whole("freeze_depth", 0, "Bottom blocks of the backbone kept frozen; auto: all.", 0, 10_000, auto=True),
        _choice("optimizer", "adamw", "Optimizer.", "adamw", "adam", "sgd"),
        _choice("scheduler", "linear", "Learning-rate decay after warm-up.", *SCHEDULERS),
        _number("warmup_ratio", 0.1, "Fraction of the steps that warm up linearly from 0.", 0, 1),
        _whole("warmup_steps", -1, "Steps that warm up, in place of warmup_ratio; -1: as that says.", -1, 1_000_000),
        _number("power", 1.0, "Power of the scheduler polynomial.", 0, 100, above_low=True, scheduler="polynomial"),
        _whole("num_cycles", 1, CYCLES_ABOUT, 1, 1_000, scheduler="cosine_with_restarts"),
        _number("min_lr_rate", 0.1, FLOOR_ABOUT, 0, 1, scheduler="cosine_with_min_lr"),
        _number("label_smoothing", 0.0, "Cross-entropy label smoothing.", 0, 0.999),
        _number("dropout", -1.0, "Probability in every dropout layer; -1 keeps the model's own.", -1, 0.999),
        _number("l1", 0.0, "L1 penalty on trainable weights; none on biases and norms.", 0, 10),
        _number("max_grad_norm", 1.0, "Gradient clipping by global norm; 0 for none.", 0, 1e6),
        _number("layer_decay", 1.0, "Factor on the learning rate per block below the head.", 0, 1, above_low=True),
        _choice("class_weighting", "none", "Loss weight of each class.", "none", "balanced"),
        _choice("threshold", "0.5", THRESHOLD_ABOUT, "0.5", "searched"),
        _number("focal_gamma", 0.0, "Focus of the loss on units that are not yet right; 0: cross-entropy.", 0, 10),
        _choice("sampling", "shuffled", SAMPLING_ABOUT, "shuffled", "balanced"),
        _number("augmentation_rate", 0.1, RATE_ABOUT, 0, 0.9),
        _number("mixup_alpha", -1.0, ALPHA_OF_MIXTURES_ABOUT, -1, 100),
        Hyperparameter("max_length", "int", 128, LENGTH_ABOUT, 2, 1_000_000, auto=True, auto_default=True),
        _choice(
            "pooling",
            AUTO,
            "Tokens whose vectors give a text its answer, where the model's class has a choice; auto: by a probe.",
            AUTO,
            "first",
            "mean",
            "last",
        ),
        _choice("strategy", "full", STRATEGY_ABOUT, "full", "lora", "gradual", PROBE),
        _of_adapters("int", "rank", 8, about="Rank of the adapters.", low=1, high=4_096),
        _of_adapters("float", "alpha", 16.0, about=ALPHA_ABOUT, low=0, high=100_000, above_low=True),
        _of_adapters("float", "dropout", -1.0, about=ADAPTER_DROPOUT_ABOUT, low=-1, high=0.999),
        _of_adapters("text", "targets", "all-linear", about=TARGETS_ABOUT, choices=("attention", "all-linear")),
        _of_adapters("choice", "variant", "lora", about=VARIANT_ABOUT, choices=("lora", "rslora", "dora")),
    )
}


def complete(params: Params, defaults: Params | None = None) -> Params:
    """Return a value for every hyperparameter: the configuration's, else the task's default, else the general one.

    One that changes nothing in the configuration has the general default, whatever was drawn for it.
    """
    whole = {name: h.default for name, h in HYPERPARAMETERS.items()} | (defaults or {}) | params
    return {name: value if is_used(name, whole) else HYPERPARAMETERS[name].default for name, value in whole.items()}


def is_used(name: str, params: Mapping[str, Any]) -> bool:
    """Return whether a hyperparameter changes something in a configuration that has a value for the one it needs."""
    h = HYPERPARAMETERS.get(name)
    if h is not None and name not in USED_BY_PROBE and params.get("strategy") == PROBE:
        return False
    if h is None or h.only_with is None:
        return True
    other, choice = h.only_with
    return bool(params.get(other, HYPERPARAMETERS[other].default) == choice)


def in_use(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, for people, without the hyperparameters that change nothing in it."""
    return {name: value for name, value in params.items() if is_used(name, params)}
