"""A study as a commented study file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pwp_report.recognise import PATIENT_ROLES, SESSION_ROLES
from pwp_report.study import ScoreColumns, Study

__all__ = ["write_study"]

_NO_MEASURE = (
    "",
    "# No measure with a first and a last score was recognised: for instance",
    "# [measures.phq9]",
    '# pre = "?"',
    '# post = "?"',
)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(items: Sequence[str]) -> str:
    return "[" + ", ".join(_quote(i) for i in items) + "]"


def write_study(study: Study) -> str:
    """Write a study as a commented study file, saying what was guessed.

    Parameters
    ----------
    study : Study
        As completed from a file; what was not recognised is left as a comment to fill in.

    Returns
    -------
    str
        TOML that `read_study` reads back as the same study.
    """
    guess = "  # guessed from its name: please check"
    lines = [
        "# Study file for pwp. Every line is optional; a line that starts with # says nothing.",
        "version = 1",
        f"title = {_quote(study.title)}",
        f"seed = {study.seed}  # same seed, same result",
        f"engines = {_list(study.engines)}  # of ml, reml, gibbs, nuts",
        f"cluster_size = {study.cluster_size or _quote('quarter')}"
        "  # therapists in the upper and the lower cluster",
        "",
        "[file]",
        f"{'' if study.measures else '# '}level = {_quote(study.level)}"
        "  # what a row is: patient or session",
        f"table = {_quote(study.table)}  # sheet or table, where the file has several",
        f"missing = {_list(study.missing)}"
        '  # entries that mean missing, besides empty, NULL and n/a; for instance ["99", "-9"]',
    ]
    for key, value, note in (
        ("decimal", study.decimal, '"," or "."'),
        ("date_format", study.date_format, '"%d/%m/%Y" for instance'),
    ):
        lines.append(f"{key} = {_quote(value)}" if value else f"# {key} = {note}")
    lines += ["", '[columns]  # names in your file; "" for what is not to be used']
    lines += [
        f"{role} = {_quote(column)}{guess if role in study.guessed else ''}"
        for role, column in study.columns.items()
    ]
    lines += _open_roles(study)
    if not study.measures:
        lines += _NO_MEASURE
    for scores in study.measures:
        lines += _measure_lines(scores, guess if scores.measure.name in study.guessed else "")
    return "\n".join([*lines, *_rule_lines(study)]) + "\n"


def _open_roles(study: Study) -> list[str]:
    """Name what was not recognised, since nobody can name a key that is not shown."""
    roles = SESSION_ROLES if study.level == "session" else PATIENT_ROLES
    left = [r for r in roles if r not in study.columns]
    needed = [r for r in left if r in ("patient_id", "therapist_id")]
    lines = [
        f'# {r} = "?"  # needed and not recognised: take the # away and put your column\'s name'
        for r in needed
    ]
    rest = [f'# {r} = "?"' for r in left if r not in needed]
    if rest:
        lines += ["# Not recognised: where you have one, take the # away and put its name.", *rest]
    return lines


def _measure_lines(scores: ScoreColumns, guess: str) -> list[str]:
    m = scores.measure
    ends = (("pre", scores.pre), ("post", scores.post), ("score", scores.score))
    return [
        "",
        f"[measures.{m.name}]",
        *(f"{key} = {_quote(column)}{guess}" for key, column in ends if column),
        f"label = {_quote(m.label)}",
        f"minimum = {m.minimum}",
        f"maximum = {m.maximum}",
        f"cutoff = {'false' if m.cutoff is None else m.cutoff}  # first score of a case, or false",
        f"reliable_change = {'false' if m.reliable_change is None else m.reliable_change}",
        f"higher_is_worse = {str(m.higher_is_worse).lower()}",
        f"integer = {str(m.integer).lower()}",
    ]


def _rule_lines(study: Study) -> list[str]:
    ages = [
        f"{key} = {value}" if value is not None else f"# {key} = {example}"
        for key, value, example in (
            ("minimum_age", study.minimum_age, 18),
            ("maximum_age", study.maximum_age, 65),
        )
    ]
    return [
        "",
        "[inclusion]",
        f"minimum_sessions = {study.minimum_sessions}",
        f"assessment = {str(study.assessment).lower()}  # an assessment among the sessions",
        f"one_to_one = {str(study.one_to_one).lower()}",
        f"status = {_list(study.status)}",
        f"minimum_caseload = {study.minimum_caseload}",
        *ages,
        "",
        "[therapists]",
        f"several = {_quote(study.several)}"
        "  # a patient of several: most_sessions, first, last or exclude",
        "",
        "[codes]  # what entries mean, in small letters",
        *(f"{key} = {_list(values)}" for key, values in study.codes.items()),
        "",
        "[disclosure]",
        f"caseload = {study.caseload}  # therapists with fewer patients only in aggregate",
    ]
