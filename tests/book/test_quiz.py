"""The directive `quiz`: readable without the script, exactly one right answer."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from docutils.core import publish_parts
from docutils.parsers.rst import directives

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "book" / "_ext"))

import quiz  # noqa: E402  (the book's own extension)

BODY = ["- [x] Yes, *it* is", "- [ ] No", "  : Because", "  of that.", "", "All of it."]


def _page(body: list[str]) -> BeautifulSoup:
    directives.register_directive("quiz", quiz.Quiz)
    text = ".. quiz:: Is *this* right?\n\n" + "\n".join("   " + line for line in body)
    html = publish_parts(text, writer_name="html5", settings_overrides={"report_level": 5})
    return BeautifulSoup(html["body"], "html.parser")


def test_a_question_is_a_group_with_labelled_choices_and_a_folded_answer() -> None:
    page = _page(BODY)
    assert page.fieldset.legend.get_text() == "Is this right?"
    assert page.fieldset.legend.em.get_text() == "this"
    boxes = page.find_all("input")
    assert [b["data-right"] for b in boxes] == ["yes", "no"]
    assert all(b.find_parent("label") for b in boxes)
    assert len({b["name"] for b in boxes}) == 1
    assert page.details.p.get_text() == "Yes, it is All of it."
    assert page.find(class_="pwp-feedback")["role"] == "status"


def test_each_choice_has_its_reason_or_that_of_all() -> None:
    reasons = [r.get_text() for r in _page(BODY).find_all(class_="pwp-because")]
    assert reasons == ["All of it.", "Because of that."]


def test_the_page_is_the_same_in_every_build() -> None:
    assert str(_page(BODY)) == str(_page(BODY))


@pytest.mark.parametrize(
    "body",
    [["- [x] a", "- [x] b"], ["- [ ] a", "- [ ] b"], ["- [x] a"], ["nothing to choose"]],
)
def test_exactly_one_choice_is_right(body: list[str]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        quiz.parse_quiz(body)


def _prose(file: Path) -> str:
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def _questions() -> list[list[str]]:
    prose = "\n\n".join(map(_prose, sorted((ROOT / "notebooks").glob("*.ipynb"))))
    bodies = re.findall(r":::\{quiz\} .+\n((?:.*\n)*?):::", prose)
    return [body.splitlines() for body in bodies]


def test_every_question_of_the_chapters_can_be_asked_and_says_why() -> None:
    questions = _questions()
    assert len(questions) >= 39
    for body in questions:
        choices, explanation = quiz.parse_quiz(body)
        assert explanation or all(reason for _, _, reason in choices), body
