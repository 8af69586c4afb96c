"""Every neighbour of a file that was once read wrongly, through check and inclusion."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from neighbours import VARIANTS, Variant

from multilevel.errors import InputError
from pwp_report.check import Check, check_study_data

pytestmark = pytest.mark.neighbours


def _answer(variant: Variant, folder: Path) -> tuple[Check | None, str]:
    """Give the check, and the sentence with which the file is refused."""
    study = folder / "study.toml"
    study.write_text(variant.study, encoding="utf-8")
    try:
        check = check_study_data(variant.write(folder), study)
    except InputError as error:
        return None, str(error)
    return check, "" if check.cohort is not None else str(check.problems.first())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v.kind}: {v.name}")
def test_the_answer_is_the_one_worked_out_with_pandas(variant: Variant, tmp_path: Path) -> None:
    check, refusal = _answer(variant, tmp_path)
    if variant.refused:
        assert variant.refused in refusal
        return
    assert not refusal
    assert check is not None
    assert check.cohort is not None
    expected = variant.expected.sort_values("patient_id", ignore_index=True)
    found = check.cohort.patients.sort_values("patient_id", ignore_index=True)[list(expected)]
    scores = dict.fromkeys(list(expected)[2:], "float64")
    names = dict.fromkeys(["patient_id", "therapist_id"], "str")
    pd.testing.assert_frame_equal(found.astype(scores | names), expected.astype(scores | names))
    assert variant.remark in " | ".join(check.remarks)


LEAST = {
    "meaning": 13,
    "scale": 10,
    "words": 20,
    "who": 20,
    "selection": 24,
    "no patients": 20,
    "dates": 20,
    "headings": 35,
}


def test_there_are_many_neighbours_of_each_kind() -> None:
    counts = Counter(v.kind for v in VARIANTS)
    assert counts.keys() == LEAST.keys()
    assert {kind for kind, least in LEAST.items() if counts[kind] < least} == set()
    assert len({(v.kind, v.name) for v in VARIANTS}) == len(VARIANTS) >= 165
