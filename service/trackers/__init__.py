"""Studies told to experiment trackers: a study as a parent run, its trials as the runs below it, live.

follow.py              one study followed by its events, and told to trackers
audience.py            the trackers that are told; one that fails is told no more, and harms nobody
kinds.py               the trackers that there are, and what is missing where one cannot be opened
tracker.py             what a tracker is told, as a protocol
contents.py            studies and trials as the flat parameters, scores and facts that trackers keep
mlflow_runs.py         MLflow
wandb_runs.py          Weights & Biases
tensorboard_files.py   TensorBoard
trackio_runs.py        Trackio

The commands `luthier track` and `luthier run --track` call it. It is a client of the service like any other program:
the service never imports it, nor a tracker's library; these are imported where a tracker is opened.
"""
