"""Which column is which: names that services, systems and the national data set use.

The national names are those of the NHS Talking Therapies (IAPT) data set as it is used in NHS
England's published queries: ``PathwayID``, ``Person_ID``, ``CarePersLocalId``, ``OrgID_Provider``,
``PHQ9_FirstScore``, ``GAD_LastScore``, ``TreatmentCareContact_Count``, ``CareContDate``,
``AttendOrDNACode``, ``AppType``, ``CareContPatientTherMode``, ``ServDischDate`` and others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pwp_lib.measures import MEASURES, Measure

__all__ = [
    "CODES",
    "PATIENT_ROLES",
    "SESSION_ROLES",
    "THERAPIST_NAMES",
    "guess_roles",
    "guess_scores",
    "plain",
]

#: Names by role, best first, in small letters and digits alone.
_ROLES: dict[str, tuple[str, ...]] = {
    "patient_id": (
        "patientid", "pathwayid", "uniqueservicerequestid", "servicerequestid", "referralid",
        "personid", "clientid", "caseid", "localpatientid", "patient", "client", "nhsnumber",
        "pseudoid", "pseudonhsnumber", "participantid", "subjectid", "episodeid", "id",
        "patientno", "patientnumber", "patientref", "clientno", "clientnumber", "clientref",
        "caseno", "casenumber", "caseref", "referralno", "referralnumber",
    ),
    "therapist_id": (
        "therapistid", "careperslocalid", "uniquecarepersonnelidlocal", "carepersonnellocalid",
        "therapist", "practitionerid", "practitioner", "clinicianid", "clinician", "pwpid", "pwp",
        "careprofessionalid", "careprofessional", "caseworker", "counsellor", "counsellorid",
        "therapistcode", "staffid", "leadpractitioner", "careproflocalid",
        "careprofessionallocalid", "therapistname", "practitionername", "clinicianname",
        "counsellorname", "practitionercode", "cliniciancode", "leadtherapist", "leadclinician",
        "keyworker",
    ),
    "service_id": (
        "serviceid", "service", "orgidprovider", "orgidprov", "organisationidentifierprovider",
        "provider", "providercode", "site", "siteid", "team", "teamid", "clinic", "trust",
    ),
    "sessions": (
        "sessions", "nsessions", "numberofsessions", "sessionsattended", "attendedsessions",
        "treatmentcarecontactcount", "carecontactcount", "contacts", "appointmentsattended",
        "sessioncount", "noofsessions", "numsessions", "totalsessions", "noofsessionsattended",
        "numberofsessionsattended", "noofappointments", "noofcontacts",
    ),
    "age": ("age", "agereferralrequestreceiveddate", "ageatreferral", "patientage", "ageyears"),
    "gender": ("gender", "sex", "patientgender", "genderidentity", "statedgender"),
    "ethnicity": (
        "ethnicity", "ethniccategory", "validatedethniccategory", "ethnicgroup", "ethnicorigin",
    ),
    "status": ("status", "casestatus", "referralstatus", "treatmentstatus", "episodestatus"),
    "ended": ("servdischdate", "dischargedate", "dateofdischarge", "enddate", "closeddate"),
    "date": (
        "carecontdate", "sessiondate", "appointmentdate", "contactdate", "dateofsession",
        "dateofappointment", "carecontactdate", "apptdate", "date",
    ),
    "session_number": ("sessionnumber", "sessionno", "session", "contactnumber", "visit", "wave"),
    "attended": (
        "attendordnacode", "attended", "attendance", "attendancestatus", "attendstatus", "dna",
        "appointmentoutcome",
    ),
    "contact_kind": (
        "apptype", "appointmenttype", "contacttype", "sessiontype", "purpose", "typeofcontact",
    ),
    "mode": (
        "carecontpatientthermode", "therapymode", "mode", "sessionmode", "grouporindividual",
        "deliverymode",
    ),
}  # fmt: skip
PATIENT_ROLES = (
    "patient_id", "therapist_id", "service_id", "sessions", "age", "gender", "ethnicity",
    "status", "ended", "mode",
)  # fmt: skip
SESSION_ROLES = (
    "patient_id", "therapist_id", "service_id", "date", "session_number", "attended",
    "contact_kind", "mode", "age", "gender", "ethnicity", "status", "ended",
)  # fmt: skip

#: Other names for columns of a table of therapists.
THERAPIST_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "therapist_id": _ROLES["therapist_id"] + ("id",),
        "service_id": _ROLES["service_id"],
        "gender": ("gender", "sex"),
        "age": ("age", "ageyears"),
        "years_experience": ("yearsexperience", "experience", "yearsinpractice", "yearsqualified"),
        "ego_strength": ("egostrength", "pies"),
        "rationality": ("rationality", "reirationality", "rational"),
        "experientiality": ("experientiality", "reiexperientiality", "experiential"),
        "resilience": ("resilience", "cdrisc"),
        "supervisor_rationality": ("supervisorrationality", "suprationality"),
        "supervisor_experientiality": ("supervisorexperientiality", "supexperientiality"),
    }
)

#: What entries mean, in small letters; the numbers are those of the national data set.
CODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "attended": (
            "5", "05", "6", "06", "attended", "attended on time", "seen", "yes", "y", "true",
            "arrived late but was seen", "arrived on time",
        ),
        "assessment": (
            "1", "01", "3", "03", "assessment", "initial assessment", "assessment and treatment",
        ),
        "one_to_one": (
            "1", "01", "individual", "individual patient", "one-to-one", "one to one", "1:1",
        ),
        "closed": ("closed", "discharged", "completed", "complete", "finished", "ended"),
        "in_treatment": (
            "in_treatment", "in treatment", "open", "active", "ongoing", "current",
        ),
        "female": ("2", "f", "female", "woman"),
        "male": ("1", "m", "male", "man"),
    }
)  # fmt: skip

_PRE = (
    "pre", "first", "start", "initial", "baseline", "intake", "assessment", "before", "t1",
    "entry", "begin", "admission",
)  # fmt: skip
_POST = (
    "post", "last", "end", "final", "discharge", "after", "t2", "exit", "latest", "outcome",
)  # fmt: skip
_FILLER = r"(?:score|total|totalscore|sum)?"


def plain(name: str) -> str:
    """Reduce a name to small letters and digits, as names are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def guess_roles(columns: Sequence[str], roles: Sequence[str]) -> dict[str, str]:
    """Find the column of each role by its name.

    Examples
    --------
    >>> guess_roles(["PathwayID", "CarePersLocalId", "Remarks"], PATIENT_ROLES)
    {'patient_id': 'PathwayID', 'therapist_id': 'CarePersLocalId'}
    """
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(plain(column), column)
    found: dict[str, str] = {}
    for role in roles:
        for name in _ROLES[role]:
            if name in by_name and by_name[name] not in found.values():
                found[role] = by_name[name]
                break
    return found


def _stems(measure: Measure) -> tuple[str, ...]:
    stems = {plain(measure.name), plain(measure.label.split("(")[0])}
    # The national data set writes GAD for GAD-7, and systems write PHQ for PHQ-9.
    stems |= {"gad7": {"gad"}, "phq9": {"phq"}, "pcl5": {"pcl"}}.get(measure.name, set())
    return tuple(sorted(stems, key=len, reverse=True))


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
    for measure in measures:
        stem = "(?:" + "|".join(_stems(measure)) + ")"
        patterns = {}
        for end, words in (("pre", _PRE), ("post", _POST)):
            word = "(?:" + "|".join(words) + ")"
            patterns[end] = f"{stem}{_FILLER}{word}{_FILLER}|{word}{_FILLER}{stem}{_FILLER}"
        patterns["score"] = f"{stem}{_FILLER}"
        mine: dict[str, str] = {}
        for end, pattern in patterns.items():
            for column in columns:
                if end not in mine and re.fullmatch(pattern, plain(column)):
                    mine[end] = column
        if "pre" in mine and "post" in mine:
            mine.pop("score", None)
            found[measure.name] = mine
        elif "score" in mine:
            found[measure.name] = {"score": mine["score"]}
        elif mine:
            found[measure.name] = mine
    return found
