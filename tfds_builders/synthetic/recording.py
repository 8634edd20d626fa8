"""From a patient's visit to the stored recording, its labels, and the marks of its waves."""

import dataclasses

import numpy as np

from tfds_builders.synthetic import dipole, rhythm
from tfds_builders.synthetic.noise import ELECTRODES_TO_LEADS, electrode_noise
from tfds_builders.synthetic.patient import Patient, Visit, draw_patient, draw_visit


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about a recording except its samples."""

    patient: Patient
    visit: Visit
    beats: rhythm.Beats
    breath_hz: float

    @property
    def labels(self) -> tuple[str, ...]:
        """SCP-ECG statements, as PTB-XL writes them, of what can be read in this recording."""
        visible = self.beats.kind[self.beats.inside()]
        found = [code for kind, code in ((rhythm.ATRIAL, "PAC"), (rhythm.VENTRICULAR, "PVC")) if kind in visible]
        if self.visit.infarct is not None:
            found.append(self.visit.infarct.statement)
        if self.patient.variant is not None:
            found.append(self.patient.variant)
        if self.visit.rhythm != "sinus":
            return ("AFIB" if self.visit.rhythm == "fibrillation" else "AFLT", *found)
        if self.visit.pr_s > 0.200:
            found.append("1AVB")
        return ("SR", *found) if found else ("NORM", "SR")


def plan(seed: int, patient: int, visit: int) -> tuple[Plan, np.random.Generator]:
    """The plan of a recording, and the generator from which its noise is drawn."""
    who = draw_patient(seed, patient)
    # visit + 1: NumPy pads seeds with zeros, so [seed, patient, 0] would be the patient's own generator.
    rng = np.random.default_rng([seed, patient, visit + 1])
    today = draw_visit(who, visit, rng)
    breath_hz = rng.uniform(0.18, 0.33)
    return Plan(who, today, _beats(rng, who, today, breath_hz), breath_hz), rng


def _beats(rng, patient: Patient, visit: Visit, breath_hz: float) -> rhythm.Beats:
    if visit.rhythm == "fibrillation":
        beats = rhythm.fibrillation(rng, rate_bpm=visit.rate_bpm)
    elif visit.rhythm == "flutter":
        conduction = ((2,), (3,), (4,), (4,), (2, 3, 4), (3, 4))[rng.integers(6)]
        beats = rhythm.flutter(rng, cycle_s=patient.flutter_cycle_s, conduction=conduction)
    else:
        beats = rhythm.sinus(
            rng, rate_bpm=visit.rate_bpm, breathing=patient.breathing, breath_hz=breath_hz, pr_s=visit.pr_s
        )
    for kind in visit.premature:
        every = int(rng.choice([2, 3])) if rng.random() < 0.12 else None
        beats = rhythm.premature(rng, beats, kind=kind, coupling=patient.coupling[kind], every=every)
    return beats


def simulate(seed: int, patient: int, visit: int, *, rate_hz: int) -> dict[str, np.ndarray]:
    """The stored recording.

    Returns:
      signal: int16 [time, 12] at 1 uV per LSB.
      waves: uint8 [time]; 0 none, 1 P, 2 QRS, 3 T.
    """
    made, rng = plan(seed, patient, visit)
    time_s = np.arange(round(rhythm.SECONDS * rate_hz)) / rate_hz
    waves, spans = dipole.waves_of(made.beats, made.visit.heart)
    heart_mv = dipole.evaluate(waves, samples=time_s.size, rate_hz=rate_hz) + _atria(rng, made, time_s)
    leads_mv = _breathing(rng, heart_mv, time_s, made.breath_hz) @ made.visit.leads.T
    noise_mv = electrode_noise(
        rng, samples=time_s.size, rate_hz=rate_hz, breath_hz=made.breath_hz
    )
    signal = twelve_leads(leads_mv + noise_mv @ ELECTRODES_TO_LEADS.T)
    return {"signal": signal, "waves": dipole.marked(spans, time_s)}


def _atria(rng, made: Plan, time_s: np.ndarray) -> np.ndarray | float:
    if made.visit.rhythm == "fibrillation":
        return dipole.fibrillatory(rng, time_s, amplitude_mv=made.patient.fibrillation_mv)
    if made.visit.rhythm == "flutter":
        cycle_s = made.patient.flutter_cycle_s
        # The AV node conducts a wave about 0.6 cycles after its steep part.
        phase_s = made.beats.onset_s[0] - 0.6 * cycle_s
        return dipole.fluttering(time_s, cycle_s=cycle_s, phase_s=phase_s, amplitude_mv=made.patient.flutter_mv)
    return 0.0


def _breathing(rng, heart_mv: np.ndarray, time_s: np.ndarray, breath_hz: float) -> np.ndarray:
    """The heart turns and moves away as the chest rises: some degrees, some per cent."""
    breath = np.sin(2 * np.pi * breath_hz * time_s + rng.uniform(0, 2 * np.pi))[:, None]
    axis = np.deg2rad(3) * rng.standard_normal(3)
    return heart_mv * (1 + 0.04 * rng.standard_normal() * breath) + breath * np.cross(axis, heart_mv)


def twelve_leads(independent_mv: np.ndarray) -> np.ndarray:
    """int16 [time, 12] in uV from I, II, V1..V6; the other four are derived from the stored integers.

    III = II - I exactly; aVR, aVL, aVF are Goldberger's, rounded to 1 uV.
    """
    independent = np.rint(independent_mv * 1e3).clip(-16000, 16000).astype(np.int32)
    one, two = independent[:, 0], independent[:, 1]
    augmented = [-(one + two) // 2, (2 * one - two) // 2, (2 * two - one) // 2]
    return np.column_stack([one, two, two - one, *augmented, independent[:, 2:]]).astype(np.int16)
