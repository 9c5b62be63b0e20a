"""The surface that judges proposals: its numbers are those of scikit-learn, and it finds where scores are good."""

import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from luthier.studies.search.expected_improvement import Cube, Surface

DIMENSIONS = {
    "rate": FloatDistribution(1e-6, 1e-2, log=True),
    "epochs": IntDistribution(1, 5),
    "batch": CategoricalDistribution((8, 16, 32)),
    "optimizer": CategoricalDistribution(("adamw", "sgd")),
}


def configurations(count: int) -> list[dict[str, float | int | str]]:
    rng = np.random.default_rng(5)
    return [
        {
            "rate": float(10 ** rng.uniform(-6, -2)),
            "epochs": int(rng.integers(1, 6)),
            "batch": int(rng.choice([8, 16, 32])),
            "optimizer": str(rng.choice(["adamw", "sgd"])),
        }
        for _ in range(count)
    ]


def score(one: dict[str, float | int | str]) -> float:
    rate = math.log10(float(one["rate"]))
    return 0.9 - 0.1 * (rate + 4) ** 2 + 0.02 * float(one["epochs"]) - 0.3 * (one["optimizer"] == "sgd")


def fitted(count: int) -> tuple[Cube, Surface, list[dict[str, float | int | str]]]:
    known = configurations(count)
    cube = Cube(DIMENSIONS)
    return cube, Surface(cube, cube.points(known), np.array([score(one) for one in known])), known


def test_points_lie_in_a_cube_and_words_are_one_apart() -> None:
    cube = Cube(DIMENSIONS)
    points = cube.points(
        [
            {"rate": 1e-6, "epochs": 1, "batch": 8, "optimizer": "adamw"},
            {"rate": 1e-4, "epochs": 3, "batch": 16, "optimizer": "sgd"},
            {"rate": 1e-2, "epochs": 5, "batch": 32, "optimizer": "sgd"},
        ]
    )
    assert cube.squares(points[:1], points) == pytest.approx(
        np.array([[[0, 0, 0, 0], [0.25, 0.25, 0.25, 1], [1, 1, 1, 1]]])
    )


def test_means_and_deviations_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.gaussian_process")
    from sklearn.gaussian_process.kernels import Matern

    cube, surface, known = fitted(25)
    tried = configurations(60)
    kernel = Matern(length_scale=surface.lengths, nu=2.5)
    reference = sklearn.GaussianProcessRegressor(kernel, alpha=surface.noise, optimizer=None)
    reference.fit(cube.points(known), surface.targets)
    means, deviations = reference.predict(cube.points(tried), return_std=True)
    ours = surface.predicted(cube.points(tried))
    assert ours[0] == pytest.approx(means, abs=1e-8)
    assert ours[1] == pytest.approx(deviations, abs=1e-6)


def test_more_is_expected_where_scores_are_good_and_less_where_all_is_known() -> None:
    cube, surface, known = fitted(40)
    good = {"rate": 1e-4, "epochs": 5, "batch": 16, "optimizer": "adamw"}
    bad = [good | {"rate": 1e-6}, good | {"rate": 1e-2}, good | {"optimizer": "sgd"}, good | {"epochs": 1}]
    gains = surface.log_gains(cube.points([good, *bad]))
    assert np.all(gains[0] > gains[1:])
    worst = min(known, key=score)
    assert surface.log_gains(cube.points([worst]))[0] < gains[0] - 5


def test_equal_scores_and_a_single_trial_have_a_surface_too() -> None:
    cube = Cube(DIMENSIONS)
    for count in (1, 3):
        surface = Surface(cube, cube.points(configurations(count)), np.full(count, 0.5))
        assert np.all(np.isfinite(surface.log_gains(cube.points(configurations(5)))))


def test_a_surface_goes_through_the_best_and_the_latest_of_many_trials() -> None:
    cube = Cube(DIMENSIONS)
    known = configurations(400)
    scores = np.array([score(one) for one in known])
    surface = Surface(cube, cube.points(known), scores)
    assert len(surface.targets) == 150
    best = known[int(np.argmax(scores))]
    assert surface.predicted(cube.points([best]))[0][0] > 1.0
