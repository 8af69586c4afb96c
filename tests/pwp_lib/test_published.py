"""The paper's figures, against what its text prints and what arithmetic allows."""

from __future__ import annotations

import pytest

from multilevel.errors import InputError
from pwp_lib.published import published, published_figure, published_figures


def value(id: str) -> float:
    return published_figure(id).value


def test_ids_are_unique_and_start_with_their_topic() -> None:
    figures = published_figures()
    ids = [figure.id for figure in figures]
    assert len(ids) == len(set(ids))
    assert all(figure.id.startswith(figure.topic + ".") for figure in figures)
    assert all(not f.measure or f"{f.measure}" in f.id.split(".") for f in figures)


def test_about_142_printed_numbers_are_testable() -> None:
    numbers = [f for f in published_figures() if f.testable and f.relation == "="]
    assert 138 <= len(numbers) <= 150


def test_what_is_not_testable_or_contradicted_says_why() -> None:
    assert all(f.note for f in published_figures() if not f.testable or f.contradicted)


@pytest.mark.parametrize(
    ("id", "number", "rounding"),
    [
        ("people.patients", 1122, 0),
        ("people.age_mean", 41, 0.5),
        ("outcomes.phq9.improvement", 31.6, 0.05),
        ("models.phq9.lr_intercept", 142.023, 0.0005),
        ("scales.supervisor_experientiality.u", 0.5, 0.0005),
        ("clusters.gad7.rcsi_chi2", 74.52, 0.005),
        ("models.gad7.slope_variance_se", 0.010, 0.0005),
        ("models.phq9.lr_slope_p", 0.01, 0),
        ("ranks.therapist_17_upper", 1, 0),
    ],
)
def test_value_and_rounding_follow_from_the_printed_digits(
    id: str, number: float, rounding: float
) -> None:
    figure = published_figure(id)
    assert (figure.value, figure.rounding) == (number, pytest.approx(rounding, abs=1e-15))


@pytest.mark.parametrize("measure", ["phq9", "gad7"])
def test_printed_figures_agree_with_one_another(measure: str) -> None:
    n = value("people.patients")
    assert published_figure(f"outcomes.{measure}.caseness").matches(
        100 * value(f"outcomes.{measure}.cases") / n
    )
    # The likelihood ratios give the printed bounds on p.
    from scipy.stats import chi2

    for step, df in (("intercept", 1), ("slope", 2)):
        p = chi2.sf(value(f"models.{measure}.lr_{step}"), df)
        assert published_figure(f"models.{measure}.lr_{step}_p").matches(p)


def test_caseload_means_are_contradicted_by_arithmetic() -> None:
    mean = value("people.patients") / value("people.therapists")
    for page in ("p10", "p11"):
        figure = published_figure(f"people.caseload_mean_{page}")
        assert figure.contradicted
        assert not figure.matches(mean)


def test_cluster_sizes_follow_from_the_percentages() -> None:
    """No other pair of sizes near them gives all twelve rates and the chi-squares."""
    from scipy.stats import chi2_contingency

    counts = {"phq9": (129, 104), "gad7": (162, 141)}
    for measure, (up, low) in counts.items():
        table = [[up, 278 - up], [low, 548 - low]]
        statistic = chi2_contingency(table, correction=False).statistic
        assert published_figure(f"clusters.{measure}.improvement_chi2").matches(statistic)
        assert published_figure(f"clusters.{measure}.upper_improvement").matches(100 * up / 278)
        assert published_figure(f"clusters.{measure}.lower_improvement").matches(100 * low / 548)


def test_matches_each_relation() -> None:
    assert published_figure("ranks.correlation_p").matches(0.0009)
    assert not published_figure("ranks.correlation_p").matches(0.001)
    assert published_figure("scales.ego_strength.p").matches(0.2)
    assert not published_figure("scales.ego_strength.p").matches(0.04)
    assert published_figure("ranks.upper_services").matches(2)
    assert not published_figure("ranks.upper_services").matches(1)
    assert published_figure("scales.resilience.upper_like_population").matches(78)
    assert not published_figure("scales.resilience.upper_like_population").matches(70)
    median = published_figure("mcmc.phq9.vpc_median")
    assert not median.matches(9.8)
    assert median.matches(9.8, monte_carlo_error=0.03)
    assert published_figure("outcomes.phq9.change_mean").matches(3.345)


def test_a_value_that_is_not_a_number_matches_nothing() -> None:
    assert not any(f.matches(float("nan")) for f in published_figures())


def test_table_has_every_figure() -> None:
    table = published()
    assert table.index.tolist() == [f.id for f in published_figures()]
    assert set(table["status"]) == {"stated", "inferred", "ours"}


def test_unknown_id_is_bad_input() -> None:
    with pytest.raises(InputError, match="no figure"):
        published_figure("people.nobody")


def means_of_whole_numbers(mean: float, decimals: int, low: int, high: int) -> list[int]:
    """Over how many whole numbers a mean can print so."""
    return [n for n in range(low, high + 1) if round(round(mean * n) / n + 1e-12, decimals) == mean]


def test_what_the_notes_say_of_means_is_true() -> None:
    assert means_of_whole_numbers(53.55, 2, 18, 23) == [20, 22]
    assert means_of_whole_numbers(53.30, 2, 18, 23) == [20, 23]
    assert not {20, 21} & set(means_of_whole_numbers(29.91, 2, 18, 23))
    shares = [f for f in published_figures() if f.id.startswith("people.ethnicity_")]
    short = 100 - sum(f.value for f in shares)
    assert short > sum(f.rounding for f in shares)
    # Six of the 21 therapists' and 17 supervisors' interviews.
    interviews = value("people.therapists") + value("people.supervisors")
    percent = published_figure("interviews.coded_twice_percent")
    assert percent.contradicted
    assert not percent.matches(100 * value("interviews.coded_twice") / interviews)
