"""Figures to play with: what stands on the page before, and what the script needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from multilevel.errors import InputError
from pwp_lib.show import interactive

ROOT = Path(__file__).resolve().parents[3]
NAMES = ["T01", "T02", "T03", "T04", "T05"]


def page_of(playable: interactive.Playable) -> Any:
    return BeautifulSoup(playable.to_html(), "html.parser")


def data_of(playable: interactive.Playable) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page_of(playable).script.string)
    return found


def five_residuals(shift: float = 0.0) -> pd.DataFrame:
    residual = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) + shift
    frame = pd.DataFrame({"n": [40, 8, 20, 12, 100], "residual": residual}, index=NAMES)
    return frame.assign(lower=residual - 1.5, upper=residual + 1.5, rank=[1, 2, 3, 4, 5])


def shrinkage() -> interactive.Playable:
    table = pd.DataFrame({"n": [8, 20, 100], "raw": [-3.0, 1, 2], "residual": [-1.0, 0.7, 1.9]})
    table.index = pd.Index(["a", "b", "c"])
    return interactive.play_shrinkage(table, 2.8, 27.0, caption="Move the *sliders*.")


def precision() -> interactive.Playable:
    rows = [(t, p, v, v / 2, 2 * v, 0.5) for v in (0.05, 0.1) for t in (10, 20) for p in (5, 50)]
    columns = ["therapists", "patients", "vpc", "lower", "upper", "power"]
    return interactive.play_precision(pd.DataFrame(rows, columns=columns), design=(21, 53))


@pytest.mark.parametrize("make", [shrinkage, precision])
def test_it_reads_without_the_script_and_every_control_has_a_label(make: Any) -> None:
    page = page_of(make())
    figure = page.find("figure", class_="pwp-play")
    picture = figure.select_one(".pwp-static img")
    assert len(picture["alt"]) > 20
    assert picture["src"].startswith("data:image/")
    controls = figure.select("input, select")
    assert controls
    assert all(
        c.find_parent("label") and c.find_parent("label").get_text(strip=True) for c in controls
    )
    # The script names its drawings as the page does.
    script = (ROOT / "book" / "_static" / "play.js").read_text(encoding="utf-8")
    assert f"draw.{figure['data-play']} =" in script


def test_shrinkage_holds_the_raw_means_and_starts_at_the_fit() -> None:
    playable = shrinkage()
    assert data_of(playable)["raw"] == [-3.0, 1.0, 2.0]
    values = {c.name: c.value for c in playable.controls}
    assert values["tau"] == pytest.approx(2.8**0.5, abs=0.05)
    assert values["sigma"] == pytest.approx(27**0.5, abs=0.05)
    assert page_of(playable).figcaption.em.get_text() == "sliders"


def test_shrinkage_needs_variances_above_zero() -> None:
    table = pd.DataFrame({"n": [8], "raw": [1.0], "residual": [0.0]})
    with pytest.raises(InputError, match="above zero"):
        interactive.play_shrinkage(table, 0.0, 5.0)


def test_precision_starts_at_the_nearest_design_and_lists_every_combination() -> None:
    playable = precision()
    data = data_of(playable)
    assert data["therapists"][data["start"][1]] == 20
    assert data["patients"][data["start"][2]] == 50
    assert len(data["power"]) == 8
    assert data["upper"][-1] == pytest.approx(0.2)


def test_a_grid_with_gaps_is_refused() -> None:
    rows = pd.DataFrame([(10, 5, 0.1, 0, 0.2, 0.5), (20, 50, 0.1, 0, 0.2, 0.6)])
    rows.columns = pd.Index(["therapists", "patients", "vpc", "lower", "upper", "power"])
    with pytest.raises(InputError, match="every combination"):
        interactive.play_precision(rows)


def test_data_cannot_end_the_script_element() -> None:
    table = pd.DataFrame({"n": [8], "raw": [1.0], "residual": [0.5]}, index=["</script><b>"])
    html = interactive.play_shrinkage(table, 1.0, 5.0).to_html()
    assert "</script><b>" not in html
