"""Published macro AUROCs on fold 10 of PTB-XL, by protocol, and their reproductions.

iclr2026
  published    Al-Masud, Lopez Alcaraz & Strodthoff, Benchmarking ECG FMs: A Reality Check Across
               Clinical Tasks, ICLR 2026, arXiv:2509.25095v2, tables 3 to 5
  reproduced   github.com/PinkTulips139/PTBXL-ECG-FM-Benchmark-Reproduction at 0a47f56,
               results/tables/FINAL_TABLE3_FINETUNING.csv, ..4_FROZEN.csv, ..5_LINEAR.csv: one seed
               for each cell

merl
  published    Liu et al. 2024, ICML, arXiv:2403.06659 (SimCLR, ST-MEM, MERL); the papers of the
               others; all as table 2 of CardioState-JEPA quotes them
  reproduced   github.com/MengKaiTao88/CLEAR-HUG at b2ff052, results/
               q1-heartlang-stmem-linear-probe-seeds42-46-55-20260914/seed-results.csv: mean of
               three draws
"""

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class PublishedRow:
    """The macro AUROC of one encoder on one task."""

    protocol: str
    task: str
    method: str
    """Read-out: mean_pool (a linear layer on mean-pooled tokens), attention, finetuned or scratch;
    linear in the protocol merl."""
    labels: str
    """Share of the training recordings: 1%, 10% or 100%."""
    encoder: str
    published: float
    reproduced: float | None
    """Macro AUROC of an independent repetition, None if there is none."""


TRAINED_ON = {
    "ECG-CPC": "3.8 M, 10.7 M ECGs of HEEDB",
    "ECGFounder": "33.8 M, HEEDB with labels",
    "ECG-JEPA": "87 M, 180,000 public ECGs",
    "ST-MEM": "90 M, 188,000 public ECGs",
    "MERL": "4.6 M, MIMIC-IV with reports",
    "ECG-FM": "94 M, 1.5 M public ECGs, PTB-XL too",
    "HuBERT-ECG": "97 M, 9.1 M ECGs, PTB-XL too",
    "ECGFM-KED": "9.7 M, MIMIC-IV with reports",
    "HeartLang": "MIMIC-IV",
    "SimCLR": "MIMIC-IV, by the authors of MERL",
    "D-BETA": "MIMIC-IV with reports",
    "CardioState-JEPA": "",
    "S4": "2.2 M, no pre-training",
    "Net1D": "33.8 M, no pre-training",
}
"""Parameters and pre-training of the encoders."""

# Published and reproduced macro AUROC for all, subclass, superclass.
_ICLR2026 = """
mean_pool  ECGFounder  .931 .931  .945 .944  .924 .925
mean_pool  ECG-JEPA    .928 .928  .916 .915  .911 .911
mean_pool  ST-MEM      .908 .909  .916 .915  .896 .896
mean_pool  ECG-CPC     .904 .874  .886 .886  .863 .862
mean_pool  MERL        .883 .886  .895 .892  .887 .887
mean_pool  HuBERT-ECG  .867 .865  .898 .896  .877 .877
mean_pool  ECG-FM      .841 .852  .866 .879  .873 .876
mean_pool  ECGFM-KED   .706 .689  .734 .867  .802 .877
attention  ECG-JEPA    .934 .929  .934 .935  .917 .919
attention  ECG-CPC     .931 .933  .934 .936  .919 .918
attention  ECGFounder  .927 .928  .939 .938  .928 .928
attention  ST-MEM      .910 .915  .931 .921  .923 .918
attention  MERL        .909 .911  .917 .913  .915 .914
attention  ECG-FM      .884 .884  .912 .907  .877 .882
attention  HuBERT-ECG  .883 .884  .903 .902  .892 .891
attention  ECGFM-KED   .810 .812  .816 .913  .865 .909
finetuned  ECG-CPC     .949 .949  .940 .939  .934 .933
finetuned  ECG-JEPA    .940 .939  .935 .933  .921 .924
finetuned  ECGFounder  .934 .935  .943 .942  .935 .935
finetuned  ECG-FM      .927 .924  .932 .924  .916 .917
finetuned  MERL        .925 .921  .937 .934  .930 .928
finetuned  HuBERT-ECG  .915 .913  .918 .926  .908 .902
finetuned  ST-MEM      .908 .933  .916 .937  .901 .928
finetuned  ECGFM-KED   .889 .905  .908 .906  .905 .913
scratch    S4          .941 .941  .938 .936  .932 .934
scratch    Net1D       .929 .930  .926 .931  .924 .928
"""

# Macro AUROC with 1, 10 and 100 % of the labels for superclass, subclass, form, rhythm.
_MERL = """
published   SimCLR            .634 .698 .735  .608 .683 .734  .550 .570 .625  .514 .694 .777
published   ST-MEM            .611 .669 .714  .541 .579 .636  .557 .600 .661  .511 .654 .749
reproduced  ST-MEM            .813 .875 .900  .772 .857 .915  .654 .764 .882  .877 .939 .959
published   HeartLang         .789 .844 .867  .698 .751 .839  .564 .661 .795  .726 .773 .911
reproduced  HeartLang         .800 .855 .885  .677 .817 .895  .566 .666 .809  .571 .810 .905
published   MERL              .824 .863 .887  .649 .806 .847  .583 .724 .797  .533 .829 .883
published   ECG-FM            .813 .870 .894  .717 .769 .830  .646 .763 .861  .770 .910 .963
published   ECGFounder        .831 .872 .896  .736 .765 .817  .611 .697 .851  .870 .916 .946
published   D-BETA            .832 .884 .901  .777 .829 .852  .701 .789 .840  .866 .928 .967
published   CardioState-JEPA  .813 .864 .891  .710 .791 .864  .605 .700 .839  .878 .924 .964
"""

ICLR2026_TASKS = ("all", "subclass", "superclass")
"""PTB-XL (all), (sub) and (super): 71 statements, 23 subclasses, 5 superclasses."""
MERL_TASKS = ("superclass", "subclass", "form", "rhythm")
MERL_LABELS = ("1%", "10%", "100%")


def rows(protocol: str) -> list[PublishedRow]:
    """Returns the published rows of a protocol, iclr2026 or merl."""
    return list(_iclr2026() if protocol == "iclr2026" else _merl())


def _iclr2026() -> Iterator[PublishedRow]:
    for line in _ICLR2026.strip().splitlines():
        method, encoder, *numbers = line.split()
        values = [float(number) for number in numbers]
        for place, task in enumerate(ICLR2026_TASKS):
            pair = values[2 * place : 2 * place + 2]
            yield PublishedRow("iclr2026", task, method, "100%", encoder, *pair)


def _merl() -> Iterator[PublishedRow]:
    cells: dict[tuple[str, str], list[float]] = {}
    for line in _MERL.strip().splitlines():
        kind, encoder, *numbers = line.split()
        cells[kind, encoder] = [float(number) for number in numbers]
    for kind, encoder in cells:
        if kind != "published":
            continue
        again = cells.get(("reproduced", encoder))
        for place, value in enumerate(cells[kind, encoder]):
            task = MERL_TASKS[place // len(MERL_LABELS)]
            labels = MERL_LABELS[place % len(MERL_LABELS)]
            reproduced = again[place] if again else None
            yield PublishedRow("merl", task, "linear", labels, encoder, value, reproduced)
