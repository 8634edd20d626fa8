"""Explanations in the report, for readers who are no statisticians."""

from ecgjax.evaluate.calibration import LEAST_IN_BIN
from ecgjax.evaluate.subgroups import LEAST
from ecgjax.workflows.clinical_report.study import Condition

CLASS_NAMES = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST or T changes",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}
"""Diagnostic superclasses of PTB-XL in words."""
METHODS = {
    "frozen": "the pre-trained encoder is left as it is; a logistic regression reads it out",
    "finetuned": "the pre-trained encoder is trained further with the labels",
    "scratch": "the same network is trained with the labels alone",
    "random": "a network that was never trained is read out; a floor to compare with",
    "mean_pool": "as frozen, but the logistic regression reads only the mean over time",
    "attention": "as frozen, but the read-out learns which times of the recording matter",
}
"""Meaning of each method of the benchmark."""
CURVES = (
    "The higher, the better the method ranks the recordings. 0.5 is guessing, "
    "1 is perfect. Each step to the right means more labelled recordings; the axis is logarithmic. "
    "Bands are 95 % intervals over patients of the test and over draws of labels. With few draws "
    "the bands are wide because little is known about other draws."
)
SAVED = (
    "5.0 means that the method in the column needs 5 times as many labels to "
    "reach the AUROC of the method in the row; below 1 it needs fewer. In parentheses: the 95 % "
    'interval. "More than" means that it did not get that far with the most labels that were run; '
    '"at most" means that it was there already with the fewest. Between the amounts that were '
    "run, AUROC is taken to rise with the logarithm of the number of labels."
)
FIGURES = (
    "AUROC is the probability that a recording with the condition has a higher "
    "risk than one without it. AUPRC depends on how common the condition is: guessing gives the "
    "share of cases. Sensitivity is the share of cases that are found if 90 or 95 % of the "
    "recordings without the condition are to be left alone; the threshold is set on this test, so "
    "it is what the ranking allows, not what a threshold chosen in advance gives. Slope: 1 is "
    "ideal, below 1 the risks are too extreme. Intercept: 0 is ideal, above 0 the risks are too "
    "low on average (in log-odds). Brier score: mean squared error of the risks, 0 is ideal."
)
RELIABILITY = (
    "Among recordings with a predicted risk of 30 %, 30 in 100 should have the "
    "condition. Points on the dotted line say that this holds; above it risks are too low, below "
    "it too high. Vertical lines are 95 % intervals over patients. Tenths of risk with under "
    f"{LEAST_IN_BIN} recordings have no point."
)
BY_SEX = (
    "As for all methods, for women and men apart, by one method. Curves apart from each "
    "other mean that the same predicted risk stands for different things in women and men. A sex "
    f"with fewer than {LEAST} cases is left out."
)
BENEFIT = (
    "The horizontal axis is the risk from which on one would act (a 24-h ECG, a "
    "referral). Acting at 10 % says that one missed case is as bad as nine needless actions. The "
    "curve gives true findings per 100 recordings, less needless actions at that exchange rate. "
    "A model is of use where it is above both acting on everybody (solid) and on nobody (dashed)."
)
RISKS = (
    "Good separation shows as two heaps that overlap little. The scale is "
    "stretched at both ends; the outermost bars hold everything beyond them. Cases far left are "
    "missed at any reasonable threshold."
)
SUBGROUPS = (
    "Figures as above for women, men and three age bands. AUPRC and Brier score "
    "depend on how common the condition is in the group and must not be compared between groups "
    f"without that in mind. A group with fewer than {LEAST} cases or {LEAST} others has its size "
    "only. In data sets that cap ages (PTB-XL: above 89) the highest age stands for all above it."
)
BENEFIT_TABLE = (
    "Net benefit per 100 recordings at the thresholds that are dotted in the "
    "picture; the higher the better."
)
CASES = (
    "Recordings are chosen by rule, not by eye, and named by their row in the "
    'data set\'s table. "Truth" is the label in the data set, which may be wrong: look at the '
    '"most certain and wrong" ones with that in mind. Age, sex and labels are those of the table.'
)
PREFERENCE = (
    "Panels of one method show the fine-tuned encoder if it was trained with this amount of "
    "labels, else the frozen one. The method is not chosen by its result."
)


def scale_note(condition: Condition) -> str:
    """Returns what the risks of a condition are relative to: as given, or moved back."""
    training = condition.study.training
    k = condition.number
    labels = condition.study.largest.labels
    prevalence = f"{training.prevalence(k):.1%}"
    if not condition.is_shifted:
        return (
            f"The labels were drawn without regard to the condition, so the risks refer to its "
            f"share in training, {prevalence}, and are shown as the models gave them."
        )
    return (
        f"Recalibrated: with {labels:,} labels, a share of {training.share(k, labels):.0%} of the "
        f"drawn recordings were cases, against {prevalence} in the training data. Scores of such "
        f"draws are far too high as risks. All odds were therefore multiplied by the ratio of the "
        f"odds of these two shares (King & Zeng 2001). AUROC, AUPRC and sensitivity do not change "
        f"by it; slope, intercept, Brier score, net benefit and the pictures of risks do."
    )


def too_few(condition: Condition) -> str:
    """Returns the sentence for a condition that has too few cases or controls."""
    size = f"{len(condition.target):,} recordings in the test"
    return f"{condition.title}: {size}, fewer than {LEAST} cases or {LEAST} others: no figures."
