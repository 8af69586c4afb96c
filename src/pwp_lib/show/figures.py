"""Every plot: a result in, ``ax=None`` in, matplotlib axes out; nothing is drawn unasked.

Each figure keeps a computed sentence that says what it shows: `describe` gives it, and
`pwp_lib.show.show.figure` uses it as alternative text.
"""

from __future__ import annotations

from pwp_lib.show.alt import describe
from pwp_lib.show.figures_comparison import (
    sensitivity_panel,
)
from pwp_lib.show.figures_design import (
    benchmark_ratios,
    precision_map,
    rank_bands,
)
from pwp_lib.show.figures_models import (
    shrinkage_plot,
)
from pwp_lib.show.figures_ranks import (
    caterpillar_plot,
    funnel_plot,
    rank_interval_plot,
)

__all__ = [
    "benchmark_ratios",
    "caterpillar_plot",
    "describe",
    "funnel_plot",
    "precision_map",
    "rank_bands",
    "rank_interval_plot",
    "sensitivity_panel",
    "shrinkage_plot",
]
