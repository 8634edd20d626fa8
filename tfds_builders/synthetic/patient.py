"""Who is recorded: patients with a lasting heart, lasting diseases, and visits months apart.

What lasts (axis, amplitudes, intervals, the origin of ectopic beats, the disease) is drawn once a patient;
each visit adds a small drift. A disease does not show at each visit: fibrillation and flutter may be
paroxysmal, premature beats come and go, an infarct or a block may develop between two visits.
"""

import dataclasses
import datetime

import numpy as np

from tfds_builders.synthetic import dipole, heart
from tfds_builders.synthetic.heart import Heart
from tfds_builders.synthetic.infarct import Infarct, draw_infarct, infarcted
from tfds_builders.synthetic.rhythm import ATRIAL, VENTRICULAR
from tfds_builders.synthetic.variants import VARIANTS

PREVALENCE = {
    "fibrillation": 0.15,
    "flutter": 0.16,
    "PAC": 0.18,
    "PVC": 0.16,
    "1AVB": 0.15,
    "MI": 0.27,
}
"""Share of patients with each disease, far above a real cohort's: a demonstration needs positives."""
VARIANT_SHARE = 0.25
"""Share of patients with one of VARIANTS."""

SITES = {"outpatient": ("cart", 1.0), "ward": ("cart", 1.2), "emergency": ("portable", 1.6)}
"""Site, its device, and how noisy recordings are there."""


@dataclasses.dataclass(frozen=True)
class Patient:
    """What lasts. Durations in s, rates in beats a minute, sizes in mV."""

    female: bool
    first_visit: datetime.datetime
    visits_days: tuple[int, ...]
    """Days from the first visit to each."""
    first_age: float
    diseases: frozenset[str]
    variant: str | None
    """A finding that is none of the diseases: LVH, LAFB, CRBBB or NDT."""
    burden: float
    """Share of the visits at which fibrillation or flutter shows; 1 = permanent."""
    onset_visit: int
    """First visit at which an infarct or a block is there."""
    infarct: Infarct | None
    heart: Heart
    leads: np.ndarray
    """[8, 3] how I, II, V1..V6 see the dipole: body, position of the heart, habits of placing electrodes."""
    pr_s: float
    sinus_bpm: float
    arrhythmia_bpm: float
    breathing: float
    """Relative amplitude of the respiratory sinus arrhythmia."""
    flutter_cycle_s: float
    flutter_mv: float
    fibrillation_mv: float
    coupling: dict[int, float]
    """Coupling interval of premature beats, as a share of the cycle, by kind of beat."""


@dataclasses.dataclass(frozen=True)
class Visit:
    """One recording before its beats are drawn."""

    recorded_at: datetime.datetime
    age: float
    site: str
    rhythm: str
    """sinus, fibrillation or flutter"""
    premature: tuple[int, ...]
    """Kinds of premature beats."""
    infarct: Infarct | None
    heart: Heart
    leads: np.ndarray
    pr_s: float
    rate_bpm: float


def draw_patient(rng) -> Patient:
    diseases = frozenset(name for name, share in PREVALENCE.items() if rng.random() < share)
    variant = str(rng.choice(list(VARIANTS))) if rng.random() < VARIANT_SHARE else None
    female = bool(rng.random() < 0.48)
    age = float(np.clip(rng.normal(66, 12) if diseases or variant else rng.normal(52, 17), 18, 88))
    ageing = (age - 50) / 10
    normal = heart.draw_heart(rng, female=female, ageing=ageing)
    return Patient(
        female=female,
        first_visit=datetime.datetime(2010, 1, 4)
        + datetime.timedelta(days=int(rng.integers(8 * 365))),
        visits_days=tuple(np.cumsum([0, *rng.integers(30, 540, rng.integers(1, 4))]).tolist()),
        first_age=age,
        diseases=diseases,
        variant=variant,
        burden=float(rng.choice([rng.uniform(0.3, 0.7), 1.0])),
        onset_visit=int(rng.random() < 0.2),
        infarct=draw_infarct(rng) if "MI" in diseases else None,
        heart=normal if variant is None else VARIANTS[variant](normal, rng.uniform(0.3, 1)),
        leads=_draw_leads(rng, female=female),
        # PR 120 to 200 ms, a little longer with age; from 215 ms on with first-degree block.
        pr_s=0.212 + rng.gamma(2.0, 0.026)
        if "1AVB" in diseases
        else rng.normal(0.158 + 0.003 * ageing, 0.018),
        sinus_bpm=rng.normal(70, 10),
        arrhythmia_bpm=float(np.clip(rng.normal(92, 20), 55, 140)),
        # 5 % in the young, 1 % in the old: Task Force 1996 (doi:10.1161/01.CIR.93.5.1043).
        breathing=float(np.clip(0.045 - 0.008 * ageing, 0.008, 0.07) * rng.lognormal(0, 0.4)),
        flutter_cycle_s=60 / rng.uniform(250, 340),
        flutter_mv=0.14 * rng.lognormal(0, 0.4),
        fibrillation_mv=0.09 * rng.lognormal(0, 0.45),
        coupling={ATRIAL: rng.uniform(0.55, 0.75), VENTRICULAR: rng.uniform(0.52, 0.7)},
    )


def draw_visit(rng, patient: Patient, visit: int) -> Visit:
    """What is different at a visit: drift of rate and morphology, and whether a disease shows."""
    days = patient.visits_days[visit]
    site = str(rng.choice(list(SITES)))
    rhythm = "sinus"
    for arrhythmia in ("flutter", "fibrillation"):
        if arrhythmia in patient.diseases and rng.random() < patient.burden:
            rhythm = arrhythmia
    infarct = patient.infarct if visit >= patient.onset_visit else None
    if infarct is not None and visit == patient.onset_visit and rng.random() < 0.5:
        site, infarct = "emergency", infarct.fresh(rng)
    today = heart.drifted(rng, patient.heart)
    drift = rng.normal(0, 5)
    minutes = int(rng.integers(8 * 60, 18 * 60))
    return Visit(
        recorded_at=patient.first_visit + datetime.timedelta(days=days, minutes=minutes),
        age=patient.first_age + days / 365.25,
        site=site,
        rhythm=rhythm,
        premature=_draw_premature(rng, patient, rhythm),
        infarct=infarct,
        heart=today if infarct is None else infarcted(today, infarct),
        leads=_moved(patient.leads, 0.15 * rng.standard_normal(6))
        @ dipole.rotation(rng.normal(0, np.deg2rad(4), 3)),
        pr_s=_pr_s(
            patient.pr_s + rng.normal(0, 0.006),
            "1AVB" in patient.diseases and visit >= patient.onset_visit,
        ),
        # 50 to 100 a minute: no sinus bradycardia or tachycardia, which would need statements of their own.
        rate_bpm=float(np.clip(patient.sinus_bpm + drift, 51, 99))
        if rhythm == "sinus"
        else patient.arrhythmia_bpm + drift,
    )


def _draw_premature(rng, patient: Patient, rhythm: str) -> tuple[int, ...]:
    atrial = "PAC" in patient.diseases and rhythm == "sinus"
    ventricular = "PVC" in patient.diseases and rhythm != "flutter"
    possible = ((atrial, ATRIAL), (ventricular, VENTRICULAR))
    return tuple(kind for there, kind in possible if there and rng.random() < 0.75)


def _pr_s(pr_s: float, blocked: bool) -> float:
    """Keeps a sample of 100 Hz away from the border of 200 ms, so that the label can be read off."""
    return float(np.clip(pr_s, 0.215, 0.360) if blocked else np.clip(pr_s, 0.122, 0.190))


def _draw_leads(rng, *, female: bool) -> np.ndarray:
    """Dower's matrix for this chest: distance of each electrode, its place, position of the heart."""
    chest = dipole.CHEST_GAIN * rng.lognormal(0, 0.12, 6) * (0.92 if female else 1.0)
    leads = dipole.DOWER * np.concatenate([np.ones(2), chest])[:, None]
    return _moved(leads, 0.2 * rng.standard_normal(6)) @ dipole.rotation(
        np.deg2rad(rng.normal(0, [7, 9, 9]))
    )


def _moved(leads: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Moves chest electrodes along the row V1..V6, by `places` [6]; 1 is the distance to the next one."""
    chest = np.clip(np.arange(6) + places, 0, 5)
    moved = np.stack([np.interp(chest, np.arange(6), column) for column in leads[2:].T], axis=1)
    return np.concatenate([leads[:2], moved])
