"""The wording of bad input."""

from __future__ import annotations

import pytest

from multilevel.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "it is wrong."),
        ({"hint": "change it"}, "it is wrong; change it."),
        ({"file": "/some/where/a.csv"}, "a.csv: it is wrong."),
        ({"row": 3, "column": "x"}, "row 3, column x: it is wrong."),
        ({"file": "a.csv", "row": 0}, "a.csv, row 0: it is wrong."),
        ({"hint": "what did you mean?"}, "it is wrong; what did you mean?"),
    ],
)
def test_one_sentence_names_place_and_mend(arguments: dict[str, object], sentence: str) -> None:
    assert str(InputError("it is wrong", **arguments)) == sentence  # type: ignore[arg-type]


def test_the_folder_of_a_file_is_not_told() -> None:
    assert "secret" not in str(InputError("wrong", file="/home/secret/a.csv"))
