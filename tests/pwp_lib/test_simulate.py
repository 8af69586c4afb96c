from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.simulated import simulate_designs
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from multilevel.many import fit_many
from pwp_lib.measures import GAD7, PHQ9, Measure
from pwp_lib.simulate import simulate_cohort
from pwp_lib.simulate_people import ETHNICITIES, numbers_with, quota
from pwp_lib.truth import CASELOADS, Truth, root_of

SMALL = Truth(caseloads=(40,) * 12, services=3)


@pytest.fixture(scope="module", name="paper_shape")
def _paper_shape():
    return simulate_cohort(seed=11)


def test_the_default_has_the_papers_shape(paper_shape):
    people = paper_shape.patients
    loads = paper_shape.caseloads()
    assert len(people) == 1122
    assert (len(loads), loads.min(), loads.max()) == (21, 8, 197)
    assert round(float(loads.std()), 2) == pytest.approx(52.10, abs=0.1)
    assert people["service_id"].nunique() == 6
    assert paper_shape.provenance.synthetic
    assert paper_shape.therapists["supervisor_rationality"].notna().sum() == 17
    assert paper_shape.therapists["gender"].value_counts().to_dict() == {"female": 16, "male": 5}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_people_are_as_printed_whatever_the_seed(seed):
    people = simulate_cohort(seed=seed, interviews=False).patients
    sessions, age = people["sessions"], people["age"]
    assert (sessions.min(), sessions.max(), round(sessions.mean())) == (2, 21, 5)
    assert (age.min(), age.max(), round(age.mean())) == (16, 92, 41)
    assert sessions.std() == pytest.approx(2.88, abs=0.1)
    assert age.std() == pytest.approx(14.23, abs=0.1)
    share = people["ethnicity"].value_counts() / len(people) * 100
    assert share.round(1).drop("Other").to_dict() == {
        "Caucasian": 65.8,
        "Asian": 2.8,
        "Mixed": 1.1,
        "Black Caribbean or African": 0.7,
    }
    assert round(people["ethnicity"].isna().mean() * 100, 1) == 29.3
    assert round((people["gender"] == "female").mean() * 100, 1) == 64.7


def test_scores_are_whole_within_the_scale_and_correlated(paper_shape):
    people = paper_shape.patients
    for measure in (PHQ9, GAD7):
        for column in (measure.pre, measure.post):
            assert people[column].dtype == "int64"
            assert people[column].between(measure.minimum, measure.maximum).all()
    assert 0.6 < people["phq9_pre"].corr(people["gad7_pre"]) < 0.8
    change = [people[m.pre] - people[m.post] for m in (PHQ9, GAD7)]
    assert 0.55 < change[0].corr(change[1]) < 0.85


def test_the_same_seed_gives_the_same_cohort_and_another_another():
    a, b, c = (simulate_cohort(SMALL, seed=s) for s in (5, 5, 6))
    pd.testing.assert_frame_equal(a.patients, b.patients)
    pd.testing.assert_frame_equal(a.therapists, b.therapists)
    pd.testing.assert_frame_equal(a.segments, b.segments)
    assert not a.patients["phq9_post"].equals(c.patients["phq9_post"])


def test_without_anything_above_therapists_a_seed_gives_the_cohort_it_always_gave():
    people = simulate_cohort(seed=11).patients
    sums = people.groupby("therapist_id")[["phq9_pre", "phq9_post", "gad7_post"]].sum()
    # Of version 0.2.0, before services could differ.
    assert sums.iloc[:5].to_numpy().tolist() == [
        [722, 475, 500], [1167, 769, 736], [302, 190, 163], [438, 224, 160], [2111, 1146, 1039],
    ]  # fmt: skip
    assert people.groupby("service_id")["sessions"].sum().tolist() == [
        1397, 1532, 1409, 665, 291, 300,
    ]  # fmt: skip
    zeros = replace(
        Truth(),
        service_covariance=((0.0, 0.0), (0.0, 0.0)),
        deprivation=((0.0, 0.0), (0.0, 0.0)),
        caseload_mix=((0.0, 0.0), (0.0, 0.0)),
    )
    same = simulate_cohort(zeros, seed=11).patients
    pd.testing.assert_frame_equal(same.drop(columns="deprivation"), people)


#: Two measures, and twenty services of five therapists each.
SERVICES = Truth(
    caseloads=(20,) * 100,
    services=20,
    fixed=((8.7, 0.5, 0.1, 0.0), (7.8, 0.5, 0.1, 0.0)),
    random_covariance=tuple(
        tuple(3.0 * (i == j) * (i % 2 == 0) for j in range(4)) for i in range(4)
    ),
    service_covariance=((4.0, 2.0), (2.0, 3.0)),
    deprivation=((1.0, 1.5), (0.5, 1.0)),
    caseload_mix=((1.5, 0.4), (1.0, 0.3)),
)


@pytest.fixture(scope="module", name="above")
def _above():
    """Estimates of what is above therapists in forty cohorts, and what they should be."""
    found = []
    for seed in range(40):
        people = simulate_cohort(SERVICES, seed, integer=False, interviews=False).patients
        row, residuals = [], []
        for own, other in (("phq9", "gad7"), ("gad7", "phq9")):
            means = people.groupby("therapist_id")[f"{own}_pre"].transform("mean")
            fit = fit_mixed(
                f"{own}_post ~ {own}_pre + {other}_pre + deprivation + mean"
                " + (1 | service_id/therapist_id)",
                people.assign(mean=means),
                method="REML",
            )
            row += [*fit.components["estimate"], *fit.fixed["estimate"][["deprivation", "mean"]]]
            residuals.append(fit.residuals("service_id")["residual"])
        found.append([*row, np.corrcoef(*residuals)[0, 1]])
    return np.array(found)


@pytest.mark.nightly
def test_what_is_above_therapists_is_recovered_over_cohorts(above):
    wanted = [4.0, 3.0, 29.164, 1.5, 0.4, 3.0, 3.0, 23.443, 1.0, 0.3]
    mean, error = _error(above)
    assert np.abs((mean[:-1] - wanted) / error[:-1]).max() < 4
    # Residuals of services on the two measures go together, somewhat less than the intercepts.
    assert 0.3 < mean[-1] < 2 / np.sqrt(12) + 4 * error[-1]


@pytest.mark.nightly
def test_deprivation_and_the_caseload_show_before_treatment():
    deprived, mixed = [], []
    for seed in range(30):
        people = simulate_cohort(SERVICES, seed, interviews=False).patients
        assert (people.groupby("service_id")["deprivation"].nunique() == 1).all()
        area = people["deprivation"]
        deprived.append([np.polyfit(area, people[f"{m}_pre"], 1)[0] for m in ("phq9", "gad7")])
        fit = fit_mixed("phq9_pre ~ deprivation + (1 | therapist_id)", people, method="REML")
        mixed.append(fit.random_covariance.iloc[0, 0])
    # Within the ends of the scale a point is a little less.
    mean, error = _error(np.array(deprived))
    assert (np.abs(mean - [0.97, 0.485]) < 0.05 + 3 * error).all()
    mean, error = _error(np.array(mixed))
    assert abs(mean - 0.95 * 1.5**2) < 0.1 + 3 * error


def test_services_are_part_of_what_therapists_are_compared_with():
    assert SERVICES.vpc == pytest.approx((3 / (3 + 4 + 29.164), 3 / (3 + 3 + 23.443)))
    assert SERVICES.with_vpc(0.1).vpc == pytest.approx((0.1, 0.1))


def _pooled(designs):
    """Fixed effects by least squares on the pooled cross-products, (R, m - 1)."""
    total = designs.cross.sum(axis=1)
    return np.linalg.solve(total[:, :-1, :-1], total[:, :-1, -1:])[..., 0]


@pytest.mark.parametrize("measure", [0, 1])
def test_fixed_effects_are_recovered_over_replicates(measure):
    # Without therapist effects least squares is unbiased, and its error is known: the mean over
    # replicates lies within four standard errors of the truth, each coefficient by itself.
    truth = replace(SMALL.with_vpc(0), fixed=((8.0, 0.5, 0.1, 0.02), (7.0, 0.4, 0.2, -0.01)))
    estimates = _pooled(simulate_designs(truth, 400, seed=3, measure=measure))
    z = (estimates.mean(0) - truth.fixed[measure]) / (estimates.std(0, ddof=1) / 20)
    assert np.abs(z).max() < 4
    # The spread is what theory says: 12 x 40 patients, residual variance known.
    cross = simulate_designs(truth, 400, seed=3, measure=measure).cross.sum(axis=1)
    expected = np.sqrt(
        np.diagonal(np.linalg.inv(cross[:, :-1, :-1]), axis1=1, axis2=2).mean(0)
        * truth.residual_covariance[measure][measure]
    )
    np.testing.assert_allclose(estimates.std(0, ddof=1), expected, rtol=0.15)


@pytest.mark.parametrize("measure", [0, 1])
def test_variances_between_and_within_therapists_are_recovered(measure):
    # Each therapist's own least-squares line has covariance  D + s2 (X'X)^-1.  Averaged over
    # replicates and therapists this recovers D and s2 without any mixed-model code.
    truth = Truth(
        caseloads=(60,) * 12,
        fixed=((8.0, 0.5, 0.0, 0.0), (7.0, 0.4, 0.0, 0.0)),
        random_covariance=Truth().random_covariance,
    )
    cross = simulate_designs(truth, 300, seed=8, measure=measure).cross
    x, xy, yy = cross[..., :2, :2], cross[..., :2, -1:], cross[..., -1, -1]
    line = np.linalg.solve(x, xy)
    s2 = (yy - (xy * line).sum(axis=(-2, -1))) / (60 - 2)
    off = line[..., 0] - np.array(truth.fixed[measure][:2])
    product = off[..., :, None] * off[..., None, :] - s2[..., None, None] * np.linalg.inv(x)
    wanted = np.asarray(truth.random_covariance)[2 * measure :, 2 * measure :][:2, :2]
    per_replicate = product.mean(axis=1)
    error = per_replicate.std(axis=0, ddof=1) / np.sqrt(len(per_replicate))
    assert np.abs((per_replicate.mean(axis=0) - wanted) / error).max() < 4
    s2_error = s2.mean(1).std(ddof=1) / np.sqrt(len(s2))
    assert abs(s2.mean() - truth.residual_covariance[measure][measure]) < 4 * s2_error


def _error(values):
    """Mean over replicates, and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def test_the_mixed_model_recovers_the_truth_over_replicates():
    # Restricted maximum likelihood with 40 therapists, none near the boundary: close to unbiased.
    truth = replace(
        Truth().with_therapists(40, caseload=40),
        random_covariance=tuple(tuple(4 * v for v in row) for row in Truth().random_covariance),
    )
    designs = simulate_designs(truth, 150, seed=21)
    fits = fit_many(designs.design(), designs.cross, method="REML")
    assert fits.converged.all()
    mean, error = _error(fits.beta)
    assert np.abs((mean - truth.fixed[0]) / error).max() < 4
    mean, error = _error(fits.random_covariance[:, [0, 0, 1], [0, 1, 1]])
    wanted = np.asarray(truth.random_covariance)[[0, 0, 1], [0, 1, 1]]
    assert np.abs((mean - wanted) / error).max() < 4
    mean, error = _error(fits.residual_variance)
    assert abs(mean - truth.residual_covariance[0][0]) < 4 * error


@pytest.mark.nightly
def test_what_the_module_says_of_whole_scores_is_so():
    # 150 cohorts of the paper's shape, whole scores against unbounded ones rounded and clipped.
    truth = Truth()
    covariance, slopes, residual = {}, {}, {}
    for how in ("whole", "clipped"):
        cross = []
        for seed in range(150):
            people = simulate_cohort(truth, seed, integer=how == "whole", interviews=False).patients
            own, other = (people[c] - people[c].mean() for c in ("phq9_pre", "gad7_pre"))
            post = people["phq9_post"]
            post = post if how == "whole" else post.round().clip(0, 27)
            design = DesignMoments.from_arrays(
                post,
                {"Intercept": np.ones(1122), "own": own, "other": other, "both": own * other},
                ["Intercept", "own"],
                people["therapist_id"],
            )
            cross.append(design.cross)
        fits = fit_many(design, np.array(cross), method="REML")
        d = fits.random_covariance.mean(axis=0)
        covariance[how] = d[0, 1] / np.sqrt(d[0, 0] * d[1, 1])
        slopes[how] = fits.beta[:, 1].mean()
        residual[how] = fits.residual_variance.mean()
    assert 0.5 < covariance["whole"] < covariance["clipped"]
    assert abs(slopes["whole"] - 0.549) < 0.02 < 0.549 - slopes["clipped"]
    assert residual["clipped"] < residual["whole"] < truth.residual_covariance[0][0]


@pytest.mark.nightly
def test_whole_scores_keep_the_means_of_the_truth():
    # Rounding and the ends of the scale must not bias the means: therapists' mean scores against
    # those of unbounded scores, whose effects and noise are the same under the same seed.
    spread = tuple(tuple(4.0 * (i % 2 == j % 2 == 0) for j in range(4)) for i in range(4))
    truth = replace(SMALL, random_covariance=spread)
    gaps, clipped = [], []
    for seed in range(12):
        free, whole = (
            simulate_cohort(truth, seed, interviews=False, integer=integer)
            .patients.set_index("therapist_id")["phq9_post"]
            .groupby(level=0)
            for integer in (False, True)
        )
        low = free.mean().nsmallest(6).index
        gap = whole.mean() - free.mean()
        gaps.append([gap[low].mean(), gap.drop(low).mean()])
        clipped.append((free.agg(lambda x: x.clip(0).mean()) - free.mean())[low].mean())
    mean, error = np.mean(gaps, axis=0), np.std(gaps, axis=0, ddof=1) / np.sqrt(12)
    assert np.abs(mean).max() < 0.1 + 3 * error.max()
    # Clipping the unbounded scores at zero would lift the effective therapists' mean by more.
    assert np.mean(clipped) > 0.2


def test_designs_are_those_of_a_cohort_and_fit_the_door_of_the_engine():
    designs = simulate_designs(SMALL, 2, seed=1)
    design = designs[1]
    assert isinstance(design, DesignMoments)
    assert design.fixed_names == (
        "Intercept", "center(phq9_pre)", "center(gad7_pre)", "center(phq9_pre):center(gad7_pre)",
    )  # fmt: skip
    assert design.random_names == ("Intercept", "center(phq9_pre)")
    assert designs.design(slope=False).random_names == ("Intercept",)
    np.testing.assert_array_equal(design.cross, design.cross.transpose(0, 2, 1))
    np.testing.assert_array_equal(design.cross[:, 0, 0], design.n)
    # Centred on the mean of the cohort analysed.
    np.testing.assert_allclose(design.total[0, 1:3], 0, atol=1e-9)


def test_blocks_do_not_change_the_number_of_replicates():
    designs = simulate_designs(Truth.one_measure().with_therapists(400, 300), 13, seed=1)
    assert designs.cross.shape == (13, 400, 3, 3)
    assert (designs.cross[:, :, 0, 0] == 300).all()


def test_one_measure_and_other_numbers_of_therapists():
    for truth in (Truth.one_measure(), Truth.one_measure(GAD7, 1)):
        cohort = simulate_cohort(truth.with_therapists(8, caseload=15), seed=1)
        assert [m.name for m in cohort.measures] == [truth.measures[0].name]
        assert cohort.segments is None
        assert cohort.caseloads().tolist() == [15] * 8
    spread = Truth().with_therapists(56)
    assert len(spread.caseloads) == 56
    assert min(spread.caseloads) >= min(CASELOADS)
    assert Truth().with_therapists(120).therapist_ids[0] == "T001"


def test_a_measure_on_which_more_is_better():
    up = Measure("wellbeing", "Wellbeing", 7, 35, None, None, higher_is_worse=False)
    truth = replace(
        Truth.one_measure(up), pre_mean=(18.0,), pre_sd=(5.0,), fixed=((22.0, 0.5),),
        caseloads=(20,) * 6, residual_covariance=((16.0,),), services=2,
    )  # fmt: skip
    post = simulate_cohort(truth, seed=2).patients["wellbeing_post"]
    assert post.between(7, 35).all()


def test_unbounded_scores_widen_the_measure_and_nothing_else():
    cohort = simulate_cohort(SMALL, seed=1, integer=False)
    assert cohort.measures[0].minimum < 0
    assert cohort.measures[0].cutoff == PHQ9.cutoff
    assert cohort.patients["phq9_pre"].dtype == "int64"
    assert cohort.patients["phq9_post"].dtype == "float64"


def test_the_therapist_effect_can_be_set():
    assert Truth().vpc == pytest.approx((0.087, 0.088), abs=5e-4)
    for vpc in (0.0, 0.05, 0.3):
        assert Truth().with_vpc(vpc).vpc == pytest.approx((vpc, vpc))
    old, new = (np.asarray(t.random_covariance) for t in (Truth(), Truth().with_vpc(0.2)))
    sds = [np.sqrt(np.diag(c)) for c in (old, new)]
    np.testing.assert_allclose(old / np.outer(sds[0], sds[0]), new / np.outer(sds[1], sds[1]))


@pytest.mark.parametrize(
    "change",
    [
        {"measures": ()},
        {"pre_sd": (6.0,)},
        {"pre_sd": (6.0, 0.0)},
        {"fixed": ((1.0, 0.5), (1.0, 0.5))},
        {"caseloads": (10,)},
        {"caseloads": (10, 0)},
        {"pre_correlation": 1.5},
        {"services": 30},
        {"service_covariance": ((1.0,),)},
        {"service_covariance": ((1.0, 2.0), (2.0, 1.0))},
        {"deprivation": ((1.0, 1.0),)},
        {"caseload_mix": (1.0, 0.3)},
        {"residual_covariance": ((1.0, 2.0), (2.0, 1.0))},
        {"residual_covariance": ((1.0, 0.5), (0.1, 1.0))},
    ],
)
def test_an_impossible_truth_is_refused(change):
    with pytest.raises(InputError):
        replace(Truth(), **change)


def test_impossible_requests_are_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        Truth().with_vpc(8.7)
    with pytest.raises(InputError, match="have no services"):
        simulate_designs(replace(SMALL, service_covariance=((1.0, 0.0), (0.0, 1.0))), 1)
    with pytest.raises(InputError, match="one replicate or more"):
        simulate_designs(SMALL, 0)
    with pytest.raises(InputError, match="no scores on PHQ-9"):
        simulate_cohort(replace(SMALL, pre_sd=(20.0, 5.0)))


def test_a_singular_covariance_has_a_root():
    root = root_of([[4.0, 2.0], [2.0, 1.0]], "x")
    np.testing.assert_allclose(root @ root.T, [[4, 2], [2, 1]], atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 21, 100])
def test_quotas_and_numbers_have_the_right_length(n):
    rng = np.random.default_rng(1)
    assert len(quota(n, ETHNICITIES, rng)) == n
    x = numbers_with(n, 5, 2.88, 2, 21, rng)
    assert len(x) == n
    assert ((x >= 2) & (x <= 21)).all()
