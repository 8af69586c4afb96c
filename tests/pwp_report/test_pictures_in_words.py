"""What a picture shows is said twice, in a caption and for those who cannot see it: never alike."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from pwp_lib.cohort import Cohort, Provenance, flow_step
from pwp_lib.measures import PHQ9, Measure
from pwp_lib.numbers import decimals
from pwp_report.analysis import Analysis, analyse
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.release import release_results
from pwp_report.released import ReleasedResults
from pwp_report.report_figures import Drawn, draw_all

_GOOD = Measure("good", "Well-being", 0, 40, 25, 6, higher_is_worse=False)


def _cohort(therapists: int, services: int, measures: tuple[Measure, ...]) -> Cohort:
    """Patients of therapists in services, both of which differ by much."""
    rng = np.random.default_rng(therapists)
    who = np.repeat(np.arange(therapists), 24)
    names = {"patient_id": [f"p{i}" for i in range(len(who))]}
    names |= {
        "therapist_id": [f"t{t:03}" for t in who],
        "service_id": [f"s{t % services}" for t in who],
    }
    of_service = 2 * rng.normal(0, 1, services)[np.arange(therapists) % services]
    apart = (rng.normal(0, 2.5, therapists) + of_service)[who]
    for m in measures:
        first = rng.integers(8, 24, len(who))
        names[m.pre], last = first, 10 + 0.5 * first - m.sign * 4 + apart
        names[m.post] = (last + rng.normal(0, 4, len(who))).clip(m.minimum, m.maximum).round()
    patients = pd.DataFrame(names)
    flow = (flow_step("patients in the file", patients, 0),)
    return Cohort(patients, None, None, measures, Provenance(False, "own.csv"), flow)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((20, 5, (PHQ9, _GOOD)), id="few"),
        pytest.param((60, 8, (PHQ9,)), id="many", marks=pytest.mark.nightly),
    ],
)
def found(
    request: pytest.FixtureRequest,
) -> tuple[Analysis, ReleasedResults, dict[str, Drawn]]:
    cohort = _cohort(*request.param)
    analysis = analyse(cohort, engines=("ml",))
    released = release_results(analysis, DisclosurePolicy())
    return analysis, released, draw_all(analysis, released)


@pytest.mark.nightly
def test_the_words_beside_a_picture_and_in_its_place_are_others(found) -> None:
    _, released, drawn = found
    kinds = {re.sub("_(phq9|good)$", "", name) for name in drawn}
    few = {"rank_intervals"} if released.therapists < 25 else set()
    assert kinds == {
        "caterpillar", "funnel", "funnel_mean", "services", "one_less", "sensitivity", *few
    }  # fmt: skip
    for name, picture in drawn.items():
        for sentence in re.split(r"(?<=[.:;]) ", picture.alt):
            assert sentence not in picture.caption, name
        for sentence in re.split(r"(?<=[.:;]) ", picture.caption):
            assert sentence not in picture.alt, name
        assert picture.alt.endswith(".")
        assert "nan" not in picture.alt


def test_what_is_drawn_is_called_what_it_is(found) -> None:
    _, released, drawn = found
    for name, picture in drawn.items():
        kind, _, _ = name.rpartition("_")
        said = picture.alt + picture.caption.partition("Drawn: ")[2].partition(".")[0]
        unit = "service" if kind == "services" else "therapist"
        assert unit in said
        if unit == "service":
            assert "therapist" not in said
        if kind in ("one_less", "sensitivity"):
            table = released.tables[name].frame["vpc"].dropna()
            assert "choice" not in said
            assert f"effect of {table.iloc[0]:.1f}%" in picture.alt
            others = table.iloc[1:]
            assert f"from {others.min():.1f}% to {others.max():.1f}%" in picture.alt
        if kind == "one_less":
            n = min(13, len(table) - 1)
            assert f"without one therapist ({n} drawn)" in picture.alt
            assert f"Drawn: {n} of {released.therapists} therapists" in picture.caption


def test_a_therapist_has_one_sign_in_pictures_and_tables(found) -> None:
    """Better is at the top of a funnel, whichever way the scale goes."""
    analysis, released, drawn = found
    for name, result in analysis.measures.items():
        table = released.tables[f"residuals_{name}"].frame
        departure = table.loc[table["therapist"] != "others together", "departure"]
        low, high = (f"{v:.{decimals(departure)}f}" for v in (departure.min(), departure.max()))
        ends = f"from {low} to {high} points from the expected"
        picture = drawn[f"funnel_mean_{name}"]
        assert ends.replace("-", "−") in picture.alt
        best = table.set_index("therapist")["departure"].astype(float) * result.measure.sign
        points = re.search(r'(?s)<g id="PathCollection_1">(.*?)</g>\s*</g>', picture.svg.decode())
        assert points
        heights = [float(y) for y in re.findall(r'<use [^>]*y="([\d.]+)"', points[1])]
        # The picture's y grows downwards: the best, of the least departure, is the highest.
        by_table = best.drop("others together", errors="ignore").to_numpy()
        assert np.corrcoef(heights, by_table)[0, 1] == pytest.approx(1, abs=1e-6)
