"""SNOMED CT codes of CinC 2020 and 2021 as SCP-ECG statements of PTB-XL, where the two say the same.

Codes: the challenge's Dx_map (https://github.com/physionetchallenges/evaluation-2021, BSD-2-Clause). A code that says
more or less than a statement is not translated: bundle branch block that may be incomplete (59118001, 164909002),
infarction without a place, ventricular bigeminy (BIGU is of any origin), T-wave and ST changes by kind.
"""

SCP = {
    "270492004": "1AVB",
    "195042002": "2AVB",
    "27885002": "3AVB",
    "164889003": "AFIB",
    "164890007": "AFLT",
    "713427006": "CRBBB",
    "713426002": "IRBBB",
    "733534002": "CLBBB",
    "251120003": "ILBBB",
    "445118002": "LAFB",
    "445211001": "LPFB",
    "698252002": "IVCD",
    "74390002": "WPW",
    "426783006": "SR",
    "426177001": "SBRAD",
    "427084000": "STACH",
    "427393009": "SARRH",
    "10370003": "PACE",
    "426761007": "SVTAC",
    "67198005": "PSVT",
    "284470004": "PAC",
    "427172004": "PVC",
    "17338001": "PVC",
    "164947007": "LPR",
    "111975006": "LNGQT",
    "251146004": "LVOLT",
    "164873001": "LVH",
    "89792004": "RVH",
    "67741000119109": "LAO/LAE",
    "164934002": "TAB_",
    "59931005": "INVT",
    "425419005": "ISCIN",
    "425623009": "ISCLA",
    "426434006": "ISCAN",
}


def labels(codes: str) -> tuple[str, ...]:
    """Labels of a header's Dx field, codes with commas between; one without translation becomes snomed:CODE."""
    given = [
        code
        for code in (part.strip() for part in codes.split(","))
        if code.isascii() and code.isdigit()
    ]
    return tuple(dict.fromkeys(SCP.get(code, f"snomed:{code}") for code in given))
