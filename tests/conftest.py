"""A cohort under hostile names, analysed and written with and without disclosure control."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pwp_lib.cohort import Cohort, Provenance
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report import report
from pwp_report.analysis import Analysis, analyse
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.pseudonyms import Pseudonyms, pseudonymise
from pwp_report.study import Study

# Modules that several tests share.
sys.path.extend(
    str(Path(__file__).parent / folder) for folder in ("", "multilevel", "pwp_report", "reference")
)


#: Neighbours of one kind that run by day, of however many.
_BY_DAY = 12


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of many neighbours of one kind every sixth runs by day, of very many a dozen."""
    tests = [i.nodeid.split("[")[0] for i in items if i.get_closest_marker("neighbours")]
    every = {test: max(6, -(-n // _BY_DAY)) for test, n in Counter(tests).items()}
    seen: Counter[str] = Counter()
    for item in items:
        if item.get_closest_marker("neighbours"):
            test = item.nodeid.split("[")[0]
            if seen[test] % every[test]:
                item.add_marker("nightly")
            seen[test] += 1


HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x","y")',
    "../../x",
    "x" * 10_000,
    "$\\frac{1}{2}$",
    "@sum(1)",
    '"quoted", and so on',
    "\x1b[31mred\x07",
    "-1+1",
    "Zoë O'Neill",
]


STUDY = Study(title="Report <b>&</b> title")


def _cohort() -> Cohort:
    truth = Truth().with_therapists(10, caseload=None)
    truth = replace(truth, caseloads=(60, 45, 40, 40, 35, 30, 30, 25, 9, 8))
    made = simulate_cohort(truth, seed=4, interviews=False)
    names = dict(zip(sorted(made.patients["therapist_id"].unique()), HOSTILE, strict=True))
    patients = made.patients.assign(
        therapist_id=made.patients["therapist_id"].map(names),
        patient_id=["nhs-" + p for p in made.patients["patient_id"]],
        service_id="leeds<i>",
    )
    assert made.therapists is not None
    therapists = made.therapists.assign(
        therapist_id=made.therapists["therapist_id"].map(names), service_id="leeds<i>"
    )
    return replace(
        made,
        patients=patients,
        therapists=therapists,
        provenance=Provenance(False, "own.csv"),
    )


@pytest.fixture(scope="session")
def hostile() -> Cohort:
    return _cohort()


def _analysed(cohort: Cohort) -> Analysis:
    return analyse(report.safe_labels(cohort), draws=200, sensitivity=False, cluster_size=3)


@pytest.fixture(scope="session")
def open_analysis() -> Analysis:
    return _analysed(_cohort())


@pytest.fixture(scope="session")
def safe_analysis() -> Analysis:
    return _analysed(pseudonymise(_cohort(), Pseudonyms(b"k" * 32)))


@pytest.fixture(scope="session")
def safe_run(safe_analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("safe") / "out"
    return report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)


@pytest.fixture(scope="session")
def open_run(open_analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("open") / "out"
    return report.write_run(open_analysis, STUDY, DisclosurePolicy(active=False), home)


@pytest.fixture(scope="session")
def texts() -> Callable[[Path], dict[str, str]]:
    """Every written file but pictures, by name."""
    return _texts


def _texts(run: Path) -> dict[str, str]:
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.suffix != ".png":
            found[str(path.relative_to(run))] = path.read_text(encoding="utf-8")
    return found
