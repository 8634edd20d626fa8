"""The synthetic cohort: can a cardiologist see the labels of a recording in its signal?

Limits are clinical criteria, or values of PTB-XL if the test says so.
"""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.prepare import prepare
from tfds_builders.synthetic.dipole import P_WAVE, QRS_COMPLEX, T_WAVE, evaluate
from tfds_builders.synthetic.heart import beating
from tfds_builders.synthetic.infarct import Infarct, infarcted
from tfds_builders.synthetic.recording import plan_patient, simulate
from tfds_builders.synthetic.rhythm import ATRIAL, VENTRICULAR
from tfds_builders.synthetic.synthetic_dataset_builder import SPLITS_BY_REMAINDER, CohortConfig

RATE_HZ = 100
FINDINGS = {"AFIB", "AFLT", "PAC", "PVC", "1AVB", "IMI", "AMI", "LMI"}


class Example:
    """A plan, its recording in mV, and the wave marks."""

    def __init__(self, plan, rate_hz=RATE_HZ):
        made = simulate(plan, rate_hz=rate_hz)
        self.plan = plan
        self.labels = set(plan.labels)
        self.rate_hz = rate_hz
        self.signal_uv = made["signal"]
        self.waves = made["waves"]
        self.signal = self.signal_uv / 1e3

    def begins(self, mark):
        """Returns the first sample of each wave of a kind, without a wave cut by the recording."""
        is_mark = self.waves == mark
        return np.flatnonzero(is_mark[1:] & ~is_mark[:-1]) + 1

    def beats(self, before_s=0.05, after_s=0.45):
        """Returns [beat, time, lead] around each QRS complex, relative to the level before it."""
        before = round(before_s * self.rate_hz)
        after = round(after_s * self.rate_hz)
        begins = [b for b in self.begins(QRS_COMPLEX) if before <= b < len(self.signal) - after]
        cut = np.stack([self.signal[b - before : b + after] for b in begins])
        return cut - cut[:, before - 3 : before].mean(1, keepdims=True)

    def lead(self, name):
        return self.signal[:, LEADS.index(name)]


@pytest.fixture(scope="module")
def cohort():
    return [Example(plan) for index in range(150) for plan in plan_patient(0, index)]


def with_label(cohort, label):
    examples = [example for example in cohort if label in example.labels]
    assert len(examples) >= 10, f"too few {label} to test"
    return examples


def test_limb_leads_obey_einthoven_and_goldberger(cohort):
    for example in cohort:
        one, two, three, avr, avl, avf = example.signal_uv[:, :6].astype(int).T
        np.testing.assert_array_equal(three, two - one)
        for augmented, twice in ((avr, -(one + two)), (avl, 2 * one - two), (avf, 2 * two - one)):
            assert np.abs(2 * augmented - twice).max() <= 1


def test_amplitudes_are_those_of_ptb_xl(cohort):
    # Median standard deviation of 300 NORM recordings of PTB-XL, in mV.
    real = dict(
        I=0.122, II=0.135, aVR=0.124, V1=0.139, V2=0.231, V3=0.223, V4=0.227, V5=0.215, V6=0.173
    )
    normal = np.median([example.signal.std(0) for example in with_label(cohort, "NORM")], axis=0)
    for lead, expected in real.items():
        assert 0.7 < normal[LEADS.index(lead)] / expected < 1.4, lead
    largest = np.sort([np.abs(example.signal).max() for example in cohort])
    assert 0.5 < largest[0] and largest[-1] < 12 and np.median(largest) < 3.5


def test_quiet_stretches_are_as_quiet_as_in_ptb_xl(cohort):
    rough_uv = []
    for example in cohort:
        windows = 1e3 * np.diff(example.lead("II"), 2)[:990].reshape(-1, 10).std(1)
        rough_uv.append(np.quantile(windows, 0.1))
    # The same from 300 NORM recordings of PTB-XL.
    ratio = np.quantile(rough_uv, [0.1, 0.5, 0.9]) / [2.5, 5.4, 18.1]
    assert ((0.5 < ratio) & (ratio < 2)).all()


def test_rr_is_irregular_and_p_absent_in_fibrillation(cohort):
    def variation(example):
        rr = np.diff(example.begins(QRS_COMPLEX))
        return rr.std() / rr.mean()

    fibrillating = [
        example for example in with_label(cohort, "AFIB") if "PVC" not in example.labels
    ]
    regular = [
        example
        for example in cohort
        if "SR" in example.labels and not example.labels & {"PAC", "PVC"}
    ]
    assert np.median([variation(example) for example in fibrillating]) > 0.15
    assert np.quantile([variation(example) for example in regular], 0.95) < 0.08
    assert not any(P_WAVE in example.waves for example in with_label(cohort, "AFIB"))
    assert not any(P_WAVE in example.waves for example in with_label(cohort, "AFLT"))


def test_fibrillatory_waves_fill_the_pause_in_v1(cohort):
    def restlessness(example):
        quiet = np.convolve(example.waves == 0, np.ones(9), "same") == 9  # 40 ms from any wave
        level = (
            example.lead("V1")[quiet]
            - np.convolve(example.lead("V1"), np.ones(25) / 25, "same")[quiet]
        )
        return level.std() if quiet.sum() > 30 else np.nan

    fibrillating = [restlessness(example) for example in with_label(cohort, "AFIB")]
    sinus = [restlessness(example) for example in with_label(cohort, "NORM")]
    assert np.nanmedian(fibrillating) > 1.8 * np.nanmedian(sinus)


def test_the_pr_interval_is_long_exactly_in_first_degree_block(cohort):
    for example in cohort:
        if "SR" not in example.labels:
            continue
        qrs = example.begins(QRS_COMPLEX)
        p = example.begins(P_WAVE)
        p = p[p < qrs[-1]]
        pr_s = np.median(qrs[np.searchsorted(qrs, p, side="right")] - p) / RATE_HZ
        assert 0.11 <= pr_s <= 0.40
        assert (pr_s > 0.200) == ("1AVB" in example.labels), example.plan.key
    with_label(cohort, "1AVB")


@pytest.mark.parametrize(
    ("statement", "leads", "reciprocal"),
    [("IMI", "II III aVF", "aVL"), ("AMI", "V1 V2 V3 V4", "III"), ("LMI", "I aVL V5 V6", "V1")],
)
def test_an_infarct_is_visible_in_the_leads_of_its_wall(cohort, statement, leads, reciprocal):
    columns = [LEADS.index(lead) for lead in leads.split()]
    fresh = Infarct(statement, q_mv=0.3, early_loss=0.6, t_loss=0.5, t_mv=0.1, st_mv=0.2)
    change_mv = []
    for example in with_label(cohort, "NORM")[:30]:
        visit = example.plan.visit
        visit = dataclasses.replace(visit, heart=infarcted(visit.heart, fresh))
        sick = Example(dataclasses.replace(example.plan, visit=visit))
        change_mv.append(np.median(sick.beats(), axis=0) - np.median(example.beats(), axis=0))
    q_mv = np.mean(change_mv, axis=0)[6:10].min(0)  # 10 to 50 ms from the begin of QRS
    st_mv = np.mean(change_mv, axis=0)[17:20].mean(0)  # 120 to 150 ms from it
    assert (q_mv[columns] < -0.2).all()
    assert (st_mv[columns] > 0.08).all(), "1 mm of ST elevation is 0.1 mV"
    assert st_mv[LEADS.index(reciprocal)] < -0.02


@pytest.mark.parametrize(("statement", "lead"), [("IMI", "aVF"), ("AMI", "V3"), ("LMI", "V6")])
def test_labelled_infarcts_have_deeper_q_waves_than_normals(cohort, statement, lead):
    def q_mv(example):
        return np.median(example.beats(), axis=0)[5:10, LEADS.index(lead)].min()

    sick = [
        q_mv(e)
        for e in with_label(cohort, statement)
        if not e.labels & {"AFIB", "AFLT", "CRBBB", "LVH"}
    ]
    normal = [q_mv(e) for e in with_label(cohort, "NORM")]
    assert np.mean(sick) < np.mean(normal) - 0.08
    # The overlap is realistic: some infarcts have smaller Q waves than some normal hearts.
    assert np.max(sick) > np.min(normal)


def test_premature_beats_come_early_and_a_pause_follows(cohort):
    compensation = {ATRIAL: [], VENTRICULAR: []}
    for example in with_label(cohort, "PAC") + with_label(cohort, "PVC"):
        beats = example.plan.beats
        if example.plan.visit.rhythm != "sinus":
            continue
        cycle_s = np.median(np.diff(beats.onset_s)[beats.kind[1:] == 0])
        for beat in np.flatnonzero((beats.kind != 0) & beats.readable):
            if (
                beats.kind[beat - 1 : beat + 2].sum() != beats.kind[beat]
                or beats.kind[beat - 2] != 0
            ):
                continue
            before_s, after_s = np.diff(beats.onset_s)[beat - 1 : beat + 1]
            assert before_s < 0.85 * cycle_s and after_s > 0.95 * cycle_s, example.plan.key
            compensation[int(beats.kind[beat])].append((before_s + after_s) / cycle_s)
    assert abs(np.median(compensation[VENTRICULAR]) - 2) < 0.05
    assert 1.6 < np.median(compensation[ATRIAL]) < 1.9


def test_ventricular_beats_are_wide_discordant_and_without_p(cohort):
    opposed = []
    for example in with_label(cohort, "PVC"):
        ends = (
            np.flatnonzero((example.waves[:-1] == QRS_COMPLEX) & (example.waves[1:] != QRS_COMPLEX))
            + 1
        )
        beats = example.plan.beats
        for onset_s in beats.onset_s[(beats.kind == VENTRICULAR) & beats.readable]:
            begin = int(np.ceil(onset_s * RATE_HZ))
            end = ends[np.searchsorted(ends, begin, side="right")]
            assert 0.12 <= (end - begin) / RATE_HZ <= 0.19
            assert P_WAVE not in example.waves[begin - 10 : begin]
            after = example.signal[begin - 2 : begin + 40] - example.signal[begin - 2]
            lead = np.abs(after[:18]).max(0).argmax()
            main = after[:18, lead][np.abs(after[:18, lead]).argmax()]
            opposed.append(
                np.sign(after[24:34, lead].mean()) == -np.sign(main) if len(after) == 42 else True
            )
    assert np.mean(opposed) > 0.9


def test_flutter_peaks_between_4_and_6_hz_in_ii(cohort):
    peaks_hz = []
    for example in with_label(cohort, "AFLT"):
        # QRS complexes are replaced by linear interpolation.
        in_qrs = np.convolve(example.waves == QRS_COMPLEX, np.ones(5), "same") > 0
        time = np.arange(len(in_qrs))
        bridged = np.interp(time, time[~in_qrs], example.lead("II")[~in_qrs])
        power = np.abs(np.fft.rfft((bridged - bridged.mean()) * np.hanning(1000), 4000)) ** 2
        hz = np.fft.rfftfreq(4000, 1 / RATE_HZ)
        band = (hz > 3.5) & (hz < 8)
        peaks_hz.append((hz[band][power[band].argmax()], 1 / example.plan.patient.flutter_cycle_s))
    measured, true = np.array(peaks_hz).T
    assert ((true > 4) & (true < 6)).all(), "250 to 340 waves per minute"
    assert np.mean(np.abs(measured - true) < 0.15) > 0.85


def test_flutter_conducts_every_second_to_fourth_wave(cohort):
    for example in with_label(cohort, "AFLT"):
        ratio = np.diff(example.plan.beats.onset_s) / example.plan.patient.flutter_cycle_s
        np.testing.assert_allclose(ratio, np.rint(ratio), atol=1e-6)
        assert set(np.rint(ratio).astype(int)) <= {2, 3, 4}


@pytest.mark.parametrize(
    ("mark", "part", "share"),
    [(P_WAVE, "atria", 0.95), (QRS_COMPLEX, "ventricles", 0.97), (T_WAVE, "recovery", 0.9)],
)
def test_each_wave_lies_inside_its_marks(cohort, mark, part, share):
    parts = {"atria", "ventricles", "recovery"} - {part}
    for example in with_label(cohort, "NORM"):
        whole = example.plan.visit.heart
        alone = dataclasses.replace(
            whole, **{other: getattr(whole, other).scaled(size=0) for other in parts}
        )
        waves, _ = beating(alone, example.plan.beats)
        energy = np.square(evaluate(waves, samples=len(example.waves), rate_hz=RATE_HZ)).sum(1)
        assert energy[example.waves == mark].sum() > share * energy.sum(), example.plan.key
        # The marks are not longer than the wave.
        assert np.median(energy[example.waves == mark]) > 0.005 * energy.max()


def test_most_qrs_energy_is_inside_qrs_marks(cohort):
    for example in with_label(cohort, "NORM"):
        steep = np.square(np.gradient(example.signal[:, 6:], axis=0))
        # Without the steepest lead, whose electrode may have poor contact.
        steep = np.sort(steep, axis=1)[:, :5].sum(1)
        inside = np.convolve(example.waves == QRS_COMPLEX, np.ones(3), "same") > 0
        assert steep[inside].sum() > 0.6 * steep.sum(), example.plan.key


def test_visits_of_a_patient_are_more_alike_than_patients(cohort):
    beats = []
    patients = []
    for example in cohort:
        if "SR" in example.labels and "PVC" not in example.labels:
            columns = [
                LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
            ]
            beats.append(np.median(example.beats(after_s=0.40), axis=0)[:, columns].ravel())
            patients.append(example.plan.key[1])
    likeness = np.corrcoef(beats)
    same = np.equal.outer(patients, patients)
    np.fill_diagonal(likeness, -1)
    twice = same.sum(1) > 1
    nearest = same[np.arange(len(same)), likeness.argmax(1)]
    assert nearest[twice].mean() > 0.6, "a recording's nearest neighbour is of the same patient"
    assert np.median(likeness[same & (likeness > -1)]) > np.quantile(likeness[~same], 0.95)
    assert np.median(likeness[same & (likeness > -1)]) < 0.999, "visits are not copies"


def test_a_disease_is_constant_but_not_always_visible(cohort):
    labels = {}
    for example in cohort:
        labels.setdefault(example.plan.key[1], []).append(example.labels & FINDINGS)
    shown = {name: Counter() for name in FINDINGS}
    for visits in labels.values():
        for name in set().union(*visits):
            shown[name]["always" if all(name in visit for visit in visits) else "sometimes"] += 1
    for name in ("AFIB", "AFLT", "PVC", "PAC"):
        assert shown[name]["always"] and shown[name]["sometimes"], name


def test_labels_are_consistent(cohort):
    for example in cohort:
        rhythms = example.labels & {"SR", "AFIB", "AFLT"}
        assert len(rhythms) == 1
        assert ("NORM" in example.labels) == (example.labels - {"NORM"} == {"SR"})
        # A QRS complex of 120 ms or more is ventricular or of a bundle branch block.
        ends = np.flatnonzero(np.diff(np.r_[0, (example.waves == QRS_COMPLEX).astype(int), 0]))
        widths = np.diff(ends)[::2][1:-1]  # the recording may cut the first and the last
        assert (widths.max() > 12) == bool(example.labels & {"PVC", "CRBBB"}), example.plan.key


def test_recordings_depend_on_seed_and_patient_only():
    again = [simulate(plan, rate_hz=RATE_HZ) for plan in plan_patient(7, 3)]
    for first, second in zip(
        again, [simulate(plan, rate_hz=RATE_HZ) for plan in plan_patient(7, 3)], strict=True
    ):
        np.testing.assert_array_equal(first["signal"], second["signal"])
        np.testing.assert_array_equal(first["waves"], second["waves"])
    signals = [made["signal"].tobytes() for made in again]
    signals += [simulate(plan, rate_hz=RATE_HZ)["signal"].tobytes() for plan in plan_patient(8, 3)]
    signals += [simulate(plan, rate_hz=RATE_HZ)["signal"].tobytes() for plan in plan_patient(7, 4)]
    assert len(set(signals)) == len(signals)


def test_both_rates_show_the_same_heart():
    plans = [plan for index in range(12) for plan in plan_patient(0, index)]
    for plan in plans:
        slow = Example(plan)
        fast = Example(plan, rate_hz=500)
        assert fast.signal.shape == (5000, 12)
        assert (fast.waves[::5] == slow.waves).all()
        column = LEADS.index("V5")
        slow_v5 = np.median(slow.beats(), axis=0)[:, column]
        fast_v5 = np.median(fast.beats(), axis=0)[::5, column]
        assert np.corrcoef(slow_v5, fast_v5)[0, 1] > 0.8, plan.key


def test_the_default_cohort_has_enough_of_every_finding():
    counts = {"train": Counter(), "validation": Counter(), "test": Counter()}
    for index in range(CohortConfig(name="default", rate_hz=100, samples=1000).patients):
        split = SPLITS_BY_REMAINDER[index % len(SPLITS_BY_REMAINDER)]
        for plan in plan_patient(0, index):
            counts[split].update(["all", *plan.labels])
    assert 1800 < counts["train"]["all"] < 2200
    assert 200 < counts["validation"]["all"] < counts["test"]["all"] < 800
    assert min(counts["test"][name] for name in FINDINGS) >= 40, counts["test"]


def test_the_builder_stores_the_cohort(prepared):
    assert prepared.parent.name == "100hz-patients36"
    table = pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    plans = {
        "{}-{:05d}-{}".format(*plan.key): plan
        for index in range(36)
        for plan in plan_patient(0, index)
    }
    assert {row["record_id"] for row in table} == set(plans)
    for row in table:
        plan = plans[row["record_id"]]
        assert tuple(row["labels"]) == plan.labels
        assert row["split"] == SPLITS_BY_REMAINDER[plan.key[1] % 18]
        assert (
            18 <= row["age"] <= 93
            and row["sex"] in ("female", "male")
            and row["site"]
            and row["device"]
        )
    visits = {}
    for row in table:
        visits.setdefault(row["patient_id"], []).append((row["recorded_at"], row["age"]))
    assert len(visits) == 36
    for times in visits.values():
        assert 2 <= len(times) <= 4 and times == sorted(times)
        assert (times[1][0] - times[0][0]).days >= 29 and times[1][1] > times[0][1]
    builder: Any = tfds.builder_from_directory(prepared)
    example = builder.as_data_source("test")[5]
    made = simulate(plans[example["record_id"].decode()], rate_hz=100)
    np.testing.assert_array_equal(example["signal"], made["signal"])
    np.testing.assert_array_equal(example["waves"], made["waves"])


@pytest.mark.parametrize(("option", "value"), [("patients", 17), ("seed", -1)])
def test_impossible_cohorts_are_refused(tmp_path, option, value):
    with pytest.raises(InputError, match=f"{option} {value}: give a number of at least"):
        prepare("synthetic", tmp_path, **{option: value})


def test_another_cohort_has_another_folder(tmp_path, prepared):
    other = prepare("synthetic/100hz", tmp_path, patients=18, seed=7)
    assert other.parent.name == "100hz-patients18-seed7"
    ids = [
        set(pyarrow.parquet.read_table(d / "records.parquet")["patient_id"].to_pylist())
        for d in (other, prepared)
    ]
    assert len(ids[0]) == 18 and not ids[0] & ids[1]
