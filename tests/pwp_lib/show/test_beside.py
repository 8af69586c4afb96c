"""The paper's figures beside ours."""

from __future__ import annotations

import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.show.beside import paper_beside_ours, paper_table

BOARD = pd.DataFrame(
    {
        "topic": ["models", "models", "models", "ranks", "people"],
        "quantity": ["slope", "test", "p", "held by the same five", "services approached"],
        "relation": ["=", "=", "<", "holds", "="],
        "printed": ["0.549", "142.023", ".001", "", "15"],
        "unit": ["points a point", "chi-square", "probability", "statement", "count"],
        "computed": [0.5488, 141.0, 2e-9, 0.0, float("nan")],
        "status": ["stated"] * 5,
        "state": ["match", "no match", "match", "no match", "not testable"],
    }
)


def test_ours_has_the_papers_digits() -> None:
    table = paper_table(BOARD, "models")
    assert table["paper"].tolist() == ["0.549", "142.023", "< .001"]
    assert table["ours"].tolist() == ["0.549", "141.000", "< .001"]


def test_a_statement_holds_or_does_not_and_a_missing_figure_is_a_dash() -> None:
    table = paper_table(BOARD, ["ranks", "people"])
    assert table["ours"].tolist() == ["does not hold", "–"]


def test_an_unknown_topic_is_refused_with_those_known() -> None:
    with pytest.raises(InputError, match="models, people, ranks"):
        paper_table(BOARD, "weather")


def test_the_table_is_shown_with_its_caption() -> None:
    assert "Models." in paper_beside_ours(BOARD, "models", caption="Models.").to_html()
