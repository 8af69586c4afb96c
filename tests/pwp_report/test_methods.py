from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from pwp_report.methods import _boundary, _model


def test_methods_name_what_the_reporting_guidance_asks_for(safe_run: Path) -> None:
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    for words in (
        "two levels", "10 therapists", "complete cases", "y_ij =", "maximum likelihood",
        "95% profile-likelihood interval", "pwp_lib", "seed 1", "not allocated",
    ):  # fmt: skip
        assert words in text
    assert "rounded to the nearest 5" in text
    assert "nan" not in text


def test_methods_say_how_many_patients_a_therapist_has(safe_run: Path, open_run: Path) -> None:
    sample = pd.read_csv(safe_run / "tables" / "sample.csv")
    row = sample[(sample["of whom"] == "caseloads") & (sample["variable"] == "patients")].iloc[0]
    said = f"had {row['mean']:.1f} patients in the mean (SD {row['sd']:.1f}, median "
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    assert said in text
    assert " to " not in text.split(said)[1].split(")")[0]  # The ends are single caseloads.
    openly = (open_run / "methods.txt").read_text(encoding="utf-8")
    assert " to " in openly.split("patients in the mean (")[1].split(")")[0]


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[0.0, 0.0], [0.0, 0.1]], "the variance of the intercept is estimated at zero"),
        ([[1.0, 0.0], [0.0, 0.0]], "the variance of the slope is estimated at zero"),
        ([[0.0, 0.0], [0.0, 0.0]], "the variance of the intercept and the slope is"),
        ([[1.0, 0.5], [0.5, 0.25]], "the correlation of intercept and slope is estimated at its"),
    ],
)
def test_a_singular_fit_is_said_in_words(matrix: list[list[float]], words: str) -> None:
    fit = SimpleNamespace(singular=True, random_covariance=pd.DataFrame(matrix))
    result = SimpleNamespace(fit=fit, posterior=None)
    assert words in _boundary(result)  # type: ignore[arg-type]
    assert "prior" not in _boundary(result)  # type: ignore[arg-type]
    result.posterior = SimpleNamespace(prior=SimpleNamespace(notes=("moved",)))
    assert "prior, which is not defined there" in _boundary(result)  # type: ignore[arg-type]
    fit.singular = False
    assert _boundary(result) == ""  # type: ignore[arg-type]


def test_with_one_measure_nothing_is_said_of_another() -> None:
    result = SimpleNamespace(posterior=None, reml=None)
    one = SimpleNamespace(measures={"phq9": result}, ranks=None, seed=1)
    text = _model(one)  # type: ignore[arg-type]
    assert "own score before treatment, centred on the mean" in text
    assert "other" not in text
    two = SimpleNamespace(measures={"phq9": result, "gad7": result}, ranks=None, seed=1)
    assert "on their product, all centred" in _model(two)  # type: ignore[arg-type]
