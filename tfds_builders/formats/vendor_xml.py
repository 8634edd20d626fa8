"""XML of GE MUSE, Philips and HL7 aECG: all recordings of a file, where ecgdatakit returns one."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ecgdatakit.parsing.helpers.xml import find_tag
from ecgdatakit.parsing.parsers import ge_muse_xml, hl7_aecg, mortara_el250, sierra_xml

from tfds_builders.formats.vendor_content import DERIVED, Content, Refused, Rhythm, later
from tfds_builders.formats.vendor_record import keep_names, to_channels, to_content
from tfds_builders.recording import demographics
from tfds_builders.recording.leads import LeadRule

keep_names(ge_muse_xml, hl7_aecg, mortara_el250, sierra_xml)

CALCULATED = ("BEAT", "MEDIAN", "AVERAGE", "TEMPLATE")
"""Words in the code of a series that is calculated from another one."""
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class _Muse(ge_muse_xml.GEMuseXMLParser):
    """Reads each rhythm waveform, and age and sex in all their forms."""

    def __init__(self) -> None:
        self.rhythms: list[tuple[Rhythm, float]] = []
        """Recordings, each with its start in seconds after the acquisition."""
        self.derived = 0
        self.age: float | None = None
        self.sex = ""

    def _read_patient(self, demo: Any, acquired: datetime.datetime | None, meta: dict) -> Any:
        self.sex = ge_muse_xml._get(demo, "Gender")
        units = ge_muse_xml._get(demo, "AgeUnits")
        try:
            age = f"{ge_muse_xml._get(demo, 'PatientAge')} {units}"
            self.age = demographics.parse_age(age) if units else None
        except ValueError:
            self.age = None
        if demo is not None:
            for child in [child for child in demo if child.tag.casefold() == "patientage"]:
                demo.remove(child)  # ecgdatakit fails on an age such as nan
        return super()._read_patient(demo, acquired, meta)

    def _read_waveforms(self, root: Any, record: Any, file_path: Path) -> tuple[list, list]:
        first: list = []
        for waveform in root.findall("Waveform"):
            alone = ElementTree.Element(root.tag)
            alone.append(waveform)
            leads, _ = super()._read_waveforms(alone, record, file_path)
            if leads:
                _require_one_start(leads)
                rhythm = Rhythm(to_channels(leads, _muse_rate_hz(waveform)))
                self.rhythms.append((rhythm, _number(waveform, "WaveformStartTime")))
                first = first or leads
            else:
                self.derived += 1
        return first, []


def read_muse(path: Path, rule: LeadRule) -> Content:
    """Returns all rhythm waveforms of a GE MUSE file."""
    parser = _Muse()
    content = to_content(parser.parse(path))
    content.age = parser.age
    content.sex = parser.sex
    for rhythm, start_s in parser.rhythms:
        rhythm.time = later(content.time, start_s)
        content.rhythms.append(rhythm)
    if parser.derived:
        content.notes.append(DERIVED)
    return content


def _muse_rate_hz(waveform: ElementTree.Element) -> float:
    return _number(waveform, "SampleBase") * 10 ** _number(waveform, "SampleExponent")


def _number(element: ElementTree.Element, tag: str) -> float:
    """Returns the number in a child element, 0 if there is none."""
    try:
        return float((element.findtext(tag) or "0").replace(",", "."))
    except ValueError:
        return 0.0


def _require_one_start(leads: list) -> None:
    if len({lead.annotations.get("LeadTimeOffset") for lead in leads}) > 1:
        raise Refused("shape", "holds leads that begin at different times; export it again")


class _AnnotatedEcg(hl7_aecg.HL7aECGParser):
    """Reads each sequence set of each series that is no derived one."""

    def __init__(self) -> None:
        self.series: list[ElementTree.Element] = []
        self.rhythms: list[Rhythm] = []
        self.derived = 0

    def _select_series(self, root: Any, file_path: Path) -> tuple[Any, Any]:
        for series in root.findall("component/series"):
            code = series.find("code")
            is_derived = any(word in _attribute(code, "code").upper() for word in CALCULATED)
            self.derived += is_derived + len(series.findall("derivation/derivedSeries"))
            if not is_derived:
                self.series.append(series)
        return super()._select_series(root, file_path)

    def _read_sequence_set(self, series: Any, kind: str, file_path: Path) -> tuple[list, dict]:
        if kind != "rhythm":
            return super()._read_sequence_set(series, kind, file_path)
        first: tuple[list, dict] = ([], {})
        for one in self.series:
            for alone in _sequence_sets(one):
                leads, time = super()._read_sequence_set(alone, kind, file_path)
                if leads:
                    rate_hz = time["sampling_rate_exact"]
                    self.rhythms.append(Rhythm(to_channels(leads, rate_hz), _begin(one, time)))
                    first = first if first[0] else (leads, time)
        return first


def _sequence_sets(series: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Yields a series with one sequence set for each sequence set of a series."""
    for component in series.findall("component"):
        for sequence_set in component.findall("sequenceSet"):
            alone = ElementTree.Element("series")
            ElementTree.SubElement(alone, "component").append(sequence_set)
            yield alone


def _begin(series: ElementTree.Element, time: dict[str, Any]) -> datetime.datetime | None:
    """Returns the time of a sequence set's first sample, if the file states it."""
    if time["code"].upper() == "TIME_ABSOLUTE":
        return hl7_aecg._parse_ts(time["head"], need_time=True)
    low = _attribute(series.find("effectiveTime/low"), "value")
    offset = SECONDS.get(time["head_unit"], 0.0) * (hl7_aecg._float(time["head"]) or 0.0)
    return later(hl7_aecg._parse_ts(low, need_time=True), offset)


def _attribute(element: ElementTree.Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "").strip()


def read_aecg(path: Path, rule: LeadRule) -> Content:
    """Returns all rhythm sequence sets of an HL7 aECG file."""
    parser = _AnnotatedEcg()
    content = to_content(parser.parse(path))
    content.rhythms = parser.rhythms
    if parser.derived and not content.notes:
        content.notes.append(DERIVED)
    return content


class _Sierra(sierra_xml.SierraXMLParser):
    """Reads each element of rhythm waveforms."""

    def __init__(self) -> None:
        self.root: Any = None
        self.rhythms: list[list] = []

    def _check_version(self, root: Any) -> tuple[str, str]:
        self.root = root
        return sierra_xml.SierraXMLParser._check_version(root)

    def _read_leads(self, parsed: Any, signal_node: Any) -> list:
        found = find_tag(self.root, "parsedwaveforms")
        for one in found if isinstance(found, list) else [found]:
            for element in one if isinstance(one, list) else [one]:
                self.rhythms.append(super()._read_leads(element, signal_node))
        return self.rhythms[0]


def read_sierra(path: Path, rule: LeadRule) -> Content:
    """Returns all rhythm waveforms of a Philips Sierra file."""
    parser = _Sierra()
    content = to_content(parser.parse(path))
    content.rhythms = [
        Rhythm(to_channels(leads, leads[0].sampling_rate)) for leads in parser.rhythms if leads
    ]
    return content


class _Mortara(mortara_el250.MortaraEL250Parser):
    """Keeps the exact sampling rate."""

    @staticmethod
    def _rate(value: str | None, channel: str, file_path: Path) -> Any:
        mortara_el250.MortaraEL250Parser._rate(value, channel, file_path)
        return float(value or 0)


def read_mortara(path: Path, rule: LeadRule) -> Content:
    """Returns the recording of a Mortara ELI file."""
    record = _Mortara().parse(path)
    content = to_content(record)
    rates_hz = [lead.sampling_rate for lead in record.leads]
    content.rhythms = [Rhythm(to_channels(record.leads, rates_hz))]
    return content
