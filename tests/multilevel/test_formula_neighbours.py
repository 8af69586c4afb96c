"""Formulas near to those that were once misread: right as in R, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import patsy
import polars as pl
import pytest

from multilevel.errors import InputError
from multilevel.moments import Moments
from multilevel.pooling import withhold_small
from multilevel.sources import design_moments

RNG = np.random.default_rng(8)
N = 180
FRAME = pd.DataFrame(
    {
        "g": RNG.permutation(np.repeat(np.arange(12), N // 12)),
        "x": RNG.integers(1, 27, N),
        "z": RNG.normal(40, 9, N),
        "w": RNG.normal(2, 1, N),
        "a": RNG.choice(["lo", "mid", "hi"], N),
        "b": RNG.choice(["p", "q"], N),
        "code": RNG.choice([1, 2, 9], N),
    }
)
FRAME["flag"] = FRAME["x"] > 13
FRAME["y"] = 5 + 0.5 * FRAME["x"] + RNG.integers(0, 9, N)
HOLDERS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda f: f,
    "polars lazy": lambda f: pl.from_pandas(f).lazy(),
    "duckdb": lambda f: duckdb.from_arrow(pl.from_pandas(f).to_arrow()),
}


def rss(formula: str, table: Any) -> float:
    """Residual sum of squares of the fixed part, which does not depend on how it is coded."""
    design = design_moments(formula, table)
    assert design.centred is not None
    total, x, y = design.total, list(design.fixed), design.response
    xx, xy = total[np.ix_(x, x)], total[x, y]
    return float(total[y, y] - xy @ np.linalg.pinv(xx, hermitian=True, rcond=1e-13) @ xy)


# A column that carries the name of a term is never taken for the term.

ODD = [
    "Intercept",
    "x:z",
    "center(x)",
    "a[lo]",
    "log(z)",
    "I(x - 1)",
    "x / z",
    "10",
    "-x",
    "a b",
    "z:x",
    "a[mid]",
    "a[hi]",
    "x - 1",
    "{x - 1}",
    "scale(x)",
    "C(a)",
    "C(a)[lo]",
    "x ** 2",
    "1",
    "0",
    "1.5",
    "x * z",
    "(1 | g)",
    "x | g",
    "x > 13",
    "a:x",
    "np.log(z)",
    "x+z",
    "residual variance",
]


@pytest.mark.neighbours
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", ODD)
def test_a_column_named_like_a_term_keeps_its_place(name: str, holder: str) -> None:
    beside = "a + x * z + center(x) + log(z) + {x - 1} + {x / z}"
    renamed = HOLDERS[holder](FRAME.rename(columns={"w": name}))
    formula = f"y ~ {beside} + %s + (1 + %s | g)"
    plain = design_moments(formula % ("w", "w"), FRAME)
    made = design_moments(formula % (f"`{name}`", f"`{name}`"), renamed)
    assert len(set(made.names)) == len(plain.names)
    np.testing.assert_allclose(made.cross, plain.cross, rtol=1e-9, atol=1e-6)


# Codings without a constant keep every level, as in R.

CODINGS = [
    "0 + a", "0 + a + b", "0 + b + a", "0 + a:b", "a:b", "a + a:b", "b + a:b", "a * b", "0 + a * b",
    "0 + x + a", "0 + a:x", "a:x", "x + a:x", "a + a:x", "a * x", "0 + a * x", "0 + a:x + b",
    "a / x", "0 + C(code)", "C(code) * x", "C(code):x", "0 + C(flag)", "C(flag):x", "C(flag):a",
    "flag", "flag * x", "flag + a", "x + flag:x", "1 + a - 1", "a + b + a:b:x",
]  # fmt: skip


@pytest.mark.parametrize("coding", CODINGS)
def test_codings_span_what_they_span_in_r(coding: str) -> None:
    x = np.asarray(patsy.dmatrix(coding, FRAME))
    y = FRAME["y"].to_numpy(float)
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    for holder, make in HOLDERS.items():
        found = rss(f"y ~ {coding}", make(FRAME))
        assert found == pytest.approx(float(left @ left), rel=1e-8), holder


#: Terms with truth values, which are numbers here and categories in R.
TRUTHS = ["flag", "up", "flag:a", "a:flag", "flag:up", "flag:x", "flag:a:x", "a:up:x", "C(flag):a"]
BESIDE = ["1", "0", "a", "x", "a + x", "0 + a", "a + a:x", "flag", "flag + a", "x + flag:x"]
WITH_TRUTHS = [f"{beside} + {term}" for beside in BESIDE for term in TRUTHS]
WITH_TRUTHS += [f"{term} + {beside}" for beside in BESIDE[2:] for term in TRUTHS[2:7]]


@pytest.mark.parametrize("coding", WITH_TRUTHS)
def test_truth_values_span_what_they_span_in_r_or_are_refused(coding: str) -> None:
    frame = FRAME.assign(up=FRAME["z"] > 41)
    x = np.asarray(patsy.dmatrix(coding, frame))
    y = frame["y"].to_numpy(float)
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    try:
        found = rss(f"y ~ {coding}", frame)
    except InputError as refusal:
        found = float(left @ left) if "truth values" in str(refusal) else np.nan
    assert found == pytest.approx(float(left @ left), rel=1e-8)


def test_many_formulas_with_truth_values_are_understood() -> None:
    frame, understood = FRAME.assign(up=FRAME["z"] > 41), 0
    for coding in WITH_TRUTHS:
        try:
            understood += design_moments(f"y ~ {coding}", frame).n_total == N
        except InputError:
            continue
    assert understood > 40


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("offset(x)", "offset"),
        ("z + offset(log(x))", "offset"),
        ("a %in% b", "a:b for a %in% b"),
        ("x^2", "write {x"),
        ("I(x^2)", "write {x"),
        ("factor(a)", r"C\(x\) for a category"),
        ("C(a, Treatment('mid'))", "one column"),
        ("0 + flag", "truth values"),
        ("0 + {x > 13}", "truth values"),
        ("flag:x", "truth values"),
        ("a:flag", "truth values"),
        ("np.cumsum(x)", "not known here"),
        ("{a == 'lo'}", "numbers are needed"),
        ("center(a)", "numbers are needed"),
        ("log(x, 2)", "not known here"),
        ("scale(x, 2)", "not known here"),
        ("(1 | g) + offset(x)", "offset"),
        ("I(a)", "numbers are needed"),
    ],
)
def test_what_has_another_meaning_in_r_is_refused_in_words(
    term: str, words: str, holder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=words):
        design_moments(f"y ~ {term}", HOLDERS[holder](FRAME))
    assert capsys.readouterr().out == ""


#: What R knows and the engine has not, or means something else by.
ONLY_IN_R = [
    "offset(x)", "offset(log(x))", "offset(2 * x)", "x:offset(z)", "a %in% b", "x %in% a", "x^2",
    "I(x^2)", "(a + x)^2", "poly(x, 2)", "factor(a)", "as.factor(code)", "ns(x, 3)", "log(x, 2)",
    "relevel(a, 'mid')", "interaction(a, b)", "C(a, Treatment('mid'))", "ifelse(x > 3, 1, 0)",
]  # fmt: skip
PLACES = [
    "{}", "x + {}", "{} + a", "0 + {}", "x * z + {}", "a:b + {} + x", "x + (1 + {} | g)",
    "{} + (1 | g)",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", ONLY_IN_R)
def test_what_only_r_knows_is_refused_wherever_it_stands(
    part: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as refused:
        design_moments(f"y ~ {place.format(part)}", FRAME)
    assert refused.value.hint
    assert capsys.readouterr() == ("", "")


# Columns far from zero lose no digits about their means.


@pytest.mark.parametrize("far", [0.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("whole", [True, False])
def test_sums_about_the_means_do_not_cancel(far: float, whole: bool) -> None:
    noise = FRAME["z"].round() if whole else FRAME["z"]
    moved = FRAME.assign(z=noise + far, y=FRAME["y"] + 3 * noise + far)
    design = design_moments("y ~ z + (1 + z | g)", moved)
    rows = np.column_stack([np.ones(N), noise, FRAME["y"] + 3 * noise])
    rows[:, 1:] -= rows[:, 1:].mean(axis=0)
    assert design.centred is not None
    np.testing.assert_allclose(design.centred.sum(axis=0), rows.T @ rows, rtol=1e-6, atol=1e-4)
    assert design.centres[0] == 0.0
    assert design.centres[1] == pytest.approx(noise.mean() + far)


@pytest.mark.parametrize("formula", ["y ~ 0 + z + (0 + z | g)", "y ~ z + (0 + z | g)"])
def test_nothing_is_taken_off_where_that_would_be_another_model(formula: str) -> None:
    design = design_moments(formula, FRAME)
    assert design.centres[design.names.index("z")] == 0.0


# What may be shared.


@pytest.mark.parametrize("codes", [(0, 1), (1, 2), (0, 2), (-1, 1), (1, 9), (0.5, 1.5), "mf"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_lone_member_of_a_category_is_withheld_however_it_is_coded(
    codes: Any, lazy: bool, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"post": RNG.integers(0, 28, 120), "g": np.repeat(list("abcd"), 30)})
    frame["gender"] = [codes[0] if i % 2 else codes[1] for i in range(120)]
    frame.loc[:29, "gender"] = codes[0]
    frame.loc[3, "gender"] = codes[1]
    table = pl.from_pandas(frame).lazy() if lazy else frame
    moments = Moments.for_formula("post ~ gender + (1 | g)", table)
    assert moments.smallest_cell is not None
    assert moments.smallest_cell.tolist() == [1, 15, 15, 15]
    kept = moments.write(tmp_path / "m.parquet", minimum_rows=10)
    assert kept.groups.tolist() == list("bcd")
    back = Moments.read(tmp_path / "m.parquet")
    assert back.smallest_cell is not None
    assert back.smallest_cell.tolist() == [15, 15, 15]


@pytest.mark.parametrize(("power", "kept"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_more_rows_are_needed_where_higher_powers_are_stored(power: int, kept: int) -> None:
    n = [25, 45, 250]
    frame = pd.DataFrame({"x": RNG.integers(0, 28, sum(n)), "g": np.repeat(list("abc"), n)})
    frame["y"] = RNG.integers(0, 28, sum(n))
    powers = " + ".join(f"{{x ** {p}}}" for p in range(1, power + 1))
    moments = Moments.for_formula(f"y ~ {powers} + (1 | g)", frame)
    assert len(withhold_small(moments).groups) == kept
