"""Every sentence of ``wording.toml`` is said somewhere, and every one that is said is there."""

from __future__ import annotations

import re
import string
import tomllib
from pathlib import Path

import pytest

import pwp_report
from pwp_report.wording import KINDS, refusal, worded

SOURCE = Path(pwp_report.__file__).parent
WORDS = tomllib.loads((SOURCE / "wording.toml").read_text(encoding="utf-8"))
CODE = "\n".join(p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py"))


def test_what_is_said_is_there_and_what_is_there_is_said() -> None:
    said = set(
        re.findall(
            r'(?:refusal|remark|_note|worded|found\.add|mine\.add|replace_rows)\(\s*"(\w+)"', CODE
        )
    )
    there = {*WORDS, *WORDS["remarks"], *WORDS["questions"]}
    there -= {"kinds", "other_files", "remarks", "questions", "several", "relax"}
    assert {k for k in said if k not in there} == set()
    assert {k for k in there if f'"{k}"' not in CODE} == set()
    forms = tomllib.loads((SOURCE / "names.toml").read_text(encoding="utf-8"))["cells"]["forms"]
    assert {k for k in KINDS.keys() - forms if f'"{k}"' not in CODE} == set()


@pytest.mark.parametrize("key", [k for k in WORDS if isinstance(WORDS[k], list)])
def test_a_sentence_ends_as_sentences_of_errors_do(key: str) -> None:
    for text in WORDS[key]:
        assert not text.endswith((".", " "))
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        assert all(names), "a brace in the words is doubled"


def test_a_refusal_is_one_sentence_with_its_place() -> None:
    error = refusal("several_tables", file="a.xlsx", whole="workbook", listed="one, two")
    assert str(error) == (
        "a.xlsx: the workbook has several tables; "
        "name one as table under [file] in a study file: one, two."
    )
    assert worded("count_negative") == ["a count is below 0", ""]


def test_a_number_of_one_has_no_plural_beside_it() -> None:
    """Sentences put a number that can be one where no noun has to agree with it."""
    tables = tomllib.loads((SOURCE / "tables.toml").read_text(encoding="utf-8"))
    for key in ("marks", "services"):
        assert not re.search(r"\{n[^}]*\} (cells|services)", tables["withheld"][key])
    page = (SOURCE / "templates" / "report.html.j2").read_text(encoding="utf-8")
    assert 'row{{ "s" if table.count != 1 }})' in page


def test_why_an_outcome_has_no_model_narrows_no_count() -> None:
    assert not re.search(r"\d|\{least\}", worded("outcome_of_few", label="X", of="y")[0])
