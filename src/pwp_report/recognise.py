"""Guesses which column is which, by the headings that ``names.toml`` lists."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pwp_lib.measures import MEASURES, Measure
from pwp_report.wording import listed

_NAMES: dict[str, dict[str, Any]] = listed("names.toml")
#: What entries mean, in small letters.
CODES: Mapping[str, tuple[str, ...]] = {k: tuple(words) for k, words in _NAMES["codes"].items()}
#: Lists of words, and patterns of them, that say what an entry or a heading is of.
WORDS: Mapping[str, Any] = _NAMES["words"]
#: Words that stand where nobody is named.
NOBODY = tuple(WORDS["nobody"])
#: What a row may say, by what it is: of a ``patient`` or a ``session``.
ROLES: Mapping[str, list[str]] = _NAMES["rows"]


def of_nobody(labels: pd.Series) -> pd.Series:
    """Whether labels are words for nobody, whoever the address is of.

    Examples
    --------
    >>> of_nobody(pd.Series(["Vacant post", "duty.worker@service.org", "J. Doe", None])).tolist()
    [True, True, False, False]
    """
    text = labels.str.lower()
    # Of millions of labels only a few are looked at twice.
    odd = text[text.str.contains("[@_.-]").eq(True)].drop_duplicates()
    bare = odd.str.replace(r"@.*|[\W_]+", " ", regex=True).str.strip()
    return text.isin([*NOBODY, *odd[bare.isin(NOBODY)]])


def _plain(name: str) -> str:
    """Reduce a name to small letters and digits, as names are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _matched(columns: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Find the column of each role by the best of its names; no column has two roles."""
    by_name = {_plain(column): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for role, known in names.items():
        if name := next((n for n in known if n in by_name), ""):
            found[role] = by_name.pop(name)
    return found


def guess_roles(columns: Sequence[str], roles: Sequence[str]) -> dict[str, str]:
    """Find the column of each role by its name.

    Examples
    --------
    >>> guess_roles(["PathwayID", "CarePersLocalId", "Remarks"], ROLES["patient"])
    {'patient_id': 'PathwayID', 'therapist_id': 'CarePersLocalId'}
    """
    return _matched(columns, {role: _NAMES["roles"][role] for role in roles})


def guess_therapist_columns(columns: Sequence[str]) -> dict[str, str]:
    """Find the columns of a table of therapists by their names.

    Examples
    --------
    >>> guess_therapist_columns(["Therapist", "CD-RISC"])
    {'therapist_id': 'Therapist', 'resilience': 'CD-RISC'}
    """
    roles = _NAMES["roles"]
    names = {"therapist_id": [*roles["therapist_id"], "id"], "service_id": roles["service_id"]}
    return _matched(columns, names | _NAMES["therapists"])


def speaks_of(what: str, heading: str) -> bool:
    """Say whether a heading is of something: its pattern is one of ``names.toml``.

    Parameters
    ----------
    what : {"of_treatment", "treatment", "place", "group", "no_group", "above"}
        What happened in treatment, which it was, where, with whom (or not), and who leads.
    heading : str

    Examples
    --------
    >>> [speaks_of("of_treatment", h) for h in ("PlannedEnding", "EndCode", "planned_pregnancy")]
    [True, True, False]
    >>> [speaks_of("place", h) for h in ("ClinicName", "Area team", "GP practice", "Clinician")]
    [True, True, False, False]
    """
    known = [heading, *guess_roles([heading], [*ROLES["patient"], *ROLES["session"]])]
    spaced = (re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z]+", " ", name).lower() for name in known)
    return any(re.match(WORDS[what], name) for name in spaced)


def of_second_therapist(heading: str) -> bool:
    """Whether a heading that has no use is of a therapist, with a number or a word or without.

    Examples
    --------
    >>> [of_second_therapist(h) for h in ("Therapist 2", "Key worker", "PHQ9 2")]
    [True, True, False]
    """
    first = re.sub(r"(?i)[ _-]*(?:2|second|two|other|co(?=[ _-]))[ _-]*", "", heading)
    return bool(guess_roles([first], ["therapist_id"]))


def one_letter_off(column: str, roles: Sequence[str]) -> str:
    """Find the role of which a heading misses a known name by one letter; empty if there is none.

    Examples
    --------
    >>> one_letter_off("therapst_id", ["patient_id", "therapist_id"])
    'therapist_id'
    """
    own = _plain(column)
    if any(own in names for names in _NAMES["roles"].values()):
        return ""  # another heading, spelt as it should be
    return next((r for r in roles if any(one_edit(own, n) for n in _NAMES["roles"][r])), "")


def role_of_attendance(heading: str, words: pd.Series) -> str:
    """Say what a column of sessions is by its entries: ``attended``, ``missed``, or neither.

    Parameters
    ----------
    heading : str
        Yes and no, or 0 and 1, are of attendance only where the heading speaks of it.
    words : Series
        The entries, in small letters.

    Examples
    --------
    >>> entries = {"Kept": ["5", "5", "3"], "Note": ["dna", None]}
    >>> [role_of_attendance(name, pd.Series(words)) for name, words in entries.items()]
    ['attended', 'missed']
    """
    entries, name, yes_or_no = {*words.dropna()}, _plain(heading), {*WORDS["yes_or_no"]}
    numbers = {entry.lstrip("0") for entry in entries}
    if entries and numbers <= set("234567"):
        return "attended" if numbers & {"5", "6"} and numbers - {"5", "6"} else ""
    if entries and entries <= yes_or_no:
        said = re.search("attend|seen|arrived|dna|noshow|miss|absen|cancel", name)
        no = re.search("not?attend|nonattend|notseen|^dna|noshow|miss|absen|cancel", name)
        return "missed" if no else "attended" if said else ""
    said_so = CODES["attended"], WORDS["not_attended"]
    came, did_not = ({w for w in some if len(w) > 2} for some in said_so)
    if words.dropna().isin(came | did_not).mean() < 0.5 or not entries & did_not - yes_or_no:
        return ""
    return "attended" if entries & came else "missed"


def one_edit(a: str, b: str) -> bool:
    """Whether a letter too many, too few, wrong, or two exchanged make one name of the other."""
    digits = [re.sub(r"[^0-9]", "", x) for x in (a, b)]
    if min(len(a), len(b)) < 6 or digits[0] != digits[1] or a.rstrip("s") == b.rstrip("s"):
        return False
    shorter = [{x[:i] + x[i + 1 :] for i in range(len(x))} for x in (a, b)]
    return a in shorter[1] or b in shorter[0] or bool(shorter[0] & shorter[1])


def in_short(name: str, whole: str) -> bool:
    """Whether a name is another with initials in the place of words, but for the last.

    Examples
    --------
    >>> [in_short("K. Whyte", w) for w in ("Karen Whyte", "John Whyte", "K. Whyte", "Karen White")]
    [True, False, False, False]
    """
    short, long = (re.findall(r"\w+", n.casefold()) for n in (name, whole))
    alike = short != long and len(short) == len(long) and short[-1:] == long[-1:]
    return alike and all(a in (b, b[:1]) for a, b in zip(short, long, strict=True))


def _stem(measure: Measure) -> str:
    """Give what the headings of a measure are called by."""
    stems = {_plain(measure.name), _plain(measure.label.split("(")[0])}
    stems |= set(_NAMES["stems"].get(measure.name, ()))
    return "(?:" + "|".join(sorted(stems, key=len, reverse=True)) + ")"


def named_after(columns: Sequence[str], measure: Measure, before: str = "") -> list[str]:
    """Find the columns whose headings begin with the name of a measure, whatever follows.

    A pattern `before` it says what may precede it. Relatives of it, and its items, are others.

    Examples
    --------
    >>> from pwp_lib.measures import PHQ9
    >>> named_after(["PHQ-9 score 1", "PHQ_9 (2)", "Phase", "PHQ-15", "PHQ9 item 9"], PHQ9)
    ['PHQ-9 score 1', 'PHQ_9 (2)']
    """
    others = "|".join(v for k, v in _NAMES["relatives"].items() if k in (measure.name, "every"))
    tight = {c: re.sub(r"(?<=[a-z])[^a-z0-9]+(?=\d)", "", c.lower()) for c in columns}
    there = [c for c in columns if re.match(rf"{before}{_stem(measure)}(?![a-z])", tight[c])]
    return [c for c in there if not re.search(others, c.lower())]


def guess_scores(
    columns: Sequence[str], measures: Sequence[Measure] = tuple(MEASURES.values())
) -> dict[str, dict[str, str]]:
    """Find the score columns of each measure: ``pre`` and ``post``, or ``score`` by session.

    Examples
    --------
    >>> guess_scores(["PHQ9_FirstScore", "PHQ9_LastScore", "GAD7 total"])
    {'phq9': {'pre': 'PHQ9_FirstScore', 'post': 'PHQ9_LastScore'}, 'gad7': {'score': 'GAD7 total'}}
    """
    found: dict[str, dict[str, str]] = {}
    filler, words = WORDS["filler"], _NAMES["ends"].items()
    ends = {end: f"{filler}(?:{'|'.join(some)}){filler}" for end, some in words}
    for measure in measures:
        stem = _stem(measure)
        forms = {end: f"{stem}{word}|{word}{stem}{filler}" for end, word in ends.items()}
        forms["score"] = f"{stem}{filler}"
        fits = {end: [c for c in columns if re.fullmatch(f, _plain(c))] for end, f in forms.items()}
        mine = {end: fit[0] for end, fit in fits.items() if fit}
        whole = {"pre", "post"} <= set(mine)
        mine = {e: c for e, c in mine.items() if "score" not in mine or (e == "score") != whole}
        if mine:
            found[measure.name] = mine
    return found
