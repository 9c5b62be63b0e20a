"""Semantics of specs: the defaults and ways of reading data and scoring of the version in which a study began.

A study keeps its own for good, as `StudySpec.semantics`. What changes a split, a score or a default of studies that
exist asks for it by one of the names below, each the semantics from which on the change holds.
"""

OLDEST_SEMANTICS = 1
NEWEST_SEMANTICS = 6

LABELS_MERGED = 2
"""Spellings of a label are one class, also where a model has learned another spelling than today's data have."""
INPUTS_UNITED = 2
"""Rows with the same input are drawn onto one side, and a comparison takes them for one piece of evidence."""
LENGTH_AUTO = 2
"""`max_length` is `auto` where a space leaves it out. Before, it is 128 tokens or 5000 milliseconds."""
EPOCHS_OF_TASK = 2
"""The longest trial of a space without `epochs` has those of the task's baseline."""
BATCHING_FOUND = 2
"""The inspection finds how a model's inputs go into batches without changing answers. Before: padded on the right."""
MEASURED_ALONE = 2
"""The winner's test score is that of the packed model, in float32 and without padding."""
BLIND_OBJECTIVE_REFUSED = 2
"""An objective that the validation split cannot measure is refused."""
STANDSTILL_ENDS = 2
"""The pruner `patient` ends trials whose score stands still."""
IDLE_PRUNER_REFUSED = 2
"""A pruner that can end no trial is refused, and a default one is left out."""
EXCHANGED_ON_ONE_SCALE = 3
"""Answers are exchanged as ranks, or standardised, where the metric knows no scale. Before, as each model gave them."""
POOLING_PROBED = 3
"""`pooling: auto` is what a linear probe finds at the inspection. Before, each model pools as its checkpoint says."""
POOLER_TRAINED = 3
"""No freeze depth freezes a model's pooler: it belongs to the head. Before, it is frozen with the top block."""
POSITIONS_FROZEN = 3
"""Freezing a block freezes the positions that it uses, wherever they are defined (the norm of DeBERTa-v3's, YOLOS)."""
PADDED_WHERE_NEEDED = 3
"""A sound whose padding is masked is padded to the longest of its batch. Before, sounds of about the same length are
padded to the longest of their split, so that the prefix cache could keep them."""
NOISE_MEASURED = 4
"""The baseline's weights are kept until they are scored beside the winner's, and scores come with their noise."""
FIRST_IS_EARNED = 4
"""A first champion must beat the most frequent answer, or reach `promote.minimum`. Before, any winner is the first."""
STRATEGIES_REACH = 4
"""Adapters and gradual unfreezing are refused where every trial freezes all blocks. Before, the head trains alone."""
MISREAD_REFUSED = 4
"""Boxes in shares of the sides among others in pixels are refused, and texts to learn in which nothing can be seen.
Before, they were learned: as boxes within a pixel, and as they are."""
IDLE_VALUES_REFUSED = 4
"""Numbers between -1 and 0 are refused where -1 stands for what the model has, and mixtures of a batch's examples where
every batch has one. Before, the numbers were taken for -1, and nothing was mixed."""
ENDS_IN_TIME = 5
"""A trial's time counts over all its attempts, and a trial that has a score when it is over is complete. Before, each
attempt has all of the time, and a trial that takes longer fails."""
COMPARED_BY_SHARE = 6
"""Pruners compare a trial, at equal data seen, with three others at least whose learning rate has fallen no further.
Before, with any number of trials of any length."""
PORTFOLIO_FIRST = 6
"""The first lists of known-good configurations (`sampler.portfolio`). A later list asks for later semantics."""
DEPTHS_PROBED = 6
"""The inspection measures what a linear model makes of the features at each freeze depth."""
CHANNELS_LAST = 6
"""Trials of models made of convolutions compute in channels last. Before, in channels first, as checkpoints are."""
