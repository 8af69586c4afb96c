"""Every plot: a result in, ``ax=None`` in, matplotlib axes out; nothing is drawn unasked.

Each figure keeps a computed sentence that says what it shows: `describe` gives it, and
`pwp_lib.show.show.figure` uses it as alternative text.
"""

from __future__ import annotations

from pwp_lib.show.alt import describe
from pwp_lib.show.figures_bayes import (
    autocorrelation_plot,
    posterior_density,
    prior_comparison,
    trace_plot,
)
from pwp_lib.show.figures_comparison import (
    sensitivity_panel,
    theme_map,
)
from pwp_lib.show.figures_data import (
    completeness_by_therapist,
    outcomes_by_therapist,
)
from pwp_lib.show.figures_design import (
    benchmark_ratios,
    precision_map,
    rank_bands,
)
from pwp_lib.show.figures_models import (
    shrinkage_plot,
    vpc_curve,
)
from pwp_lib.show.figures_ranks import (
    caterpillar_plot,
    cluster_probability_strip,
    rank_interval_plot,
    rank_rank_plot,
)

__all__ = [
    "autocorrelation_plot",
    "benchmark_ratios",
    "caterpillar_plot",
    "cluster_probability_strip",
    "completeness_by_therapist",
    "describe",
    "outcomes_by_therapist",
    "posterior_density",
    "precision_map",
    "prior_comparison",
    "rank_bands",
    "rank_interval_plot",
    "rank_rank_plot",
    "sensitivity_panel",
    "shrinkage_plot",
    "theme_map",
    "trace_plot",
    "vpc_curve",
]
