"""What our style and our words for optuna-dashboard rely on in it; after an upgrade each says what to look at."""

from importlib.resources import files

import pytest
from optuna.study import study as optuna_study

from luthier.service.api import dashboard
from luthier.service.api.static_files import FOLDER

HIDDEN = ["rename study", "delete study", "delete artifact", "AddBox", "Edit"]


def test_optuna_names_objectives_by_the_same_attribute() -> None:
    message = "Optuna keeps names of objectives elsewhere now: look at `Study.set_metric_names`, and at METRIC_NAMES"
    assert optuna_study._SYSTEM_ATTR_METRIC_NAMES == dashboard.METRIC_NAMES, message


def test_its_page_takes_our_style_and_the_way_back() -> None:
    page = dashboard._page()
    assert page.count('rel="stylesheet"') == 1, "optuna-dashboard's index.html has no </head> to put our style before"
    assert page.count("luthier-back") == 1, "optuna-dashboard's index.html has no </body> to put the way back before"


@pytest.mark.parametrize("word", HIDDEN)
def test_what_is_hidden_still_has_its_name(word: str) -> None:
    bundle = files("optuna_dashboard").joinpath("public/bundle.js").read_text(encoding="utf-8")
    message = f"optuna-dashboard has no `{word}` any more: look at its buttons, and at static/dashboard.css"
    assert f'"{word}"' in bundle, message
    assert word in (FOLDER / "dashboard.css").read_text(encoding="utf-8")
