"""Simulated patients with a constant heart and constant diseases, and visits months apart.

Constant properties (axis, amplitudes, intervals, the origin of ectopic beats, the disease) are
drawn once per patient, and each visit adds a small drift. A disease is not visible at each visit:
fibrillation and flutter may be paroxysmal, premature beats come and go, an infarct or a block may
develop between two visits.
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
"""Share of patients with each disease, far above the real one: a demonstration needs positives."""
VARIANT_SHARE = 0.25
"""Share of patients with one of VARIANTS."""

FIRST_DAY = datetime.datetime(2010, 1, 4)
SITES = {"outpatient": ("cart", 1.0), "ward": ("cart", 1.2), "emergency": ("portable", 1.6)}
"""Device and noise factor by site."""


@dataclasses.dataclass(frozen=True)
class Patient:
    """Constant properties. Durations in s, rates in beats per minute, sizes in mV."""

    female: bool
    first_visit: datetime.datetime
    visits_days: tuple[int, ...]
    """Days from the first visit to each visit."""
    first_age: float
    diseases: tuple[str, ...]
    variant: str | None
    """Key of VARIANTS (LVH, LAFB, CRBBB or NDT), a finding besides the diseases."""
    burden: float
    """Share of the visits with visible fibrillation or flutter; 1 = permanent."""
    onset_visit: int
    """First visit with the infarct or the block."""
    infarct: Infarct | None
    heart: Heart
    leads: np.ndarray
    """Matrix [8, 3] from the dipole to I, II, V1..V6. It depends on the body, the position of the
    heart and the places of the electrodes."""
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
    """sinus, fibrillation or flutter."""
    premature: tuple[int, ...]
    """Kinds of premature beats."""
    infarct: Infarct | None
    heart: Heart
    leads: np.ndarray
    pr_s: float
    rate_bpm: float


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draws a patient."""
    diseases = tuple(name for name, share in PREVALENCE.items() if rng.random() < share)
    variant = str(rng.choice(list(VARIANTS))) if rng.random() < VARIANT_SHARE else None
    female = bool(rng.random() < 0.48)
    age = float(np.clip(rng.normal(66, 12) if diseases or variant else rng.normal(52, 17), 18, 88))
    ageing = (age - 50) / 10
    normal = heart.draw_heart(rng, female=female, ageing=ageing)
    return Patient(
        female=female,
        first_visit=FIRST_DAY + datetime.timedelta(days=int(rng.integers(8 * 365))),
        visits_days=tuple(np.cumsum([0, *rng.integers(30, 540, rng.integers(1, 4))]).tolist()),
        first_age=age,
        diseases=diseases,
        variant=variant,
        burden=float(rng.choice([rng.uniform(0.3, 0.7), 1.0])),
        onset_visit=int(rng.random() < 0.2),
        infarct=draw_infarct(rng) if "MI" in diseases else None,
        heart=normal if variant is None else VARIANTS[variant](normal, rng.uniform(0.3, 1)),
        leads=_draw_leads(rng, female=female),
        pr_s=_draw_pr_s(rng, blocked="1AVB" in diseases, ageing=ageing),
        sinus_bpm=rng.normal(70, 10),
        arrhythmia_bpm=float(np.clip(rng.normal(92, 20), 55, 140)),
        # 5 % in the young, 1 % in the old: Task Force 1996 (doi:10.1161/01.CIR.93.5.1043).
        breathing=float(np.clip(0.045 - 0.008 * ageing, 0.008, 0.07) * rng.lognormal(0, 0.4)),
        flutter_cycle_s=60 / rng.uniform(250, 340),
        flutter_mv=0.14 * rng.lognormal(0, 0.4),
        fibrillation_mv=0.09 * rng.lognormal(0, 0.45),
        coupling={ATRIAL: rng.uniform(0.55, 0.75), VENTRICULAR: rng.uniform(0.52, 0.7)},
    )


def _draw_pr_s(rng: np.random.Generator, *, blocked: bool, ageing: float) -> float:
    """Draws a PR interval: 120 to 200 ms, longer with age; over 215 ms with first-degree block."""
    return 0.212 + rng.gamma(2.0, 0.026) if blocked else rng.normal(0.158 + 0.003 * ageing, 0.018)


def draw_visit(rng: np.random.Generator, patient: Patient, visit: int) -> Visit:
    """Draws a visit: the drift of rate and morphology, and the diseases that are visible.

    Args:
      rng: random generator.
      patient: the patient.
      visit: number of the visit, from 0.
    """
    days = patient.visits_days[visit]
    site = str(rng.choice(list(SITES)))
    rhythm = "sinus"
    for arrhythmia in ("flutter", "fibrillation"):
        if arrhythmia in patient.diseases and rng.random() < patient.burden:
            rhythm = arrhythmia
    infarct = patient.infarct if visit >= patient.onset_visit else None
    if infarct is not None and visit == patient.onset_visit and rng.random() < 0.5:
        site = "emergency"
        infarct = infarct.fresh(rng)
    present_heart = heart.drifted(rng, patient.heart)
    drift = rng.normal(0, 5)
    minutes = int(rng.integers(8 * 60, 18 * 60))
    return Visit(
        recorded_at=patient.first_visit + datetime.timedelta(days=days, minutes=minutes),
        age=patient.first_age + days / 365.25,
        site=site,
        rhythm=rhythm,
        premature=_draw_premature(rng, patient, rhythm),
        infarct=infarct,
        heart=present_heart if infarct is None else infarcted(present_heart, infarct),
        leads=_moved(patient.leads, 0.15 * rng.standard_normal(6))
        @ dipole.rotation(rng.normal(0, np.deg2rad(4), 3)),
        pr_s=_clip_pr_s(
            patient.pr_s + rng.normal(0, 0.006),
            blocked="1AVB" in patient.diseases and visit >= patient.onset_visit,
        ),
        # 50 to 100 per minute: sinus bradycardia and tachycardia would need statements of their
        # own.
        rate_bpm=float(np.clip(patient.sinus_bpm + drift, 51, 99))
        if rhythm == "sinus"
        else patient.arrhythmia_bpm + drift,
    )


def _draw_premature(rng: np.random.Generator, patient: Patient, rhythm: str) -> tuple[int, ...]:
    """Draws the kinds of premature beats at a visit."""
    possible = []
    if "PAC" in patient.diseases and rhythm == "sinus":
        possible.append(ATRIAL)
    if "PVC" in patient.diseases and rhythm != "flutter":
        possible.append(VENTRICULAR)
    return tuple(kind for kind in possible if rng.random() < 0.75)


def _clip_pr_s(pr_s: float, *, blocked: bool) -> float:
    """Keeps PR one sample of 100 Hz away from the limit of 200 ms, so that the label is visible."""
    return float(np.clip(pr_s, 0.215, 0.360) if blocked else np.clip(pr_s, 0.122, 0.190))


def _draw_leads(rng: np.random.Generator, *, female: bool) -> np.ndarray:
    """Draws Dower's matrix of one chest: distances, electrode places, position of the heart."""
    chest = dipole.CHEST_GAIN * rng.lognormal(0, 0.12, 6) * (0.92 if female else 1.0)
    leads = dipole.DOWER * np.concatenate([np.ones(2), chest])[:, None]
    return _moved(leads, 0.2 * rng.standard_normal(6)) @ dipole.rotation(
        np.deg2rad(rng.normal(0, [7, 9, 9]))
    )


def _moved(leads: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Moves chest electrodes along V1..V6 by `steps` [6], in distances between electrodes."""
    chest = np.clip(np.arange(6) + steps, 0, 5)
    moved = np.stack([np.interp(chest, np.arange(6), column) for column in leads[2:].T], axis=1)
    return np.concatenate([leads[:2], moved])
