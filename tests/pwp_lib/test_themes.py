from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.simulate_interviews import THEMES, simulate_segments
from pwp_lib.themes import (
    coder_agreement,
    high_order_themes,
    lower_order_themes,
    template_analysis,
    theme_map,
)

IDS = [f"T{i:02d}" for i in range(1, 22)]
UPPER, LOWER = ["T02", "T14", "T08", "T09", "T04"], ["T19", "T07", "T13", "T01", "T17"]
CLUSTERS = dict.fromkeys(IDS, "middle") | dict.fromkeys(UPPER, "upper") | dict.fromkeys(
    LOWER, "lower"
)  # fmt: skip
SUPERVISED = set(IDS) - {"T03", "T05", "T06", "T10"}


def _segments(seed: int = 1) -> pd.DataFrame:
    return simulate_segments(UPPER, LOWER, IDS, SUPERVISED, np.random.default_rng(seed))


def _codes(*rows: tuple[str, str, str, str], coder: str = "first") -> pd.DataFrame:
    """Person, role, high-order and lower-order theme; the person is also the therapist."""
    frame = pd.DataFrame(
        rows, columns=["participant_id", "role", "high_order_theme", "lower_order_theme"]
    )
    return frame.assign(therapist_id=frame["participant_id"].str.upper(), coder=coder)


FOUR = {"A": "upper", "B": "upper", "C": "upper", "D": "lower", "E": "lower", "F": "lower"}


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(12))
def test_the_papers_counts_come_out_whatever_the_seed(seed):
    found = template_analysis(_segments(seed), CLUSTERS)
    assert len(found.high_order) == 8
    assert set(found.deleted) == {
        "How previous experience hindered",
        "How CPD has influenced PWP practice",
    }
    kept = found.high_order[found.high_order["stays"]]
    assert kept["asked_of"].value_counts().to_dict() == {"pwp and supervisor": 3, "pwp": 3}
    assert found.unique_counts().loc["upper"].tolist() == [11, 5]
    assert found.unique_counts().loc["lower"].tolist() == [5, 3]
    assert found.agreement is not None
    assert len(found.agreement.participants) == 6
    assert round(found.agreement.percent) == 78
    assert 0.6 < found.agreement.kappa < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_two_interviews_of_each_cluster_are_coded_twice_and_38_in_all(seed):
    segments = _segments(seed)
    assert segments["participant_id"].nunique() == 38
    twice = segments.loc[segments["coder"] == "second"].drop_duplicates("participant_id")
    assert twice["therapist_id"].map(CLUSTERS).value_counts().to_dict() == {
        "upper": 2, "middle": 2, "lower": 2,
    }  # fmt: skip
    people = segments.drop_duplicates("participant_id")
    assert people["role"].value_counts().to_dict() == {"pwp": 21, "supervisor": 17}
    assert people.groupby(["role", "therapist_id"]).size().max() == 1


def test_a_high_order_theme_goes_when_nobody_shares_a_code_in_it():
    codes = _codes(
        ("a", "pwp", "alone", "x"), ("b", "pwp", "alone", "y"), ("a", "pwp", "shared", "z"),
        ("d", "pwp", "shared", "z"),
    )  # fmt: skip
    table = high_order_themes(codes, FOUR)
    assert table["stays"].to_dict() == {"alone": False, "shared": True}
    assert table["people"].to_dict() == {"alone": 1, "shared": 2}


def test_mentions_are_not_people():
    thrice = pd.concat([_codes(("a", "pwp", "h", "x"))] * 3, ignore_index=True)
    assert high_order_themes(thrice, FOUR)["people"].tolist() == [1]


def test_a_lower_order_theme_needs_more_than_two_of_its_group():
    two = [("a", "pwp", "h", "x"), ("b", "pwp", "h", "x")]
    third = ("c", "pwp", "h", "x")
    elsewhere = ("d", "pwp", "h", "x")
    other_role = ("c", "supervisor", "h", "x")
    for rows, stays in [
        (two, False),
        ([*two, elsewhere], False),
        ([*two, other_role], False),
        ([*two, third], True),
    ]:
        table = lower_order_themes(_codes(*rows), FOUR)
        pwp = table[table["role"] == "pwp"]
        assert pwp["stays_upper"].tolist() == [stays]


def test_unique_means_staying_in_one_cluster_only():
    rows = [(p, "pwp", "h", "both") for p in "abcdef"]
    rows += [(p, "pwp", "h", "upper only") for p in "abcd"]
    rows += [(p, "pwp", "h", "lower only") for p in "def"]
    table = lower_order_themes(_codes(*rows), FOUR).set_index("lower_order_theme")
    assert table["unique"].to_dict() == {
        "both": "", "upper only": "upper", "lower only": "lower",
    }  # fmt: skip
    assert table.loc["upper only", ["upper", "lower"]].tolist() == [3, 1]
    shown = theme_map(_codes(*rows), FOUR)
    assert shown.loc["h", ("upper", "pwp")] == "upper only"
    assert shown.loc["h", ("upper", "supervisor")] == ""


def test_swapping_the_clusters_swaps_the_findings():
    swap = {"upper": "lower", "lower": "upper", "middle": "middle"}
    a = template_analysis(_segments(), CLUSTERS)
    b = template_analysis(_segments(), {t: swap[c] for t, c in CLUSTERS.items()})
    assert a.unique_counts().loc["upper"].tolist() == b.unique_counts().loc["lower"].tolist()
    assert a.deleted == b.deleted


def test_the_second_coder_and_the_middle_do_not_count_towards_themes():
    segments = _segments()
    first = segments[segments["coder"] == "first"]
    middle = first["therapist_id"].map(CLUSTERS) == "middle"
    a = lower_order_themes(segments, CLUSTERS)
    pd.testing.assert_frame_equal(a, lower_order_themes(first, CLUSTERS))
    b = lower_order_themes(first[~middle], CLUSTERS)
    columns = ["role", "lower_order_theme", "unique"]
    pd.testing.assert_frame_equal(
        a[columns].sort_values(columns, ignore_index=True),
        b[columns].sort_values(columns, ignore_index=True),
    )


def test_ranks_with_their_clusters_will_do():
    ranks = pd.DataFrame({"cluster": CLUSTERS})
    pd.testing.assert_frame_equal(theme_map(_segments(), ranks), theme_map(_segments(), CLUSTERS))


def test_agreement_and_kappa_by_hand():
    # Four themes, one interview: both a; first only b; second only c; neither d (given elsewhere).
    codes = pd.concat(
        [
            _codes(("a", "pwp", "h", "a"), ("a", "pwp", "h", "b"), ("b", "pwp", "h", "d")),
            _codes(("a", "pwp", "h", "a"), ("a", "pwp", "h", "c"), coder="second"),
        ]
    )
    found = coder_agreement(codes)
    assert (found.agreed, found.only_first, found.only_second) == (1, 1, 1)
    assert found.percent == pytest.approx(100 / 3)
    # Observed .5; by chance (2 x 2 + 2 x 2) / 16 = .5; so kappa 0.
    assert found.kappa == pytest.approx(0)
    assert found.by_participant.loc["a"].tolist() == [1, 1, 1, 1]


def test_full_agreement_is_one_and_constant_coding_undefined():
    one = _codes(("a", "pwp", "h", "a"), ("b", "pwp", "h", "b"))
    both = pd.concat([one, one.assign(coder="second")])
    found = coder_agreement(both)
    assert (found.percent, found.kappa) == (100, 1)
    single = _codes(("a", "pwp", "h", "a"))
    assert np.isnan(coder_agreement(pd.concat([single, single.assign(coder="second")])).kappa)


def test_kappa_agrees_with_a_plain_computation():
    segments = _segments(3)
    found = coder_agreement(segments)
    role = segments.drop_duplicates("participant_id").set_index("participant_id")["role"]
    marks = []
    for coder in ("first", "second"):
        codes = segments[segments["coder"] == coder]
        given = set(zip(codes["participant_id"], codes["lower_order_theme"], strict=True))
        marks.append(
            [
                (p, t) in given
                for p in found.participants
                for t in sorted(set(segments[segments["role"] == role[p]]["lower_order_theme"]))
            ]
        )
    x, y = np.array(marks)
    po = (x == y).mean()
    pe = x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean())
    assert found.kappa == pytest.approx((po - pe) / (1 - pe))


def test_the_template_is_honest_about_its_labels():
    labels = [(t.role, t.lower_order) for t in THEMES]
    assert len(set(labels)) == len(labels)
    assert {t.origin for t in THEMES} == {"text", "invented"}


def test_bad_input_is_said_in_a_sentence():
    segments = _segments()
    with pytest.raises(InputError, match="column coder: the column is missing"):
        coder_agreement(segments.drop(columns="coder"))
    with pytest.raises(InputError, match="no segment is by that coder"):
        high_order_themes(segments.assign(coder="third"), CLUSTERS)
    apart = segments.assign(participant_id=segments["participant_id"] + segments["coder"])
    with pytest.raises(InputError, match="coded by both"):
        coder_agreement(apart)
    with pytest.raises(InputError, match="three interviews or more"):
        simulate_segments(UPPER[:2], LOWER, IDS, SUPERVISED, np.random.default_rng(1))
    with pytest.raises(InputError, match="no clusters"):
        theme_map(segments, pd.DataFrame({"x": [1]}))
    alone = template_analysis(segments[segments["coder"] == "first"], CLUSTERS)
    assert alone.agreement is None


@pytest.mark.parametrize("apart", range(4))
def test_a_label_under_another_high_order_theme_is_another_code(apart):
    """Of four labels given by both coders, some stand under another theme with the second."""
    one = _codes(*(("a", "pwp", "h", label) for label in "wxyz"))
    two = _codes(
        *(("a", "pwp", "k" if k < apart else "h", label) for k, label in enumerate("wxyz")),
        coder="second",
    )
    found = coder_agreement(pd.concat([one, two]))
    assert (found.agreed, found.only_first, found.only_second) == (4 - apart, apart, apart)
    assert found.percent == 100 * (4 - apart) / (4 + apart)
    assert np.isnan(found.kappa) if not apart else found.kappa < 0
