"""Formulas mean what they mean in lme4, or are refused in words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from multilevel.formula import parse_formula


def fixed(text: str) -> list[str]:
    return [t.name for t in parse_formula(text).fixed]


def random(text: str) -> list[str]:
    return [t.name for t in parse_formula(text).random]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("y ~ 1", ["Intercept"]),
        ("y ~ x", ["Intercept", "x"]),
        ("y ~ x - 1", ["x"]),
        ("y ~ -1 + x", ["x"]),
        ("y ~ 0 + x", ["x"]),
        ("y ~ x + 0", ["x"]),
        ("y ~ (1 | g)", ["Intercept"]),
        ("y ~ a * b", ["Intercept", "a", "b", "a:b"]),
        ("y ~ a + b:a + a:b", ["Intercept", "a", "b:a"]),
        ("y ~ a / b", ["Intercept", "a", "a:b"]),
        ("y ~ (a + b) / c", ["Intercept", "a", "b", "a:b:c"]),
        ("y ~ (a + b + c) ** 2", ["Intercept", "a", "b", "c", "a:b", "a:c", "b:c"]),
        ("y ~ a * b * c - a:b:c", ["Intercept", "a", "b", "a:b", "c", "a:c", "b:c"]),
        ("y ~ a + b - a", ["Intercept", "b"]),
        ("y ~ x + x:x", ["Intercept", "x"]),
        ("y ~ {x - 10}", ["Intercept", "I(x - 10)"]),
        ("y ~ I(x - 10) + {x-10}", ["Intercept", "I(x - 10)"]),
        ("y ~ center(x) * scale(z)", ["Intercept", "center(x)", "scale(z)", "center(x):scale(z)"]),
        ("y ~ `a b` + C(s)", ["Intercept", "a b", "C(s)"]),
    ],
)
def test_fixed_terms(text: str, terms: list[str]) -> None:
    assert fixed(text) == terms


@pytest.mark.parametrize(
    ("bar", "terms"),
    [
        ("(1 | g)", ["Intercept"]),
        ("(x | g)", ["Intercept", "x"]),
        ("(1 + x | g)", ["Intercept", "x"]),
        ("(x + 1 | g)", ["Intercept", "x"]),
        ("(0 + x | g)", ["x"]),
        ("(x - 1 | g)", ["x"]),
        ("(-1 + x | g)", ["x"]),
        ("(center(x) + z | g)", ["Intercept", "center(x)", "z"]),
        ("(0 + x * z | g)", ["x", "z", "x:z"]),
    ],
)
def test_random_terms(bar: str, terms: list[str]) -> None:
    formula = parse_formula(f"y ~ w + {bar}")
    assert [t.name for t in formula.random] == terms
    assert formula.group == "g"
    assert fixed(f"y ~ w + {bar}") == ["Intercept", "w"]


def test_taking_the_constant_out_leaves_the_random_part_alone() -> None:
    text = "y ~ x + (1 + x | g) - 1"
    assert fixed(text) == ["x"]
    assert random(text) == ["Intercept", "x"]


@pytest.mark.parametrize(
    ("bars", "above", "terms"),
    [
        ("(1 | a) + (1 | b)", "a", ["Intercept"]),
        ("(1 | a) + (1 + x | b)", "a", ["Intercept", "x"]),
        ("(x | b) + (1 | a)", "a", ["Intercept", "x"]),
        ("(1 | a/b)", "a", ["Intercept"]),
        ("(1 | `a b`/b)", "a b", ["Intercept"]),
    ],
)
def test_two_factors_are_three_levels(bars: str, above: str, terms: list[str]) -> None:
    formula = parse_formula(f"y ~ w + {bars}")
    assert (formula.group, formula.above, formula.within) == ("b", above, "/" in bars)
    assert [t.name for t in formula.random] == terms


def test_no_random_term_gives_a_single_level_model() -> None:
    formula = parse_formula("y ~ x")
    assert formula.random == ()
    assert formula.group == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y ~ x + (1 || g)", "uncorrelated"),
        ("y ~ x + (x | | g)", "uncorrelated"),
        ("y ~ x + (1 | g) + (0 + x | g)", "uncorrelated"),
        ("y ~ x + (1 | f) + (1 | g) + (1 | h)", "more than three levels"),
        ("y ~ x + (1 | f/g/h)", "one column"),
        ("y ~ x + (1 | g/h) + (1 | f)", "one column"),
        ("y ~ x + (x | g/h)", "write (1 | g), and (1 + x | h)"),
        ("y ~ x + (x | g) + (x | h)", "more than the intercept"),
        ("y ~ x + (1 | g:h)", "one column"),
        ("y ~ x + (1 | g + h)", "one column"),
        ("y ~ x | g", "in brackets"),
        ("y ~ x - (1 | g)", "not taken away"),
        ("y ~ x * (1 | g)", "stands alone"),
        ("y ~ (0 | g)", "no term"),
        ("y ~ (1 | log(g))", "one column"),
        ("y ~ x ** 2", "write {x ** 2}"),
        ("y ~ x ^ 2", "cannot be read"),
        ("y ~ (x + z", "cannot be read"),
        ("y ~ x) + z", "cannot be read"),
        ("y ~ 3 + x", "3 on its own"),
        ("y", "one ~"),
        ("y ~ x ~ z", "one ~"),
        ("1 ~ x", "response"),
        ("y ~ y + x", "y is the response"),
        ("y ~ g + (1 | g)", "g is the grouping factor"),
        ("y ~ 0", "no term"),
        ("y ~ {a:b}", "inside"),
        ("", "one ~"),
        ("y ~ {-x ** 2}", "what ** is applied to"),
        ("y ~ I(2 ** x ** 2)", "what ** is applied to"),
        ("I(z * -y ** 2) ~ x", "what ** is applied to"),
        ("y ~ {1 < x < 3}", "what < is applied to"),
        ("y ~ I(z == 1 > x)", "what > is applied to"),
        ("y ~ x - (z - 1)", "a difference is taken away"),
        ("y ~ x--z", "a difference is taken away"),
        ("y ~ center(x)(z)", "cannot be read"),
        ("y ~ {log(x)(z)(2)}", "only makes sense outside"),
        ("log(y)(1) ~ x", "only makes sense outside"),
    ],
)
def test_refusals_say_why(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_formula(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("{(x - 1) * 2}", "I((x - 1) * 2)"),
        ("{x - (1 - z)}", "I(x - (1 - z))"),
        ("{x - 1 - z}", "I(x - 1 - z)"),
        ("{(x / z) ** 2}", "I((x / z) ** 2)"),
        ("{-(x + 1)}", "I(-(x + 1))"),
        ("{-(x ** 2)}", "I(-(x ** 2))"),
        ("{(-x) ** 2}", "I((-x) ** 2)"),
        ("{2 ** (x ** 2)}", "I(2 ** (x ** 2))"),
        ("{2 ** -x}", "I(2 ** (-x))"),
        ("{(1 < x) == (x < 3)}", "I((1 < x) == (x < 3))"),
    ],
)
def test_names_keep_the_brackets_that_matter(written: str, printed: str) -> None:
    assert fixed(f"y ~ {written}") == ["Intercept", printed]
    assert fixed(f"y ~ {printed}") == ["Intercept", printed]


@pytest.mark.parametrize(
    ("right", "terms"),
    [
        ("x + z - (z + 1)", ["x"]),
        ("x - (z + 0)", ["Intercept", "x"]),
        ("x * z - (x + x:z)", ["Intercept", "z"]),
        ("-(x + 1) + z", ["z"]),
        ("x + -(z + 1)", ["x"]),
    ],
)
def test_a_sum_taken_away_takes_each_of_its_terms_as_in_r(right: str, terms: list[str]) -> None:
    assert fixed(f"y ~ {right}") == terms


@given(st.text(alphabet="xyzg01 +-*/:|(){}~,.^C'", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InputError):  # anything else would be a fault
        assert parse_formula(text).text == text


@pytest.mark.parametrize("signs", [201, 600, 5_000])
@pytest.mark.parametrize("sign", ["+", "-", ":", "*", "/"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_formula_too_long_for_python_is_refused_in_words(
    inside: bool, sign: str, signs: int
) -> None:
    sum_of = f" {sign} ".join(["x"] * (signs + 1))
    with pytest.raises(InputError, match="more than 200 signs"):
        parse_formula(f"y ~ {{{sum_of}}}" if inside else f"y ~ {sum_of}")


def _deeper(frames: int, call: Callable[[], Any]) -> Any:
    return _deeper(frames - 1, call) if frames else call()


def test_the_longest_formula_is_read_wherever_it_is_called_from() -> None:
    """From as deep as a notebook's cell is; brackets one after the other do not count."""
    frame = pd.DataFrame({"y": [1.0, 3.0, 2.0, 5.0], "x": [1.0, 2.0, 4.0, 5.0]})
    sum_of = " + ".join(["(x)"] * 200)
    long = _deeper(60, lambda: fit_mixed(f"y ~ {{{sum_of}}}", frame))
    with pytest.raises(InputError, match="more than 200 signs"):
        parse_formula(f"y ~ {'(' * 201}x{')' * 201}")
    assert long.deviance == pytest.approx(fit_mixed("y ~ x", frame).deviance, abs=1e-9)
