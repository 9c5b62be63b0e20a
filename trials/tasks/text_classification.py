"""Text classification: a label for each text or pair of texts."""

from collections.abc import Sequence

from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks import text
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.metrics import LABEL, auc, classification_scores, ranking
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_inputs import TextInputs
from luthier.trials.tasks.usage import Usage, call

RANKING = "ranking"
"""Name of the statistic by which the area under the ROC curve ranks examples."""


class TextClassification(TextInputs[ClassTargets], Classification):
    """A sequence classifier."""

    name = "text-classification"

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return those of a classification, and what the AUC ranks: two classes one score, more classes one each."""
        return super().statistics(answers, encoded, rows) | {RANKING: ranking(answers["logits"])}

    def scores(self, statistics: Statistics, targets: ClassTargets) -> Metrics:
        """Compute accuracy, macro F1, Matthews correlation, AUC and loss."""
        units = statistics.units
        return classification_scores(units, len(targets.names)) | {"auc": auc(units[RANKING], units[LABEL])}

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: ClassTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Save the longest input with the tokenizer; `truncation=True` in the pipeline's call applies it."""
        pair = "text_pair" in examples.columns
        tokenizer = text.saved_tokenizer(pretrained, max_length, pair)
        options = {"truncation": True}
        example = '{"text": "One text.", "text_pair": "The other one."}' if pair else '"A text."'
        return Usage(
            tag=self.name,
            auto="AutoModelForSequenceClassification",
            kind="tokenizer",
            processor=tokenizer,
            names=targets.names,
            code=f"""\
from transformers import pipeline

classify = {call(self.name, options)}
print(classify({example}))
""",
            notes=(
                f"`truncation=True` cuts longer texts to the {tokenizer.model_max_length} tokens that the model was "
                "trained and scored with; without it they are read whole, or end in an error.",
            ),
            options=options,
        )
