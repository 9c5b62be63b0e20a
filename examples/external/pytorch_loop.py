"""Tune a plain PyTorch loop: each trial trains a small network on points of two classes, and reports every epoch.

    luthier serve &
    luthier create examples/external/tuning.yaml
    python examples/external/pytorch_loop.py my-trainer        # as often as you like, on any machine

A trial whose program is killed is given to the next one, which continues from the checkpoint that it reported.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from luthier import Client, ExternalTrial

POINTS = 512
CHECKPOINTS = Path("checkpoints")  # where all machines that train can read and write


def two_spirals(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points on two noisy spirals, and which spiral each is on."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(POINTS) % 2
    angles = torch.rand(POINTS, generator=generator) * 6 + 0.5
    turned = angles + labels * torch.pi
    points = torch.stack((angles * turned.cos(), angles * turned.sin()), dim=1) / 6
    return points + torch.randn(POINTS, 2, generator=generator) * 0.03, labels


def epochs(trial: ExternalTrial) -> Iterator[tuple[int, float, str]]:
    """Train with the trial's configuration, and yield each epoch with its accuracy and its checkpoint."""
    torch.manual_seed(trial.seed)
    params, first = trial.params, 1
    width, activation = int(params["hidden"]), {"relu": nn.ReLU, "tanh": nn.Tanh}[str(params["activation"])]
    model = nn.Sequential(
        nn.Linear(2, width), activation(), nn.Dropout(float(params["dropout"])), nn.Linear(width, width), activation(),
        nn.Linear(width, 2),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(params["learning_rate"]))
    if trial.resume.checkpoint is not None:  # an earlier program has begun this trial
        saved = torch.load(trial.resume.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = trial.resume.step + 1
    points, labels = two_spirals(seed=0)
    new_points, new_labels = two_spirals(seed=1)
    for epoch in range(first, (trial.steps or 10) + 1):
        model.train()
        for batch in torch.randperm(POINTS).split(int(params["batch_size"])):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(points[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(new_points).argmax(dim=1) == new_labels).float().mean().item()
        CHECKPOINTS.mkdir(exist_ok=True)
        checkpoint = CHECKPOINTS / f"{trial.study}-{trial.number}-{epoch}.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
        yield epoch, accuracy, str(checkpoint.resolve())


def main(study: str) -> None:
    """Train whatever the study gives out, until it has ended."""
    with Client() as client:  # LUTHIER_SERVER and LUTHIER_TOKEN
        for trial in client.external_trials(study):
            with trial:  # the lease is renewed meanwhile; leaving the block tells the end
                for epoch, accuracy, checkpoint in epochs(trial):
                    trial.report(epoch, accuracy=accuracy, checkpoint=checkpoint)
                    if trial.should_stop:
                        break
            print(f"trial {trial.number}: {trial.ended}")
        print(client.get(study))


if __name__ == "__main__":
    main(sys.argv[1])
