"""Every sentence whose truth depends on the data: a result in, a string out.

A sentence holds for whatever data it is given: a singular fit, one measure, eight therapists or
fifty-six, nobody who differs from the average. `pwp_lib.output.show.text` puts it on a page.
"""

from __future__ import annotations

from pwp_lib.output._wording import count, interval, listing, p_value, percent, plain, share
from pwp_lib.output.sentences_comparison import (
    NOT_REPORTED,
    ancova_sentence,
    beside_paper,
    chi_square_sentence,
    effect_sizes_sentence,
    mann_whitney_sentence,
    nested_sentence,
    permutation_sentence,
    precision_sentence,
    scales_sentence,
    scoreboard_sentence,
    split_sample_sentence,
)
from pwp_lib.output.sentences_data import (
    caseloads,
    change_sentence,
    completeness,
    flow_sentences,
    outcome_rates,
    provenance_sentence,
    rates_by_therapist,
    sample_sentences,
)
from pwp_lib.output.sentences_models import (
    boundary_note,
    chain_sentence,
    cluster_members,
    convergence_sentence,
    differs_sentence,
    likelihood_ratio_sentence,
    posterior_sentence,
    rank_correlation_sentence,
    rank_uncertainty_sentence,
    severity_sentence,
    shrinkage_sentence,
    slope_sentence,
    therapist_effect_sentence,
    variance_sentence,
)

__all__ = [
    "NOT_REPORTED",
    "ancova_sentence",
    "beside_paper",
    "boundary_note",
    "caseloads",
    "chain_sentence",
    "change_sentence",
    "chi_square_sentence",
    "cluster_members",
    "completeness",
    "convergence_sentence",
    "count",
    "differs_sentence",
    "effect_sizes_sentence",
    "flow_sentences",
    "interval",
    "likelihood_ratio_sentence",
    "listing",
    "mann_whitney_sentence",
    "nested_sentence",
    "outcome_rates",
    "p_value",
    "percent",
    "permutation_sentence",
    "plain",
    "posterior_sentence",
    "precision_sentence",
    "provenance_sentence",
    "rank_correlation_sentence",
    "rank_uncertainty_sentence",
    "rates_by_therapist",
    "sample_sentences",
    "scales_sentence",
    "scoreboard_sentence",
    "severity_sentence",
    "share",
    "shrinkage_sentence",
    "slope_sentence",
    "split_sample_sentence",
    "therapist_effect_sentence",
    "variance_sentence",
]
