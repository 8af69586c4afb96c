"""Lists that go on over cells are one list."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils import new_document

sys.path.append(str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

from lists import OneList


def points(*texts: str) -> nodes.bullet_list:
    return nodes.bullet_list("", *[nodes.list_item("", nodes.paragraph("", t)) for t in texts])


def test_neighbours_are_joined_and_others_left() -> None:
    document = new_document("page")
    document += [points("a", "b"), points("c"), points("d"), nodes.paragraph("", "x"), points("e")]
    OneList(document).apply()
    shown = [node.astext().split() for node in document.children]
    assert shown == [["a", "b", "c", "d"], ["x"], ["e"]]
