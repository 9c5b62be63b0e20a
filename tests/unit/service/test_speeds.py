"""Which workers count as far slower than their peers: many and equal numbers, and a wide margin."""

import pytest

from luthier.service.lifecycle.speeds import Speed, find_slow

NOBODY: frozenset[str] = frozenset()


def speeds(worker: str, *values: float, alike: str = "x") -> list[Speed]:
    return [Speed(worker, (alike,), value) for value in values]


PEERS = speeds("b", 95, 105, 100) + speeds("c", 110, 90, 100)


def test_a_third_of_the_speed_is_far_slower_and_the_numbers_are_told() -> None:
    slow = find_slow(PEERS + speeds("a", 20, 25, 30, 22, 21), {}, NOBODY)
    assert list(slow) == ["a"]
    assert "in 5 trials 22 examples per second where theirs had 100, 22 % of their speed" in slow["a"]


@pytest.mark.parametrize(
    "own",
    [(35, 36, 34, 35, 35), (20, 25, 30, 22), (20, 20, 90, 95, 100), (300, 300, 300, 300, 300)],
    ids=["not so slow", "too few", "slow now and then", "faster"],
)
def test_what_is_no_proof(own: tuple[float, ...]) -> None:
    assert find_slow(PEERS + speeds("a", *own), {}, NOBODY) == {}


def test_of_a_worker_that_was_slow_before_one_trial_suffices() -> None:
    assert list(find_slow(PEERS + speeds("a", 20), {}, frozenset({"a"}))) == ["a"]
    assert find_slow(PEERS + speeds("a", 80), {}, frozenset({"a"})) == {}


def test_two_workers_cannot_say_which_of_them_is_right() -> None:
    assert find_slow(speeds("b", *[100] * 9) + speeds("a", *[20] * 9), {}, NOBODY) == {}


def test_only_like_is_compared_with_like() -> None:
    heavy = speeds("a", *[20] * 9, alike="heavy")
    assert find_slow(PEERS + heavy, {}, NOBODY) == {}
    own = speeds("a", *[20] * 3) + speeds("a", *[2] * 2, alike="heavy")
    both = PEERS + speeds("b", 10, 10, alike="heavy") + speeds("c", 10, 10, alike="heavy") + own
    assert list(find_slow(both, {}, NOBODY)) == ["a"], "few of each kind are enough together"


def test_workers_that_share_a_gpu_may_be_slower_by_their_number() -> None:
    own = speeds("a", *[20] * 5)
    assert find_slow(PEERS + own, {"a": 4, "b": 4, "c": 4}, NOBODY) == {}
    assert list(find_slow(PEERS + speeds("a", *[8] * 5), {"a": 4, "b": 4, "c": 4}, NOBODY)) == ["a"]


def test_peers_without_speed_prove_nothing() -> None:
    assert find_slow(speeds("b", 0, 0) + speeds("c", 0, 0) + speeds("a", *[0] * 5), {}, NOBODY) == {}
