"""Simulation of a stored recording, with its labels and wave marks, from a patient's visit."""

import dataclasses

import numpy as np

from tfds_builders.synthetic import atria, dipole, heart, noise, rhythm
from tfds_builders.synthetic.patient import SITES, Patient, Visit, draw_patient, draw_visit


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about a recording except its samples; the same at every sampling rate."""

    key: tuple[int, int, int]
    """Seed of the cohort, index of the patient, number of the visit."""
    patient: Patient
    visit: Visit
    beats: rhythm.Beats
    breath_hz: float

    @property
    def labels(self) -> tuple[str, ...]:
        """SCP-ECG statements of all findings visible in this recording, as PTB-XL writes them."""
        visible = self.beats.kind[self.beats.readable]
        premature = {rhythm.ATRIAL: "PAC", rhythm.VENTRICULAR: "PVC"}
        statements = [code for kind, code in premature.items() if kind in visible]
        if self.visit.infarct is not None:
            statements.append(self.visit.infarct.statement)
        if self.patient.variant is not None:
            statements.append(self.patient.variant)
        if self.visit.rhythm != "sinus":
            return ("AFIB" if self.visit.rhythm == "fibrillation" else "AFLT", *statements)
        if self.visit.pr_s > 0.200:
            statements.append("1AVB")
        return ("SR", *statements) if statements else ("NORM", "SR")


def plan_patient(seed: int, index: int) -> list[Plan]:
    """Draws the recordings of patient `index` in the cohort `seed`, one per visit."""
    patient = draw_patient(np.random.default_rng([seed, index]))
    plans = []
    for number in range(len(patient.visits_days)):
        # number + 1: NumPy pads seeds with zeros, so that [seed, index, 0] would repeat the
        # patient's own generator.
        rng = np.random.default_rng([seed, index, number + 1])
        visit = draw_visit(rng, patient, number)
        breath_hz = rng.uniform(0.18, 0.33)
        beats = _draw_beats(rng, patient, visit, breath_hz)
        plans.append(Plan((seed, index, number), patient, visit, beats, breath_hz))
    return plans


def _draw_beats(
    rng: np.random.Generator, patient: Patient, visit: Visit, breath_hz: float
) -> rhythm.Beats:
    if visit.rhythm == "fibrillation":
        beats = rhythm.fibrillation(rng, rate_bpm=visit.rate_bpm)
    elif visit.rhythm == "flutter":
        conduction = ((2,), (3,), (4,), (4,), (2, 3, 4), (3, 4))[rng.integers(6)]
        beats = rhythm.flutter(rng, cycle_s=patient.flutter_cycle_s, conduction=conduction)
    else:
        beats = rhythm.sinus(
            rng,
            rate_bpm=visit.rate_bpm,
            breathing=patient.breathing,
            breath_hz=breath_hz,
            pr_s=visit.pr_s,
        )
    for kind in visit.premature:
        every = int(rng.integers(2, 4)) if rng.random() < 0.12 else None
        beats = rhythm.premature(
            rng, beats, kind=kind, coupling=patient.coupling[kind], every=every
        )
    return beats


def simulate(plan: Plan, *, rate_hz: int) -> dict[str, np.ndarray]:
    """Simulates the stored recording of a plan.

    Args:
      plan: the recording.
      rate_hz: sampling rate, in Hz.

    Returns:
      A dict with "signal", int16 [time, 12] at 1 uV per LSB, and "waves", uint8 [time] with
      0 none, 1 P, 2 QRS, 3 T.
    """
    seed, patient, visit = plan.key
    rng = np.random.default_rng([seed, patient, visit + 1, rate_hz])
    time_s = np.arange(round(rhythm.SECONDS * rate_hz)) / rate_hz
    waves, spans = heart.beating(plan.visit.heart, plan.beats)
    heart_mv = dipole.evaluate(waves, samples=time_s.size, rate_hz=rate_hz)
    heart_mv = heart_mv + _atrial_arrhythmia(rng, plan, time_s)
    leads_mv = _breathing(rng, heart_mv, time_s, plan.breath_hz) @ plan.visit.leads.T
    _, noisiness = SITES[plan.visit.site]
    leads_mv += noise.lead_noise(
        rng, time_s, rate_hz=rate_hz, breath_hz=plan.breath_hz, noisiness=noisiness
    )
    marks = dipole.marked(spans, samples=time_s.size, rate_hz=rate_hz)
    return {"signal": dipole.twelve_leads(leads_mv), "waves": marks}


def _atrial_arrhythmia(
    rng: np.random.Generator, plan: Plan, time_s: np.ndarray
) -> np.ndarray | float:
    """Returns f-waves or flutter waves as a dipole [time, 3] in mV; 0 in sinus rhythm."""
    if plan.visit.rhythm == "fibrillation":
        return atria.fibrillatory(rng, time_s, size_mv=plan.patient.fibrillation_mv)
    if plan.visit.rhythm == "flutter":
        cycle_s = plan.patient.flutter_cycle_s
        # A conducted wave reaches the ventricles about half a cycle after its steep part.
        begin_s = plan.beats.onset_s[0] - 0.6 * cycle_s
        return atria.fluttering(
            time_s, cycle_s=cycle_s, begin_s=begin_s, size_mv=plan.patient.flutter_mv
        )
    return 0.0


def _breathing(
    rng: np.random.Generator, heart_mv: np.ndarray, time_s: np.ndarray, breath_hz: float
) -> np.ndarray:
    """Turns the dipole and changes its size with each breath, by about 3 degrees and 4 per cent."""
    breath = np.sin(2 * np.pi * breath_hz * time_s + rng.uniform(0, 2 * np.pi))[:, None]
    x, y, z = np.deg2rad(3) * rng.standard_normal(3)
    turn = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])  # a small rotation: the cross product
    return heart_mv + breath * (heart_mv @ (turn.T + 0.04 * rng.standard_normal() * np.eye(3)))
