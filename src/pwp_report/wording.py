"""What is refused or has to be corrected, in words: every sentence stands in ``wording.toml``."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from multilevel.errors import InputError
from pwp_lib.numbers import listing


def listed(name: str) -> dict[str, Any]:
    """Read a file of words and data that stands beside the modules."""
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


_WORDS = listed("wording.toml")


#: What an entry is where it should not be, and what to do about it.
KINDS: dict[str, list[str]] = _WORDS.pop("kinds")
#: What a chapter or a tagged cell may need beside patients and their scores.
NEEDS: dict[str, str] = _WORDS.pop("needs")
#: What to do about a rule that leaves nobody, and which therapist of several counts, by the words
#: of a rule of inclusion.
RELAX: dict[str, str] = _WORDS.pop("relax")
SEVERAL: dict[str, str] = _WORDS.pop("several")
_REMARKS: dict[str, str] = _WORDS.pop("remarks")
#: By the key that a study file may name as answered.
QUESTIONS: dict[str, str] = _WORDS.pop("questions")
#: What is wrong with files of other kinds, and what to do, by their first bytes in small letters.
OTHER_FILES: dict[str, list[str]] = _WORDS.pop("other_files")
#: A file concerned, where one is.
File: TypeAlias = str | Path | None


class Question(str):
    """A remark that asks what the file does not tell, and whose answer changes the results.

    Attributes
    ----------
    key : str
        By which a study file says that it is answered.
    """

    key = ""


def worded(key: str, **words: Any) -> list[str]:
    """Give what is wrong, what to do about it and, of a table's rows, what was found.

    Examples
    --------
    >>> worded("role_not_found", what="patient", role="patient_id", listed="Who, By")[0]
    'no column that identifies the patient was recognised among these: Who, By'
    """
    return [text.format(**words) for text in _WORDS[key]]


def remark(key: str, **words: Any) -> str:
    """Give what is worth saying and stops nothing.

    Examples
    --------
    >>> remark("rows_hidden", count=3)
    'rows hidden in the sheet, by a filter perhaps, and read: 3'
    """
    if key not in QUESTIONS:
        return _REMARKS[key].format(**words)
    question = Question(QUESTIONS[key].format(**words))
    question.key = key
    return question


def refusal(
    key: str, *, file: File = None, row: int | None = None, column: str | None = None, **words: Any
) -> InputError:
    """Make the error of that key, to be raised.

    Examples
    --------
    >>> str(refusal("empty_file", file="scores.csv"))
    'scores.csv: the file is empty; export it again.'
    """
    problem, hint = worded(key, **words)
    return InputError(problem, hint=hint or None, file=file or None, row=row, column=column)


def in_words(column: str) -> str:
    """Write the name of a column as a sentence would say it; what is in capitals stays so.

    Examples
    --------
    >>> [in_words(c) for c in ("area_deprivation", "Age at referral", "AgeBand", "IMD decile")]
    ['area deprivation', 'age at referral', 'age band', 'IMD decile']
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\s]+", " ", column).split()
    return " ".join(word.lower() if word.istitle() else word for word in words)


@cache
def _template(name: str) -> Any:
    """Read a template of the package, once: that takes longer than to fill it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    how: Any = {"undefined": StrictUndefined, "trim_blocks": True, "autoescape": "html" in name}
    engine = Environment(loader=PackageLoader("pwp_report"), **how)
    engine.filters |= {"in_words": in_words, "listing": listing}
    return engine.get_template(name)


def render(template: str, **values: Any) -> str:
    """Fill a template of the package; a value that it lacks is an error."""
    return str(_template(template).render(**values))
