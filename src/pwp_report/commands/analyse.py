"""``pwp analyse``: the whole analysis of a file, written to a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_report.check import check_study_data
from pwp_report.commands.terminal import progress, say
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.pseudonyms import Pseudonyms, open_key, pseudonymise
from pwp_report.study import Study

__all__ = ["Request", "analyse_file"]


@dataclass(frozen=True)
class Request:
    """What ``pwp analyse`` is asked for."""

    file: Path
    out: Path
    study: Path | None
    therapists: Path | None
    key: Path
    no_disclosure_control: bool = False


def _ready(asked: Request) -> tuple[Cohort, Study, DisclosurePolicy]:
    """Give a file's cohort as it may be analysed: under pseudonyms unless synthetic or told not to.

    Raises
    ------
    InputError
        If there is no cohort, the folder is a file, or the key lies where the results go.
    """
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError("this is a file, not a folder", hint="name another folder", file=asked.out)
    found = check_study_data(asked.file, asked.study, asked.therapists)
    if found.cohort is None:
        raise found.problems.first()
    say(*found.remarks, stderr=True)
    cohort = found.cohort
    active = not asked.no_disclosure_control and not cohort.provenance.synthetic
    if active:
        cohort = pseudonymise(cohort, Pseudonyms(open_key(asked.key, outside=asked.out)))
    return (
        cohort,
        found.study,
        DisclosurePolicy(active=active, smallest_caseload=found.study.minimum_shown),
    )


def _say_where(asked: Request, run: Path, cohort: Cohort, policy: DisclosurePolicy) -> None:
    """Say what to open, what the key is, and that all must stay there if control was off."""
    out = asked.out.name
    say(f"Done: open {out}/{run.name}/report.html; {out}/latest leads there.")
    if policy.active:
        # Its name alone: a path may hold a user's.
        say(f"Who is behind a pseudonym, only {asked.key.name} tells; --help says where it is.")
    if not policy.active and not cohort.provenance.synthetic:
        say("Disclosure control was off: this must not leave the service.", stderr=True)


def analyse_file(asked: Request) -> None:
    """Check, analyse and write."""
    cohort, known, policy = _ready(asked)
    from pwp_report.analysis import analyse
    from pwp_report.report import safe_labels, write_run

    with progress(6) as step:
        step("models, ranks and comparisons")
        size, engines = known.cluster_size, known.engines
        safe = safe_labels(cohort)
        analysis = analyse(safe, seed=known.seed, cluster_size=size, engines=engines)
        run = write_run(analysis, known, policy, asked.out, step)
    _say_where(asked, run, cohort, policy)
