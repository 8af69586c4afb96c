"""Kappa of two coders against statsmodels, codes being labels within their high-order themes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from multilevel import InputError
from pwp_lib.themes import _COLUMNS, coder_agreement

#: Codes of each role: some labels stand under two high-order themes.
CODES = [(high, label) for high in "HKL" for label in "abcd"]


def segments(seed: int) -> pd.DataFrame:
    """Interviews of two roles: most coded twice, some codes given more than once."""
    rng = np.random.default_rng(seed)
    codes = [CODES[i] for i in rng.permutation(len(CODES))[: rng.integers(3, 11)]]
    rows = []
    for person in range(rng.integers(2, 9)):
        role, once = ("pwp", "supervisor")[person % 2], person > 1 and rng.random() < 0.3
        likely = rng.uniform(0.15, 0.7)
        for code in codes:
            first, slip = rng.random() < likely, rng.random() < 0.25
            for coder, given in (("first", first), ("second", first != slip)):
                if given and not (once and coder == "second"):
                    times = int(rng.integers(1, 4))
                    rows += [(f"P{person}", role, coder, *code)] * times
        # Each coder gives at least one code, or the interview was not coded by both.
        rows.append((f"P{person}", role, "first", *codes[0]))
        rows += [] if once else [(f"P{person}", role, "second", *codes[rng.integers(2)])]
    names = ["participant_id", "role", "coder", "high_order_theme", "lower_order_theme"]
    table = pd.DataFrame(rows, columns=names).assign(therapist_id="T")
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each coder gave each code of the role to each interview that both coded."""
    table = table.assign(code=table["high_order_theme"] + " > " + table["lower_order_theme"])
    template = table[["role", "code"]].drop_duplicates()
    coders = table.groupby("participant_id")["coder"].nunique()
    people = table[["participant_id", "role"]].drop_duplicates()
    people = people[people["participant_id"].map(coders) == 2]
    every = people.merge(template, on="role")
    for coder in ("first", "second"):
        given = table.loc[table["coder"] == coder, ["participant_id", "code"]].drop_duplicates()
        every = every.merge(given.assign(**{coder: 1}), how="left", on=["participant_id", "code"])
    return every.fillna({"first": 0, "second": 0})


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(90))
def test_kappa_is_that_of_the_cells_of_all_codes(seed: int) -> None:
    table = segments(seed)
    found, every = coder_agreement(table), cells(table)
    crossed = pd.crosstab(every["first"], every["second"])
    crossed = crossed.reindex(index=[0, 1], columns=[0, 1], fill_value=0).to_numpy()
    assert set(found.participants) == set(every["participant_id"])
    assert (found.agreed, found.only_first, found.only_second) == (
        crossed[1, 1],
        crossed[1, 0],
        crossed[0, 1],
    )
    assert found.percent == pytest.approx(100 * crossed[1, 1] / (crossed.sum() - crossed[0, 0]))
    if max(crossed[1, 1], crossed[0, 0]) == crossed.sum():  # kappa is 0 over 0
        assert np.isnan(found.kappa)
    else:
        assert found.kappa == pytest.approx(
            float(cohens_kappa(crossed, return_results=False)), abs=1e-12
        )


@pytest.mark.nightly
def test_most_of_the_cases_tell_the_themes_apart() -> None:
    """Without the high-order theme another kappa would come out in most of them."""
    differ = 0
    for seed in range(90):
        table = segments(seed)
        one = coder_agreement(table.assign(high_order_theme="H")).kappa
        differ += abs(one - coder_agreement(table).kappa) > 1e-6
    assert differ > 60


@pytest.mark.parametrize("column", _COLUMNS)
@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT], ids=str)
def test_a_segment_that_lacks_a_value_is_refused_in_words(column: str, missing: object) -> None:
    table = segments(7).astype(object)
    table.loc[table.index[table["coder"] == "second"][3], column] = missing
    if column == "coder":  # nobody's segment is none of the two coders'
        assert coder_agreement(table).kappa == pytest.approx(
            coder_agreement(table.dropna()).kappa, abs=1e-12
        )
        return
    with pytest.raises(InputError, match=f"column {column}: a segment lacks a value"):
        coder_agreement(table)


@pytest.mark.parametrize("seed", range(6))
def test_interviews_may_be_numbered_and_named(seed: int) -> None:
    table = segments(seed)
    mixed = table["participant_id"].map(lambda p: int(p[1:]) if int(p[1:]) % 2 else p)
    found = coder_agreement(table.assign(participant_id=mixed))
    expected = coder_agreement(table).kappa
    assert found.kappa == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(6))
def test_an_interview_of_two_roles_is_refused(seed: int) -> None:
    """What neither coder gave is counted by the role: there were -2 such codes, and kappa -4."""
    table = segments(seed)
    other = {"pwp": "supervisor", "supervisor": "pwp"}
    wrong = table["participant_id"] == "P0"
    for coder in ("first", "second"):
        rows = wrong & (table["coder"] == coder)
        changed = table.assign(role=table["role"].mask(rows, table["role"].map(other)))
        with pytest.raises(InputError, match="column role: an interview has two roles"):
            coder_agreement(changed)
    # Of both coders alike it is another role, and no contradiction.
    coder_agreement(table.assign(role=table["role"].mask(wrong, table["role"].map(other))))
    # And a third coder is not compared.
    third = table[wrong].assign(coder="third", role=table["role"].map(other))
    coder_agreement(pd.concat([third, table]))
