"""Quick questions with immediate answers in the page, offline and without any script if need be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from multilevel.errors import InputError
from pwp_lib.show.show import _inline

__all__ = ["Choice", "Question", "Quiz", "quiz"]


@dataclass(frozen=True)
class Choice:
    """One answer to choose.

    Attributes
    ----------
    text : str
        The answer.
    right : bool
        Whether it is right.
    because : str
        Why it is right or wrong, told as soon as it is chosen.
    """

    text: str
    right: bool = False
    because: str = ""


@dataclass(frozen=True)
class Question:
    """A question with its choices, one of them right.

    Attributes
    ----------
    text : str
        The question; ``*emphasis*`` and `` `code` `` are understood, here and in the choices.
    choices : sequence of Choice
    """

    text: str
    choices: Sequence[Choice]

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or sum(c.right for c in self.choices) != 1:
            raise InputError("a question needs two choices or more, and exactly one right one")


@dataclass(frozen=True)
class Quiz:
    """Questions as they stand on a page.

    Attributes
    ----------
    questions : tuple of Question
    heading : str
    """

    questions: tuple[Question, ...] = field(repr=False)
    heading: str = "Quick questions"

    def to_html(self) -> str:
        """Return the questions as HTML: readable as it is, with answers folded below each.

        ``quiz.js`` adds the immediate answer to a choice; without it the fold holds the answer.
        """
        body = "".join(_question(q, i + 1) for i, q in enumerate(self.questions))
        label = escape(self.heading)
        return (
            f'<section class="pwp-quiz" aria-label="{label}">'
            f'<p class="pwp-quiz-heading">{label}</p>{body}</section>'
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        text = "\n".join(f"{i + 1}. {q.text}" for i, q in enumerate(self.questions))
        return {"text/html": self.to_html(), "text/plain": text}


def quiz(questions: Sequence[Question | tuple[str, Sequence[tuple[str, bool, str]]]]) -> Quiz:
    """Put quick questions on a page.

    Parameters
    ----------
    questions : sequence of Question or of (text, choices)
        Choices as `Choice` or as tuples ``(text, right, because)``.

    Returns
    -------
    Quiz
        Shows itself in a notebook.

    Examples
    --------
    >>> asked = quiz([("What does a therapist effect of 8.7% share out?", [
    ...     ("The variance of outcomes", True, "Of it, 8.7% lies between therapists."),
    ...     ("The patients who recover", False, "It is a share of variance, not of patients."),
    ... ])])
    >>> asked.to_html().count("<input")
    2
    """
    made = []
    for q in questions:
        if not isinstance(q, Question):
            q = Question(q[0], [Choice(*c) for c in q[1]])
        made.append(q)
    return Quiz(tuple(made))


def _question(question: Question, number: int) -> str:
    # The name must differ between the quizzes of a page, and be the same in every build.
    group = "q" + hashlib.sha256(f"{number}{question.text}".encode()).hexdigest()[:10]
    choices = "".join(
        f'<label class="pwp-choice"><input type="radio" name="{group}" value="{i}"'
        f' data-right="{"yes" if c.right else "no"}" data-because="{escape(_inline(c.because))}">'
        f" <span>{_inline(c.text)}</span></label>"
        for i, c in enumerate(question.choices)
    )
    right = next(c for c in question.choices if c.right)
    answer = f"<strong>{_inline(right.text)}</strong>"
    if right.because:
        answer += f" {_inline(right.because)}"
    return (
        f'<fieldset class="pwp-question"><legend>{number}. {_inline(question.text)}</legend>'
        f'{choices}<p class="pwp-feedback" role="status"></p>'
        f"<details><summary>Show the answer</summary><p>{answer}</p></details></fieldset>"
    )
