"""What is said of workers whose versions differ."""

from luthier.service.api.worker_notes import common_versions, notes
from luthier.studies.versions import LIBRARIES, OLDEST_PROTOCOL, PROTOCOL, installed, refusal


def test_differences_from_the_service_and_from_most_workers_are_told() -> None:
    common = common_versions([{"torch": "2.5.0"}, {"torch": "2.5.0"}, {"torch": "2.4.1", "numpy": "2.1"}])
    assert common == {"torch": "2.5.0", "numpy": "2.1"}
    assert notes("1.0", {"torch": "2.5.0"}, "1.0", common) == []
    assert notes("", {}, "1.0", common) == [], "an old worker does not say"
    older, other = notes("0.9", {"torch": "2.4.1", "numpy": "2.1"}, "1.0", common)
    assert "Luthier 0.9, the service 1.0" in older
    assert "pip install luthier==1.0" in older
    assert "torch 2.4.1 (others have 2.5.0)" in other
    assert "numpy" not in other


def test_of_two_versions_as_common_as_each_other_one_is_told() -> None:
    assert common_versions([{"torch": "2.5"}, {"torch": "2.4"}]) == {"torch": "2.4"}


def test_only_versions_that_are_served_are_not_refused() -> None:
    assert refusal(PROTOCOL, "9.9", "1.0") is None
    assert refusal(OLDEST_PROTOCOL, "", "1.0") is None
    newer, older = refusal(PROTOCOL + 1, "9.9", "1.0"), refusal(OLDEST_PROTOCOL - 1, "", "1.0")
    assert newer is not None
    assert older is not None
    for part in ("Luthier 9.9", f"version {PROTOCOL + 1} of", "newer", "Luthier 1.0", "pip install luthier==1.0"):
        assert part in newer
    assert "an unknown version" in older
    assert "older" in older


def test_versions_of_libraries_are_known_without_their_import() -> None:
    assert set(installed()) == set(LIBRARIES)
    assert installed(["no-such-library"]) == {}
