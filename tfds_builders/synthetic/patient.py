"""Who is recorded: patients with a lasting heart, a lasting disease, and visits months apart.

What lasts (axis, amplitudes, intervals, the site of ectopic beats, the disease) is drawn once a patient; each visit adds
a small drift. A disease is not visible at each visit: fibrillation and flutter may be paroxysmal, premature beats come
and go, an infarct may happen between two visits.
"""

import dataclasses
import datetime
import functools

import numpy as np

from tfds_builders.synthetic import dipole
from tfds_builders.synthetic.dipole import Heart, Waves, pieces
from tfds_builders.synthetic.infarct import TERRITORIES, Infarct, infarcted
from tfds_builders.synthetic.rhythm import ATRIAL, VENTRICULAR
from tfds_builders.synthetic.variants import VARIANTS

PREVALENCE = {"fibrillation": 0.15, "flutter": 0.13, "PAC": 0.18, "PVC": 0.16, "1AVB": 0.13, "MI": 0.27}
"""Share of patients with each disease, far above a real cohort's: a demo needs positives."""


@dataclasses.dataclass(frozen=True)
class Patient:
    """What lasts. Durations in s, rates in beats a minute."""

    female: bool
    first_visit: datetime.datetime
    first_age: float
    diseases: frozenset[str]
    heart: Heart
    leads: np.ndarray
    """[8, 3] the dipole's view from I, II, V1..V6: body size, heart position, electrode habits."""
    pr_s: float
    sinus_bpm: float
    arrhythmia_bpm: float
    breathing: float
    burden: float
    """Share of the visits at which a paroxysmal disease is visible."""
    flutter_cycle_s: float
    flutter_mv: float
    fibrillation_mv: float
    coupling: dict[int, float]
    variant: str | None
    """A lasting finding that is none of the diseases: LVH, LAFB, CRBBB or NDT."""
    infarct: Infarct | None
    infarct_visit: int
    """Visit before which the infarct happened; 0 = before the first."""
    visits_days: tuple[int, ...]
    """Days from the first visit to each."""


@dataclasses.dataclass(frozen=True)
class Visit:
    """One recording before its beats are drawn."""

    recorded_at: datetime.datetime
    age: float
    rhythm: str
    """sinus, fibrillation or flutter"""
    premature: tuple[int, ...]
    infarct: Infarct | None
    heart: Heart
    leads: np.ndarray
    pr_s: float
    rate_bpm: float


@functools.lru_cache(maxsize=4)  # the visits of a patient come one after the other
def draw_patient(seed: int, index: int) -> Patient:
    """Patient `index` of the cohort `seed`: depends on nothing else."""
    rng = np.random.default_rng([seed, index])
    diseases = frozenset(name for name, share in PREVALENCE.items() if rng.random() < share)
    variant = str(rng.choice(list(VARIANTS))) if rng.random() < 0.3 else None
    female = bool(rng.random() < 0.48)
    age = float(np.clip(rng.normal(66, 12) if diseases or variant else rng.normal(52, 17), 18, 88))
    ageing = (age - 50) / 10  # decades
    return Patient(
        female=female,
        first_visit=datetime.datetime(2010, 1, 4, 8) + datetime.timedelta(minutes=int(rng.integers(8 * 365 * 1440))),
        first_age=age,
        diseases=diseases,
        heart=_heart(rng, variant, female=female, ageing=ageing),
        leads=_leads(rng, female=female),
        # Normal PR 120 to 200 ms, longer with age; first-degree block above 200 ms.
        pr_s=_pr_s(rng, ageing, blocked="1AVB" in diseases),
        sinus_bpm=float(np.clip(rng.normal(70, 10), 50, 98)),
        arrhythmia_bpm=float(np.clip(rng.normal(88, 20), 55, 140)),
        breathing=float(np.clip(0.045 - 0.008 * ageing, 0.008, 0.07) * rng.lognormal(0, 0.4)),
        burden=float(rng.choice([rng.uniform(0.3, 0.7), 1.0])),
        flutter_cycle_s=60 / rng.uniform(250, 340),
        flutter_mv=0.09 * rng.lognormal(0, 0.4),
        fibrillation_mv=0.07 * rng.lognormal(0, 0.45),
        coupling={ATRIAL: rng.uniform(0.55, 0.75), VENTRICULAR: rng.uniform(0.52, 0.7)},
        variant=variant,
        infarct=_infarct(rng) if "MI" in diseases else None,
        infarct_visit=int(rng.choice([0, 1], p=[0.8, 0.2])),
        visits_days=tuple(np.cumsum([0, *rng.integers(30, 540, rng.integers(1, 4))]).tolist()),
    )


def draw_visit(patient: Patient, visit: int, rng) -> Visit:
    """What is different at a visit: drift of rate and morphology, and whether the disease shows."""
    days = patient.visits_days[visit]
    rhythm = "sinus"
    for arrhythmia in ("flutter", "fibrillation"):
        if arrhythmia in patient.diseases and rng.random() < patient.burden:
            rhythm = arrhythmia
    infarct = None
    if patient.infarct is not None and visit >= patient.infarct_visit:
        infarct = patient.infarct
        if visit == patient.infarct_visit and rng.random() < 0.5:  # recorded in the first days
            infarct = dataclasses.replace(infarct, st_mv=rng.uniform(0.08, 0.25), t_mv=0.3 * infarct.t_mv)
    heart = _drifted(rng, patient.heart)
    slowing = rng.normal(0, 5)
    return Visit(
        recorded_at=patient.first_visit + datetime.timedelta(days=days, minutes=int(rng.integers(480))),
        age=patient.first_age + days / 365.25,
        rhythm=rhythm,
        premature=_premature(rng, patient, rhythm),
        infarct=infarct,
        heart=infarcted(heart, infarct) if infarct is not None else heart,
        leads=_shifted(patient.leads, 0.15 * rng.standard_normal(6)) @ _rotation(rng.normal(0, np.deg2rad(4), 3)),
        pr_s=_within_class(patient.pr_s + rng.normal(0, 0.006), blocked="1AVB" in patient.diseases),
        rate_bpm=(patient.sinus_bpm if rhythm == "sinus" else patient.arrhythmia_bpm) + slowing,
    )


def _premature(rng, patient: Patient, rhythm: str) -> tuple[int, ...]:
    kinds = []
    if "PAC" in patient.diseases and rhythm == "sinus" and rng.random() < 0.75:
        kinds.append(ATRIAL)
    if "PVC" in patient.diseases and rhythm != "flutter" and rng.random() < 0.75:
        kinds.append(VENTRICULAR)
    return tuple(kinds)


def _pr_s(rng, ageing: float, *, blocked: bool) -> float:
    pr_s = rng.normal(0.158 + 0.003 * ageing, 0.018)
    return _within_class(0.212 + rng.gamma(2.0, 0.022) if blocked else pr_s, blocked=blocked)


def _within_class(pr_s: float, *, blocked: bool) -> float:
    """PR of 215 ms and more with first-degree block (up to 360), 122 to 190 ms without."""
    return float(np.clip(pr_s, 0.215, 0.360) if blocked else np.clip(pr_s, 0.122, 0.190))


def _infarct(rng) -> Infarct:
    statement = str(rng.choice(list(TERRITORIES)))
    return Infarct(
        statement,
        q_mv=0.28 * rng.lognormal(0, 0.4),
        extent=rng.uniform(0.2, 0.9),
        st_mv=rng.uniform(0, 0.04),
        t_mv=float(rng.choice([0.0, rng.uniform(0.05, 0.25)])),
        t_loss=rng.uniform(0, 0.7),
    )


def _heart(rng, variant: str | None, *, female: bool, ageing: float) -> Heart:
    """Amplitudes, directions, and durations around the fitted normal beat."""
    ventricles_s = float(np.clip(rng.normal(0.090 if female else 0.096, 0.009), 0.074, 0.118))
    atria_s = float(np.clip(rng.normal(0.106 + 0.003 * ageing, 0.010), 0.080, 0.130))
    size = 1.25 * rng.lognormal(0, 0.22) * (0.9 if female else 1.0)
    ventricles = dipole.VENTRICLES.scaled(time=ventricles_s / dipole.VENTRICLES_S, dipole=size)
    # About left, down, back; in the frontal plane the axis turns left by 4 degrees a decade.
    axis = np.deg2rad(rng.normal([0, 0, -4 * ageing], [10, 12, 14]))
    atria = dipole.ATRIA.scaled(time=atria_s / dipole.ATRIA_S, dipole=rng.lognormal(0, 0.22))
    recovery = dipole.RECOVERY.scaled(dipole=rng.lognormal(-0.05 * ageing, 0.3))
    focus = _rotation(rng.uniform(-1, 1, 3) * np.deg2rad([110, 80, 110]))
    ectopic_ventricles, ectopic_recovery, ectopic_s = _ectopic(rng, size)
    heart = Heart(
        atria=_jittered(rng, atria, 0.2),
        ectopic_atria=_jittered(rng, atria.turned(focus), 0.2),
        atria_s=atria_s,
        ventricles=_jittered(rng, ventricles.turned(_rotation(axis)), 0.18),
        ventricles_s=ventricles_s,
        recovery=_jittered(rng, recovery.turned(_rotation(rng.normal(0, np.deg2rad(10), 3))), 0.2),
        ectopic_ventricles=ectopic_ventricles,
        ectopic_ventricles_s=ectopic_s,
        ectopic_recovery=ectopic_recovery,
        qtc_s=float(np.clip(rng.normal(0.412 if female else 0.400, 0.018), 0.360, 0.460)),
    )
    return heart if variant is None else VARIANTS[variant](heart, degree=rng.uniform(0.3, 1))


SITES = (
    (0.35, 0.85, 0.40),  # right ventricular outflow tract: inferior axis, negative V1
    (-0.10, 0.90, -0.45),  # left ventricular outflow tract: inferior axis, positive V1
    (0.10, -0.75, -0.65),  # posterior left ventricle: superior axis, positive V1
    (0.75, -0.55, 0.40),  # apex of the right ventricle: superior axis, negative V1
    (-0.70, 0.30, -0.65),  # lateral left ventricle: negative I, positive V1
)
"""Main direction (left, down, back) of ventricular beats by site of origin."""


def _ectopic(rng, size: float) -> tuple[Waves, Waves, float]:
    """A wide complex that spreads through muscle, 130 to 175 ms, and a T wave against it."""
    duration_s = rng.uniform(0.130, 0.175)
    main = _unit(np.array(SITES[rng.integers(len(SITES))]) + 0.2 * rng.standard_normal(3))
    begin, end = (_unit(main + 0.6 * rng.standard_normal(3)) for _ in range(2))
    peak_mv = rng.uniform(0.8, 1.5) * size
    qrs = pieces((38, 15, 0.45 * peak_mv * begin), (72, 19, peak_mv * main), (108, 17, 0.5 * peak_mv * end))
    t_mv = rng.uniform(0.3, 0.45) * peak_mv
    recovery = pieces((150, 45, -0.35 * t_mv * main), (235, 48, -0.8 * t_mv * main), (290, 36, -0.55 * t_mv * main))
    return qrs.scaled(time=duration_s / 0.150), recovery, duration_s


def _leads(rng, *, female: bool) -> np.ndarray:
    """Dower's matrix for this chest. """
    degrees = rng.normal(0, [7, 9, 9])  # about left, down, back
    chest = dipole.CHEST_GAIN * rng.lognormal(0, 0.12, 6) * (0.92 if female else 1.0)
    leads = dipole.DOWER * np.concatenate([np.ones(2), chest])[:, None]
    return _shifted(leads, 0.2 * rng.standard_normal(6)) @ _rotation(np.deg2rad(degrees))


def _shifted(leads: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Moves chest electrodes along the row V1..V6, by `places` (1 = the distance to the next one)."""
    chest = np.clip(np.arange(6) + places, 0, 5)
    moved = np.stack([np.interp(chest, np.arange(6), column) for column in leads[2:].T], axis=1)
    return np.concatenate([leads[:2], moved])


def _drifted(rng, heart: Heart) -> Heart:
    """Between visits: a few per cent of amplitude and duration."""
    grow, ripple = rng.lognormal(0, 0.06), rng.lognormal(0, 0.15)
    return dataclasses.replace(
        heart,
        atria=_jittered(rng, heart.atria, 0.1),
        ventricles=_jittered(rng, heart.ventricles.scaled(dipole=grow), 0.04),
        recovery=_jittered(rng, heart.recovery.scaled(dipole=ripple), 0.08),
        qtc_s=heart.qtc_s + rng.normal(0, 0.006),
    )


def _jittered(rng, waves: Waves, share: float) -> Waves:
    """Each piece stronger or weaker, and turned a little, by about `share` of its size."""
    strength = rng.lognormal(0, share, (len(waves.centre_s), 1))
    length = np.linalg.norm(waves.dipole_mv, axis=1, keepdims=True)
    return waves._replace(dipole_mv=waves.dipole_mv * strength + 0.5 * share * length * rng.standard_normal(length.shape[:1] + (3,)))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """[3, 3] rotation about left, then down, then back, by angles in radians."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    about_left = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_down = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_back = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_back @ about_down @ about_left
