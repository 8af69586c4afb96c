"""Quick questions: readable without the script, exactly one right answer."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from multilevel.errors import InputError
from pwp_lib.show.quiz import Choice, Question, quiz

ASKED = ("Is *this* right?", [("Yes", True, "Because <b> & so on."), ("No", False, "")])


def test_each_question_is_a_group_with_labelled_choices_and_a_folded_answer() -> None:
    page = BeautifulSoup(quiz([ASKED, ("And that?", ASKED[1])]).to_html(), "html.parser")
    groups = page.find_all("fieldset")
    assert len(groups) == 2
    assert groups[0].legend.get_text() == "1. Is this right?"
    assert all(i.find_parent("label") for i in page.find_all("input"))
    assert groups[0].details.p.strong.get_text() == "Yes"
    assert groups[0].find("input")["name"] != groups[1].find("input")["name"]
    assert groups[0].find(class_="pwp-feedback")["role"] == "status"


def test_reasons_reach_the_script_escaped() -> None:
    page = BeautifulSoup(quiz([ASKED]).to_html(), "html.parser")
    assert page.input["data-because"] == "Because &lt;b&gt; &amp; so on."
    assert [i["data-right"] for i in page.find_all("input")] == ["yes", "no"]


def test_the_page_is_the_same_in_every_build() -> None:
    assert quiz([ASKED]).to_html() == quiz([ASKED]).to_html()


@pytest.mark.parametrize("right", [(False, False), (True, True)])
def test_exactly_one_choice_is_right(right: tuple[bool, bool]) -> None:
    with pytest.raises(InputError, match="exactly one"):
        Question("Which?", [Choice("a", right[0]), Choice("b", right[1])])


def test_one_choice_is_no_choice() -> None:
    with pytest.raises(InputError, match="two choices"):
        Question("Which?", [Choice("a", True)])


def test_plain_text_lists_the_questions() -> None:
    assert quiz([ASKED])._repr_mimebundle_()["text/plain"] == "1. Is *this* right?"
