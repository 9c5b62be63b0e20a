"""Parts that the entries of several tasks share: columns, metrics, and refusals of hyperparameters.

`text_tasks.py`, `image_tasks.py` and `audio_tasks.py` put tasks together of them.
"""

from luthier.studies.task import Metric, Role

GROUP = {"group": Role("group", "group", required=False)}  # rows with the same value stay on one side of every split
ONE_POOLING = {"pooling": "has no meaning here: the task's models have one pooling; leave it out"}
ONLY_NUMBERS = {
    "label_smoothing": "has no meaning: numbers are learned, no classes; leave it out",
    "class_weighting": "has no meaning: numbers are learned, no classes; leave it out",
}
ACCURACY = Metric("accuracy", True, "Fraction of examples labelled right.", binary=True)
MACRO_F1 = Metric("macro_f1", True, "Unweighted mean of the classes' F1 scores.")
CLASS_LOSS = Metric("loss", False, "Mean cross-entropy, without label smoothing or class weights.")
NUMBER_METRICS = (
    Metric(
        "pearson",
        True,
        "Pearson's correlation; undefined where all answers, or all numbers, are the same.",
        needs="of different numbers",
    ),
    Metric("spearman", True, "Spearman's rank correlation; undefined where all answers, or all numbers, are the same."),
    Metric("mse", False, "Mean squared error, in the data's units squared."),
    Metric("mae", False, "Mean absolute error, in the data's units."),
    Metric("r2", True, "Share of the variance that is explained: 1 is perfect, 0 is always answering the mean."),
    Metric("loss", False, "Mean squared error by the variance of the training numbers."),
)
LABEL_SET_METRICS = (
    Metric("micro_f1", True, "F1 over all pairs of an example and a label."),
    Metric("macro_f1", True, "Unweighted mean of the labels' F1 scores."),
    Metric("map", True, "Mean over labels of the average precision of examples ranked by probability."),
    Metric("subset_accuracy", True, "Fraction of examples all of whose labels are right.", binary=True),
    Metric("loss", False, "Mean binary cross-entropy over examples and labels, without label smoothing or weights."),
)
