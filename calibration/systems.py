"""How six kinds of record systems export: columns, codes, dates, encodings. None is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["SYSTEMS", "System"]

_NHS_ETHNICITY = {
    "Caucasian": ("A", "B", "C"),
    "Asian": ("H", "J", "K"),
    "Black Caribbean or African": ("M", "N"),
    "Mixed": ("D", "F", "G"),
    "Other": ("R", "S"),
}
_WORDED_ETHNICITY = {
    "Caucasian": ("White - British", "White - Irish", "White - other"),
    "Asian": ("Asian - Indian", "Asian - Pakistani"),
    "Black Caribbean or African": ("Black - Caribbean", "Black - African"),
    "Mixed": ("Mixed",),
    "Other": ("Any other group",),
}


@dataclass(frozen=True)
class System:
    """How one kind of record system exports."""

    title: str
    file: str
    columns: dict[str, str]
    scores: dict[str, str]
    date_format: str
    missing: tuple[str, ...]
    codes: dict[str, tuple[str, ...]]
    other: dict[str, tuple[str, ...]]
    ethnicity: dict[str, tuple[str, ...]]
    patient: Callable[[int], str]
    therapist: Callable[[int], str]
    separator: str = ","
    encoding: str = "utf-8"
    repeated: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)


#: What each service exports; S1 has the national data set's names, S2 and S3 are in the manner of
#: commercial record systems. No product is copied.
SYSTEMS: Mapping[str, System] = {
    "S1": System(
        title="national data set",
        file="s1_national.csv",
        columns={
            "patient": "PathwayID", "therapist": "CarePersLocalId", "date": "CareContDate",
            "attended": "AttendOrDNACode", "kind": "AppType", "mode": "CareContPatientTherMode",
            "age": "Age_ReferralRequest_ReceivedDate", "gender": "Gender",
            "ethnicity": "EthnicCategory", "ended": "ServDischDate",
        },
        scores={"phq9": "PHQ9_Score", "gad7": "GAD7_Score"},
        date_format="%Y-%m-%d",
        missing=("Z", "99"),
        codes={
            "attended": ("5", "6"), "assessment": ("01", "03"), "one_to_one": ("1",),
            "female": ("2",), "male": ("1",),
        },
        other={"attended": ("3", "2", "4", "7"), "kind": ("02",), "mode": ("3",)},
        ethnicity=_NHS_ETHNICITY,
        patient=lambda k: f"1{k:07d}",
        therapist=lambda k: f"CP{k:04d}",
        extra={"OrgID_Provider": "RX0"},
    ),
    "S2": System(
        title="commercial record system",
        file="s2_contacts.csv",
        columns={
            "patient": "Case Number", "therapist": "Clinician", "date": "Contact Date",
            "attended": "Attendance", "kind": "Contact Type", "mode": "Format",
            "birth": "Date of Birth", "gender": "Gender", "ethnicity": "Ethnicity",
            "status": "Case Status",
        },
        scores={"phq9": "PHQ-9", "gad7": "GAD-7"},
        date_format="%d/%m/%Y",
        missing=("NULL", "Not stated"),
        codes={
            "attended": ("Attended", "Attended - late"),
            "assessment": ("Assessment", "Assessment/Treatment"),
            "one_to_one": ("Individual", "Telephone"),
            "female": ("Female",), "male": ("Male",), "closed": ("Closed", "Closed - stepped up"),
        },
        other={
            "attended": ("Did not attend", "Cancelled by client", "Cancelled by service"),
            "kind": ("Treatment", "Review"), "mode": ("Group",), "status": ("Open",),
        },
        ethnicity=_WORDED_ETHNICITY,
        patient=lambda k: f"CN-{k:06d}",
        therapist=lambda k: f"Clinician {k:02d}",
        encoding="cp1252",
        repeated=0.03,
        extra={"Outcome note": "Scores entered – see file"},
    ),
    "S3": System(
        title="commercial record system",
        file="s3_appointments.csv",
        columns={
            "patient": "ClientRef", "therapist": "TherapistRef", "date": "ApptDateTime",
            "attended": "ApptOutcome", "kind": "ApptPurpose", "mode": "Delivery",
            "age": "AgeAtReferral", "gender": "Sex", "ethnicity": "EthnicOrigin",
            "ended": "ClosureDateTime",
        },
        scores={"phq9": "PHQ9Total", "gad7": "GAD7Total"},
        date_format="%d-%b-%Y %H:%M",
        missing=("-9", "Unknown"),
        codes={
            "attended": ("ATT",), "assessment": ("ASSESS",), "one_to_one": ("F2F", "TEL"),
            "female": ("F",), "male": ("M",),
        },
        other={"attended": ("DNA", "CANC"), "kind": ("TREAT", "FUP"), "mode": ("GRP",)},
        ethnicity=_WORDED_ETHNICITY,
        patient=lambda k: f"{k:06X}",
        therapist=lambda k: f"TH{k:03d}",
        separator=";",
        encoding="utf-8-sig",
        repeated=0.02,
        extra={"Priority": "Routine"},
    ),
    "S4": System(
        title="in-house database",
        file="s4_sessions.txt",
        columns={
            "patient": "pat_no", "therapist": "staff_no", "date": "seen_on", "attended": "attend",
            "kind": "stage", "mode": "grp", "age": "age", "gender": "sex",
            "ethnicity": "ethnic16", "status": "open_closed",
        },
        scores={"phq9": "phq", "gad7": "gad"},
        date_format="%Y%m%d",
        missing=("99", "Z"),
        codes={
            "attended": ("1",), "assessment": ("A",), "one_to_one": ("0",),
            "female": ("f",), "male": ("m",), "closed": ("c",),
        },
        other={"attended": ("0",), "kind": ("T",), "mode": ("1",), "status": ("o",)},
        ethnicity=_NHS_ETHNICITY,
        patient=lambda k: f"{400000 + k}",
        therapist=lambda k: f"{70 + k}",
        separator="\t",
    ),
    "S5": System(
        title="spreadsheet of a third-sector service",
        file="s5_activity.csv",
        columns={
            "patient": "Client ID", "therapist": "Worker", "date": "Date", "attended": "Came?",
            "kind": "What", "mode": "Where", "birth": "DOB", "gender": "M/F",
            "ethnicity": "Ethnic background", "ended": "Finished on",
        },
        scores={"phq9": "PHQ9 total", "gad7": "GAD7 total"},
        date_format="%d %b %Y",
        missing=("n/a", "not asked"),
        codes={
            "attended": ("Yes", "Y"), "assessment": ("First meeting – assessment",),
            "one_to_one": ("Office", "Phone"), "female": ("F",), "male": ("M",),
        },
        other={
            "attended": ("No", "N"), "kind": ("Guided self-help", "Review"),
            "mode": ("Group room",),
        },
        ethnicity=_WORDED_ETHNICITY,
        patient=lambda k: f"C{k:05d}",
        therapist=lambda k: f"Worker {chr(64 + k)}",
        encoding="cp1252",
        repeated=0.04,
    ),
    "S6": System(
        title="spreadsheet of a voluntary service",
        file="s6_register.txt",
        columns={
            "patient": "Ref", "therapist": "Seen by", "date": "Day", "attended": "Status",
            "kind": "Type", "mode": "Setting", "age": "Age", "gender": "Gender",
            "ethnicity": "Ethnicity", "status": "Case",
        },
        scores={"phq9": "PHQ", "gad7": "GAD"},
        date_format="%d/%m/%y",
        missing=("999", "prefer not to say"),
        codes={
            "attended": ("came",), "assessment": ("initial",), "one_to_one": ("one to one",),
            "female": ("woman",), "male": ("man",), "closed": ("finished",),
        },
        other={
            "attended": ("missed", "rang to cancel"), "kind": ("follow-up",), "mode": ("group",),
            "status": ("ongoing",),
        },
        ethnicity=_WORDED_ETHNICITY,
        patient=lambda k: f"V{k:05d}",
        therapist=lambda k: f"P{k}",
        separator="\t",
        encoding="utf-16",
    ),
}  # fmt: skip
