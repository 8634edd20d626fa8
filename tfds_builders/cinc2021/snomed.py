"""SCP-ECG statements of PTB-XL for the SNOMED CT codes of CinC 2020 and 2021 with the same meaning.

The codes are from the challenge's Dx_map (https://github.com/physionetchallenges/evaluation-2021,
BSD-2-Clause). A code with a wider or narrower meaning than a statement is not translated: bundle
branch block that may be incomplete (59118001, 164909002), infarction without a location,
ventricular bigeminy (BIGU is of any origin), changes of the T wave or ST segment by kind.
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
    """Returns the labels of a header's Dx field, in which codes are separated by commas.

    A code without translation becomes snomed:CODE.
    """
    stripped = [code.strip() for code in codes.split(",")]
    valid = [code for code in stripped if code.isascii() and code.isdigit()]
    return tuple(dict.fromkeys(SCP.get(code, f"snomed:{code}") for code in valid))
