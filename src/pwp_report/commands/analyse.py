"""``pwp analyse``: the whole analysis of a file, written to a folder of its own."""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from pwp_lib.cohort import Cohort
from pwp_report.check import check_study_data
from pwp_report.commands.terminal import progress, say
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.pseudonyms import Pseudonyms, numbered, open_key, pseudonymise
from pwp_report.register import Mark, changes_by_therapist, compared, keep
from pwp_report.study import Study
from pwp_report.study_file import read_study
from pwp_report.wording import refusal, remark


@dataclass(frozen=True)
class Request:
    """What ``pwp analyse`` is asked for."""

    file: Path
    out: Path
    study: Path | None
    therapists: Path | None
    key: Path
    no_disclosure_control: bool = False
    adjust: str = ""
    despite_earlier: bool = False


def _ready(asked: Request) -> tuple[Cohort, dict[str, str], Study, DisclosurePolicy, Mark | None]:
    """Give a file's cohort as it may be analysed, and the names to release it under.

    They are pseudonyms unless it is synthetic, or unless told not to; then the mark of the
    patients is None.

    Raises
    ------
    InputError
        If there is no cohort, the folder is a file, the key lies where the results go, or an
        earlier run was of nearly the same patients.
    """
    if asked.out.exists() and not asked.out.is_dir():
        raise refusal("file_not_folder", file=asked.out)
    study = read_study(asked.study) if asked.study else Study()
    if asked.adjust:
        study = replace(study, adjust=tuple(n.strip() for n in asked.adjust.split(",")))
    found = check_study_data(asked.file, study, asked.therapists)
    cohort = found.required()
    say(*found.understood, stderr=True)
    names: dict[str, str] = {}
    active, mark = not asked.no_disclosure_control and not cohort.provenance.synthetic, None
    policy = found.study.policy(active)
    if active:
        key = open_key(asked.key, outside=asked.out)
        cohort, mark = compared(cohort, asked.key, policy, asked.despite_earlier)
        if len(changes_by_therapist(cohort.patients).columns):
            say(remark("run_compared", name=asked.key.name), stderr=True)
        cohort, names = numbered(pseudonymise(cohort, Pseudonyms(key)))
    return cohort, names, found.study, policy, mark


def analyse_file(asked: Request) -> None:
    """Check, analyse and write; say what to open, and that all must stay if control was off."""
    cohort, names, known, policy, mark = _ready(asked)
    from pwp_report.analysis import analyse
    from pwp_report.case_mix import CaseMix
    from pwp_report.report import safe_labels, write_run

    progress("models, ranks and comparisons (a first run compiles: minutes more)")
    mix = (known.adjust, known.missing_covariates, known.therapist_mean)
    analysis = analyse(
        safe_labels(cohort),
        seed=known.seed,
        cluster_size=known.cluster_size,
        engines=known.engines,
        optional=[entry.measure.name for entry in known.measures if not entry.required],
        case_mix=CaseMix(*mix, policy.smallest_caseload, policy.threshold),
    )
    read = [f for f in (asked.file, asked.study, asked.therapists) if f is not None]
    known = replace(known, files={f.name: sha256(f.read_bytes()).hexdigest() for f in read})
    run = write_run(analysis, known, policy, asked.out, progress, names)
    # A whole path may hold a user's name; one that is given from here opens from here.
    out = asked.out.name if asked.out.is_absolute() else asked.out.as_posix()
    leads = f"; {out}/latest leads there" * ((asked.out / "latest").resolve() == run.resolve())
    say(f"Done: open {out}/{run.name}/report.html{leads}.")
    if policy.active:
        # Its name alone: a path may hold a user's.
        say(remark("who_is_behind", name=asked.key.name))
    elif not cohort.provenance.synthetic:
        say("Disclosure control was off: this must not leave the service.", stderr=True)
    if mark is not None:
        keep(mark, asked.key, f"{asked.out.name}/{run.name}", asked.despite_earlier)
