"""``pwp analyse``: the whole analysis of a file, written to a folder of its own."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from pwp_report.check import check_study_data
from pwp_report.commands.terminal import progress, say
from pwp_report.pseudonyms import Pseudonyms, numbered, open_key, pseudonymise
from pwp_report.register import changes_by_therapist, compared, keep
from pwp_report.study import Study
from pwp_report.study_file import read_study
from pwp_report.wording import refusal, remark


def analyse_file(
    file: Path,
    out: Path,
    study: Path | None,
    therapists: Path | None,
    key: Path,
    adjust: str,
    despite: bool,
    no_control: bool,
) -> None:
    """Check, analyse and write; say what to open, and that all must stay if control was off.

    What is released is under pseudonyms unless all is synthetic, or unless told not to.

    Raises
    ------
    InputError
        If there is no cohort, the folder is a file, the key lies where the results go, or an
        earlier run was of nearly the same patients.
    """
    if out.exists() and not out.is_dir():
        raise refusal("file_not_folder", file=out)
    asked = read_study(study) if study else Study()
    if adjust:
        asked = replace(asked, adjust=tuple(n.strip() for n in adjust.split(",")))
    found = check_study_data(file, asked, therapists)
    cohort, known, mark = found.required(), found.study, None
    say(*found.understood, stderr=True)
    names, opened = dict[str, str](), b""
    policy = known.policy(not no_control and not cohort.provenance.synthetic)
    if policy.active:
        opened = open_key(key, outside=out)
        cohort, mark = compared(cohort, key, policy, despite)
        if len(changes_by_therapist(cohort.patients).columns):
            say(remark("run_compared", name=key.name), stderr=True)
        cohort, names = numbered(pseudonymise(cohort, Pseudonyms(opened)))
    del found  # of a million patients it holds a hundred megabytes
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
    read = [f for f in (file, study, therapists) if f is not None]
    # With the key before it: or else who guesses a name in a study file could see it confirmed.
    files = {f.name: sha256(opened + f.read_bytes()).hexdigest() for f in read}
    known = replace(known, files=files)
    run = write_run(analysis, known, policy, out, progress, names)
    # A whole path may hold a user's name; one that is given from here opens from here.
    shown = out.name if out.is_absolute() else out.as_posix()
    leads = f"; {shown}/latest leads there" * ((out / "latest").resolve() == run.resolve())
    say(f"Done: open {shown}/{run.name}/report.html{leads}.")
    if policy.active:
        # Its name alone: a path may hold a user's.
        say(remark("who_is_behind", name=key.name))
    elif not cohort.provenance.synthetic:
        say("Disclosure control was off: this must not leave the service.", stderr=True)
    if mark is not None:
        keep(mark, key, f"{out.name}/{run.name}", despite)
