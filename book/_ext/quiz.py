"""The directive ``quiz``: a quick question whose answer is in the page, with or without a script.

In a page or a Markdown cell::

    :::{quiz} What does a therapist effect of 9% share out?
    - [x] The variance of outcomes
    - [ ] The patients who recover
      : It is a share of variance, not of patients.

    Of the variance that the first scores leave, 9% lies between therapists.
    :::

Exactly one choice has an x. What stands after a colon below a choice is said when it is chosen;
otherwise the text below the choices is said, which is also what the fold shows.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

CHOICE = re.compile(r"^- \[([ x])\] (.+)$")


def parse_quiz(lines: list[str]) -> tuple[list[list[Any]], str]:
    """Take the body apart.

    Parameters
    ----------
    lines : list of str

    Returns
    -------
    choices : list of [right, text, reason]
    explanation : str

    Raises
    ------
    ValueError
        Unless there are two choices or more, of which exactly one is right.
    """
    choices: list[list[Any]] = []
    rest: list[str] = []
    for line in lines:
        found = CHOICE.match(line)
        if found and not rest:
            choices.append([found[1] == "x", found[2].strip(), ""])
        elif choices and not rest and line.startswith("  "):
            place = 2 if line.strip().startswith(":") or choices[-1][2] else 1
            choices[-1][place] = f"{choices[-1][place]} {line.strip().lstrip(':').strip()}".strip()
        elif line.strip():
            rest.append(line.strip())
    if len(choices) < 2 or sum(right for right, _, _ in choices) != 1:
        raise ValueError("a quiz needs two choices or more, exactly one of them marked [x]")
    return choices, " ".join(rest)


def _raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")


class Quiz(Directive):
    """One question with its choices."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write the question as a group of labelled radio buttons with a fold for the answer."""
        try:
            choices, explanation = parse_quiz(list(self.content))
        except ValueError as error:
            raise self.error(str(error)) from None
        question = " ".join(self.arguments[0].split())
        # The same in every build, and another for every question of a page.
        group = "q" + hashlib.sha256((question + choices[0][1]).encode()).hexdigest()[:10]
        out: list[nodes.Node] = [
            _raw('<fieldset class="pwp-question"><legend>'),
            *self._inline(question),
            _raw("</legend>"),
        ]
        for position, (right, text, reason) in enumerate(choices):
            kind = "yes" if right else "no"
            out += [
                _raw(
                    f'<label class="pwp-choice"><input type="radio" name="{group}" '
                    f'value="{position}" data-right="{kind}"><span>'
                ),
                *self._inline(text),
                _raw('</span><span class="pwp-because" hidden>'),
                *self._inline(reason or explanation),
                _raw("</span></label>"),
            ]
        right_text = next(text for right, text, _ in choices if right)
        said = explanation or next(reason for right, _, reason in choices if right)
        out += [
            _raw(
                '<p class="pwp-feedback" role="status"></p>'
                "<details><summary>Show the answer</summary><p><strong>"
            ),
            *self._inline(right_text),
            _raw("</strong> "),
            *self._inline(said),
            _raw("</p></details></fieldset>"),
        ]
        return [nodes.container("", *out, classes=["pwp-quiz"])]

    def _inline(self, text: str) -> list[nodes.Node]:
        if not text:
            return []
        found, messages = self.state.inline_text(text, self.lineno)
        # A reference asks for text around it.
        return [nodes.inline("", "", *found), *messages]


def setup(app: Any) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("quiz", Quiz)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
