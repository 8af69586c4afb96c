"""Lists that go on in the next Markdown cell become one list on the page.

A cell is tagged as a whole, so that a point which speaks of the packaged cohort alone stands in a
cell of its own, between points that do not.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform


class OneList(SphinxTransform):
    """Joins lists of points that follow one another with nothing between them."""

    default_priority = 10

    def apply(self, **kwargs: Any) -> None:
        """Join them."""
        for first in list(self.document.findall(nodes.bullet_list)):
            if first.parent is None:  # joined to the one before
                continue
            parent = first.parent
            place = parent.index(first) + 1
            while place < len(parent) and isinstance(parent[place], nodes.bullet_list):
                second = parent.pop(place)
                first.extend(second.children)
                second.parent = None


def setup(app: Any) -> dict[str, bool]:
    """Register the transform with Sphinx."""
    app.add_transform(OneList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
