"""Figures and tables on a page: alternative text, captions, scrolling, numbers."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from multilevel.errors import InputError
from pwp_lib.show import figures, show, style
from pwp_lib.show.alt import describe


def parsed(shown: Any) -> Any:
    return BeautifulSoup(shown._repr_mimebundle_()["text/html"], "html.parser")


def some_bars() -> Any:
    table = pd.DataFrame({"task": ["fit", "fit"], "peer": ["one", "two"], "ratio": [8.0, 0.5]})
    return figures.benchmark_ratios(table)


def test_a_figure_has_picture_alternative_text_caption_and_anchor() -> None:
    page = parsed(show.figure(some_bars(), caption="See *this* & `that`.", name="fig-bars"))
    assert page.figure["id"] == "fig-bars"
    assert page.img["alt"] == describe(some_bars())
    assert page.figcaption.em.get_text() == "this"
    assert page.figcaption.code.get_text() == "that"
    assert "&amp;" in str(page.figcaption)


def test_alternative_text_is_escaped() -> None:
    page = parsed(show.figure(some_bars(), alt='Less than <5 & "quoted"'))
    assert page.img["alt"] == 'Less than <5 & "quoted"'


def test_no_figure_goes_without_alternative_text() -> None:
    ax = style.new_axes()[0]
    with pytest.raises(InputError, match="no alternative text"):
        show.figure(ax)


def test_the_picture_is_the_smaller_of_the_two_kinds() -> None:
    ax = style.new_axes()[0]
    ax.plot([0, 1], [0, 1])
    assert show.figure(ax, alt="A line.").mime in {"image/svg+xml", "image/png"}
    crowded = style.new_axes()[0]
    crowded.scatter(*np.random.default_rng(1).normal(size=(2, 5_000)), s=4)
    shown = show.figure(crowded, alt="A crowd.")
    assert shown.mime == "image/png"
    assert len(shown.data) < 300_000


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert show.figure(some_bars()).data == show.figure(some_bars()).data


def test_a_png_is_at_twice_the_page_size() -> None:
    from PIL import Image

    ax = style.new_axes(6, 4)[0]
    ax.scatter(*np.random.default_rng(1).normal(size=(2, 3_000)), s=4)
    page = parsed(show.figure(ax, alt="Points."))
    data = base64.b64decode(page.img["src"].split(",")[1])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1200, 800)
    assert (page.img["width"], page.img["height"]) == ("576", "384")


def test_wide_figures_scroll_in_a_container_that_the_keyboard_reaches() -> None:
    axes = style.new_axes(style.WIDE, 3, 1, 2)
    page = parsed(show.figure(axes, alt="Two panels."))
    box = page.find("div", class_="pwp-scroll")
    assert box["tabindex"] == "0"
    assert box["role"] == "region"
    assert box["aria-label"]
    assert box.img is not None


def test_a_pyplot_figure_is_not_shown_twice() -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    show.figure(ax, alt="Empty axes.")
    assert not plt.fignum_exists(figure.number)


def test_a_table_has_caption_scopes_and_no_inline_style() -> None:
    frame = pd.DataFrame({"n": [8, 1200], "mean_change": [1.5, -0.25]}, index=["T01", "T02"])
    page = parsed(show.table(frame.rename_axis("therapist"), caption="Change & more"))
    assert page.caption.get_text() == "Change & more"
    assert [h["scope"] for h in page.thead.find_all("th")] == ["col"] * 3
    assert [h["scope"] for h in page.tbody.find_all("th")] == ["row"] * 2
    assert page.thead.get_text("|") == "therapist|n|mean change"
    assert [td.get_text() for td in page.tbody.find_all("td")] == ["8", "1.50", "1,200", "−0.25"]
    assert "style=" not in str(page)
    assert page.div["tabindex"] == "0"
    assert page.div["aria-label"] == "Change & more"


def test_an_index_that_only_counts_is_left_out() -> None:
    assert parsed(show.table(pd.DataFrame({"a": [1]}))).tbody.find("th") is None


def test_states_carry_a_sign_beside_their_colour() -> None:
    frame = pd.DataFrame({"state": ["match", "no match", "not testable"]})
    cells = parsed(show.table(frame)).tbody.find_all("td")
    assert [c.get_text() for c in cells] == ["✓ match", "✗ no match", "○ not testable"]
    assert len({c["class"][1] for c in cells}) == 3
    assert all(c.span["aria-hidden"] == "true" for c in cells)


def test_numbers_by_kind_of_column() -> None:
    frame = pd.DataFrame(
        {
            "whole": [1.0, 2.0],
            "p_value": [0.0004, 0.04],
            "gap": [np.nan, 1.234],
            "yes": [True, False],
        }
    )
    cells = [td.get_text() for td in parsed(show.table(frame)).tbody.find_all("td")]
    assert cells == ["1", "< .001", "–", "yes", "2", ".040", "1.23", "no"]
    chosen = parsed(show.table(frame, decimals={"whole": 1})).tbody.td.get_text()
    assert chosen == "1.0"


def test_headings_of_levels_are_joined() -> None:
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([["PHQ-9"], ["n", "mean"]]))
    assert parsed(show.table(frame)).thead.get_text("|") == "PHQ-9, n|PHQ-9, mean"


def test_the_plain_text_of_a_table_lines_up() -> None:
    text = show.table(pd.DataFrame({"a": [1, 100]}), caption="Title").text
    assert text.splitlines() == ["Title", "a", "1", "100"]


def test_an_empty_table_still_has_its_headings() -> None:
    page = parsed(show.table(pd.DataFrame({"a": [], "b": []})))
    assert [h.get_text() for h in page.find_all("th")] == ["a", "b"]
