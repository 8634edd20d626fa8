"""Recordings that public collections share are found by name, although their hashes differ."""

import numpy as np
import pyarrow as pa
import pytest

from ecgjax.data.leaks import Past, find_leaks, refuse_leaks
from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.workflows.cohort import data_names


class _Records:
    """A data set of four recordings with a name and sites."""

    path = "prepared"

    def __init__(self, name, sites=(None,) * 4):
        self.name = name
        hashes = [f"{number:032x}" for number in range(4)]
        columns = {"waveform_hash": hashes, "patient_id": hashes, "site": list(sites)}
        self._columns = {
            key: pa.chunked_array([pa.array(columns[key], pa.string())]) for key in columns
        }

    def column(self, name):
        return self._columns[name]

    def row(self, index):
        return {"record_id": f"R{index}", "split": "train"}


CINC = _Records("cinc2021/500hz_with_ptb_xl:2.0.0", ("georgia", "ptb_xl", "ptb", "ptb_xl"))


@pytest.mark.parametrize(
    ("tested", "trained", "leaked"),
    [
        (CINC, "ptb_xl/100hz:2.0.0", [1, 3]),
        (CINC, "ptb_diagnostic/100hz:2.0.0", [2]),
        (CINC, "ludb/100hz:2.0.0", []),
        (CINC, "cinc2021/100hz:2.0.0", []),  # patients' hashes tell
        (_Records("ptb_xl/100hz:2.0.0"), "cinc2021/100hz:2.0.0", []),
        (_Records("ptb_xl/100hz:2.0.0"), "cinc2021/100hz_with_ptb_xl:2.0.0", [0, 1, 2, 3]),
        (_Records("ptb_diagnostic/100hz:2.0.0"), "cinc2021/100hz:2.0.0", [0, 1, 2, 3]),
    ],
)
def test_collections_within_collections_are_known(tested, trained, leaked):
    past = Past("the encoder", Seen.none(), (trained,))
    leaks = find_leaks(tested, np.arange(4), [past])
    rows = np.zeros(4, bool)
    for leak in leaks:
        rows |= leak.rows
    assert np.flatnonzero(rows).tolist() == leaked
    if leaked:
        message = (
            f"prepared: the encoder was trained on {trained}, which holds {len(leaked)} of the "
            f"recordings .* \\(split train, first recording R{leaked[0]}\\); .* --exclude-seen"
        )
        with pytest.raises(InputError, match=message):
            refuse_leaks(tested, np.arange(4), leaks)
    else:
        refuse_leaks(tested, np.arange(4), leaks)


def test_a_model_is_known_by_all_data_sets_of_its_history():
    config = {"data": "ludb/100hz:2.0.0", "start_data": ["ptb_xl/100hz:2.0.0"]}
    assert data_names(config) == ("ludb/100hz:2.0.0", "ptb_xl/100hz:2.0.0")
    assert data_names({"data": "a/b:1+c/d:2"}) == ("a/b:1", "c/d:2")
    assert data_names({}) == ()
