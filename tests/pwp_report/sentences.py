"""Numbers in the sentences of a report: each is one of the tables', or worked out here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import numpy as np
import pandas as pd
from claims import MARK, SCALES, Claims
from scipy.stats import norm

#: What has a number in it and is no figure of these data, and why.
NOT_FIGURES = {
    r"\b[TS]-[a-z0-9]{8}\b": "a pseudonym",
    r"tables/\S+|methods\.txt": "a file",
    r"PHQ-9|GAD-7|CORE-10|OQ-45": "a measure",
    r"95% (profile-likelihood )?intervals?|\((95|99\.8)%\)": "a level of confidence",
    r"at the (5th|95th) percentile|at the 95th": "a place among therapists",
    r"between the 10th and the 90th percentile": "a place among the changes of patients",
    r"of (his|their|its) 100|of 100 patients|how many of 100|Patients per hundred": "per hundred",
    r"0\.7\)|\(0 to 1\)|ones? \(p": "a scale or a limit that is agreed on",
    r"therapists of whose patients 80% or more": "a limit that is agreed on",
    r"counts below 5|fewer than 5|nearest 5|rounded to 5|and 5 in the other": "the rule",
    r"[Tt]he (first and the last )?10 (of|with)|last 10, of": "rows on the page",
    r"[Dd]rawn: [\d,]+ of|in \d+ others|\(\d+ drawn\)": "points of a picture",
    r"residuals of \d+ (therapists|services)|and \d+ more (better|worse)": "points of a picture",
    r"Figures \(\d+\)": "pictures",
    r"−2 log-likelihood|\(level [123]\)|y_ij = .*? e_ij|u[01]_j|b[01]": "an equation",
    r"15 nodes|after 500 discarded|25,000 iterations": "how it was computed",
    r"fewer than 10 services|more than 1,000 therapists": "the rule",
    r"share between services is 0": "words of a note",
    r"\d+ sessions or more": "a rule of inclusion",
    r"takes \d+ (patients|services)|with fewer than \d+ patients": "what an analysis takes",
    r"(pwp.lib|numpy|scipy|pandas|matplotlib|NumPy|SciPy) [\d.]+|[Ss]eed \d+": "software",
    r"Green, Barkham.*?43-54|items are 1 to 8a.*?Table 4": "what is cited",
    r"each 1[\d,]* more": "a unit",
    r"at the 5th and|an odds ratio of 1": "words of a note",
    r"it takes 5 at the least, and more than 30": "what an analysis takes",
}


def prose(page: str) -> list[str]:
    """Paragraphs, captions, headings and what is read in place of a picture; no tables."""
    page = re.sub(r"(?s)<head>.*?</head>|<table.*?</table>", "", page)
    page = re.sub(r'<img src="[^"]*" alt="([^"]*)">', r"<p>\1</p>", page)
    parts = re.findall(r"(?s)<(p|figcaption|h\d|summary|li)\b[^>]*>(.*?)</\1>", page)
    return [unescape(re.sub(r"<[^>]+>", "", text)).strip() for _, text in parts]


def _written(value: float) -> set[str]:
    """Give the ways in which a sentence may write a number of a table."""
    out = {f"{value:g}", f"{value:.1f}", f"{value:.2f}", f"{value:,.0f}" if value % 1 == 0 else ""}
    out |= {f"{value:.3f}".replace("0.", ".", 1), ".001" if value < 0.001 else ""}
    return {w.replace("-", "−") for w in out}


#: By what a paragraph says: the tables whose figures it may tell, and what else, of its measures.
KINDS = {
    "The answer rests on": (("outcomes",), ("sizes", "all")),
    "had several therapists": (("flow",), ("several",)),
    "are left out of all measures for want": (("flow",), ()),
    "are left out by a rule": (("flow",), ()),
    "of the rows of the file are left out": ((), ("left_out",)),
    "mean score went|^Likewise on .* an improvement of": (("outcomes",), ("limits", "off")),
    "lie between therapists|^Likewise on [^,]*%.*(told from zero|alike)": (
        ("therapist_effect", "adjusted"),
        (),
    ),
    "between services|^Likewise on .*%.* and .*%|three levels \\d": (("services",), ()),
    "of 100 patients who(se| could)|^Likewise on [^%]*, [^%]* and [^%]*chance": (("rates",), ()),
    "would be in another group": ((), ("moved", "sizes")),
    "^Within services": (("sensitivity",), ()),
    "own figures are more than|therapists? (has|have) that|is reliable .0.7. from": (
        (),
        ("reliable", "sizes"),
    ),
    "^Not that this holds": (
        ("rates", "missing", "sensitivity", "last_scores", "completeness"),
        (),
    ),
    "unnel plot|^Each therapist's departure|^Reliably and clinically": ((), ("funnel", "sizes")),
    "most effective at the top by": ((), ("funnel", "reliable", "sizes")),
    "^Dot plot": (("sensitivity", "one_less"), ()),
    "[0-9]+ rows?\\)$|of [0-9,]+ rows|with the most patients of": ((), ("rows",)),
    "^Services on|^Caterpillar plot": ((), ("rows",)),
    "^Data had": (("flow", "sample"), ("sizes", "all")),
    "With the two told apart": (("together",), ()),
    "log-likelihood by": (("models", "therapist_effect", "adjusted", "services", "together"), ()),
    "Cells that are withheld": ((), ("marks",)),
    "Services that are not shown": ((), ("hidden",)),
    "therapists appear only together": ((), ("together",)),
    "Ranks are uncertain, and groups|not shown one by one": ((), ("sizes", "moved")),
    "^Ranks? of |without one therapist": ((), ("ranks", "sizes")),
    "^Likewise on [^,]*: .*it takes a caseload": (
        (),
        ("reliable", "sizes"),
    ),
}


def _of_tables(claims: Claims, names: tuple[str, ...], labels: list[str]) -> Iterator[float]:
    ends_of = [m for m, scale in SCALES.items() if scale[0] in labels]
    for name, table in claims.tables.items():
        own = next((m for m in SCALES if name.endswith(f"_{m}")), None)
        start = name.removesuffix(f"_{own}") if own else name
        if start not in names or (own and labels and own not in ends_of):
            continue
        if "measure" in table and labels and start != "rates":
            table = table[table["measure"].isin(labels)]
        for cell in table.to_numpy().ravel():
            for part in str(cell).replace("−", "-").split(" to "):
                try:
                    yield float(part)
                except ValueError:
                    continue


def _reliable(claims: Claims, m: str) -> Iterator[float]:
    """Rankability in percent, the caseload from which on .7 is reliable, and who has it."""
    a, fit = claims.asked, claims.asked.ranked[m]
    n, between, within = a.loads, fit.between, fit.sigma2
    if between <= 1e-9 * within:
        yield 0.0
        return
    needed = np.ceil(round(0.7 / 0.3 * within / between, 6))
    yield needed
    # And at the ends of the share's interval, as they stand on the page.
    shares = claims.tables["therapist_effect"]
    names = ["profile_lower", "profile_upper"]
    if fit is not a.fits[m]:
        shares, names = claims.tables["adjusted"], ["vpc_lower", "vpc_upper"]
        shares = shares[shares["adjusted_for"] == "first scores and case mix"]
    ends = shares[shares["measure"] == SCALES[m][0]][names].to_numpy(dtype=float).ravel()
    yield from (np.ceil(round(70 / 30 * (100 - s) / s, 6)) for s in ends if s > 0)
    yield len(n)
    if len(a.alone) >= 5 and len(a.together) < len(n) / 2:
        yield round(100 * between / (between + np.median(within / n)))
    has = int((n >= needed).sum())
    if not len(a.together):
        yield has
    elif 5 <= has <= len(n) - 5:
        yield 5 * ((has + 2) // 5)


def _funnels(claims: Claims, m: str) -> Iterator[float]:
    """Who lies beyond the limits of chance, and how far apart therapists are."""
    fit, table = claims.asked.ranked[m], claims.tables[f"residuals_{m}"]
    table = table[table["therapist"] != "others together"]
    n, d = table["n"].astype(float).to_numpy(), table["departure"].astype(float).to_numpy()
    sd = fit.sigma2**0.5
    for level in (0.95, 0.998):
        limit = norm.isf((1 - level) / 2) * sd / np.sqrt(np.maximum(5, n - 2))
        yield int((abs(d) > limit).sum())
        yield round((1 - level) * len(n), 1)
    yield len(n)
    yield round(float(np.mean(d**2 * n) / sd**2), 1)
    yield from (d.min(), d.max())
    apart = table[["lower", "upper"]].apply(pd.to_numeric, errors="coerce")
    yield int(((apart["lower"] > 0) | (apart["upper"] < 0)).sum())
    each = claims.tables["outcomes_by_therapist"]
    each = each[(each["measure"] == SCALES[m][0]) & (each["therapist"] != "others together")]
    known = each[["n_case_pre", "n_rcsi"]].apply(pd.to_numeric, errors="coerce")
    both = known.dropna()
    yield from (len(both), int((known["n_case_pre"].notna() & known["n_rcsi"].isna()).sum()))
    if not len(both):
        return
    case, well = both["n_case_pre"], both["n_rcsi"]
    yield from (round(100 * share) for share in (well / case).clip(upper=1).agg(["min", "max"]))
    drawn = (well / case).clip(upper=1)
    up, down = ((well + 2) / (case - 2)).clip(upper=1) - drawn, drawn - (well - 2) / (case + 2)
    yield round(100 * float(max(up.max(), down.max())))


def computed(claims: Claims) -> dict[str, dict[str, list[float]]]:
    """Numbers of sentences that are in no table: by kind and measure, or of all."""
    a, found = claims.asked, {}
    sizes = [len(a.loads), a.patients["service"].nunique() if "service" in a.patients else 0]
    found["sizes"] = {"": sizes}
    # And the caseload from which on a therapist is shown alone.
    found["hidden"] = {"": [getattr(claims, "hidden_services", 0), a.least]}
    # Patients, and those who dropped out where a rule says how many were let in.
    counts = [len(a.patients), *(a.eligible[c].sum() for c in ("dropped_out",) if c in a.eligible)]
    several = [a.rows[c].sum() for c in ("several", "tied") if c in a.rows]
    found["left_out"] = {"": [10.0 * round(10 * a.left_out)]}
    found["several"] = {"": [5 * ((int(n) + 2) // 5) for n in several]}
    found["all"] = {"": [5 * ((int(n) + 2) // 5) for n in counts]}
    found["together"] = {"": [len(a.together), a.least]}
    marks = sum((t == MARK).to_numpy().sum() for t in claims.tables.values())
    found["marks"] = {"": [float(marks)]}
    found["rows"] = {"": [float(len(t)) for t in claims.tables.values()]}
    moved = []
    if a.ranked is a.mixed:
        now, before = a.groups(a.mixed), a.groups(a.fits)
        moved.append(int((now[before.index] != before).sum()))
    found["moved"] = {"": moved}
    for kind, work in _BY_MEASURE.items():
        mine = {m: [float(x) for x in work(claims, m)] for m in a.measures}
        found[kind] = {SCALES[m][0]: values for m, values in mine.items()}
    limits = {SCALES[m][0]: [x for x in SCALES[m][1:3] if x is not None] for m in a.measures}
    return found | {"limits": limits}


def _off(claims: Claims, m: str) -> Iterator[float]:
    """By how much the percentages of two rounded counts may be off."""
    for _, row in claims.lines("outcomes", measure=SCALES[m][0]):
        if MARK not in (row["recovery"] or MARK, row["n_case_pre"]):
            # Of part and whole each is off by two at most, and the percentage by a half.
            part, n = float(row["recovery"]), float(row["n_case_pre"])
            yield float(np.ceil(10 * (200 * (1 + part / 100) / (n - 2) + 0.5)) / 10)


def _ranks(claims: Claims, m: str) -> Iterator[float]:
    """How many ranks the intervals of therapists shown span: fewest, most and median."""
    table = claims.tables[f"residuals_{m}"]
    ends = table[["rank_lower", "rank_upper"]].apply(pd.to_numeric, errors="coerce").dropna()
    spans = ends["rank_upper"] - ends["rank_lower"] + 1
    yield from (len(spans), spans.min(), spans.max(), round(spans.median()))


_BY_MEASURE = {"reliable": _reliable, "funnel": _funnels, "off": _off, "ranks": _ranks}


def unknown(paragraphs: list[str], claims: Claims) -> list[tuple[str, str]]:
    """Find numbers in sentences that are no figure of a table and not worked out here."""
    extra, found = computed(claims), []
    for paragraph in paragraphs:
        labels = [v[0] for v in SCALES.values() if re.search(rf"{v[0]}(?!\w)", paragraph)]
        # What is rounded to zero and is none.
        left = paragraph.replace("under 0.1", "0.0")
        left = re.sub("|".join(f"(?:{p})" for p in NOT_FIGURES), "~", left)
        numbers = re.findall(r"(?<![\w.,])[−-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)", left)
        kinds = [k for pattern, k in KINDS.items() if re.search(pattern, paragraph)]
        known: set[str] = set()
        for tables, others in kinds:
            values = [*_of_tables(claims, tables, labels)]
            for kind in others:
                mine = extra[kind].items()
                values += [x for of, xs in mine if not of or not labels or of in labels for x in xs]
            known = known.union(*map(_written, values))
        found += [(n, paragraph) for n in numbers if n.rstrip(",") not in known]
    return found
