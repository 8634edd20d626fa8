"""The report of a conversion: report.json for programs, report.html for people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgjax.whole_files import replace_text, replaced
from tfds_builders.conversion.plan import Shard
from tfds_builders.conversion.report_page import to_html
from tfds_builders.conversion.sample import Accepted

JSON = "report.json"
HTML = "report.html"
ADDED: dict[str, Any] = {
    "own_files": False,
    "allow_missing_leads": False,
    "pad_from_s": None,
    "notes": {},
    "table": None,
    "recordings_per_patient": {"mean": 0, "median": 0, "maximum": 0},
    "flagged": {},
    "measured": {"heart_rates_bpm": []},
    "warnings": [
        "the report is of an older version and lacks checks of the whole data set: "
        "convert the source again to have them"
    ],
}
"""Values in place of those that report.json of format 1 does not have."""


def write(
    folder: Path,
    summary: dict[str, Any],
    shards: Sequence[Shard],
    accepted: Sequence[Accepted],
) -> None:
    """Writes report.json and report.html.

    Args:
      folder: the folder of the prepared data set.
      summary: the result of `summary.summarise`.
      shards: the outcome of the conversion; recordings with a thumbnail are drawn.
      accepted: random recordings that were written.
    """
    replace_text(folder / JSON, json.dumps(summary, indent=1))
    rows = [row for shard in shards for row in (*shard.rejections, *shard.kept)]
    page = to_html(summary, rows, accepted)
    # The detail of a rejection may quote a name of a file that is not UTF-8.
    with replaced(folder / HTML) as unfinished:
        unfinished.write_text(page, encoding="utf-8", errors="backslashreplace")


def read(folder: Path) -> dict[str, Any]:
    """Returns the content of report.json of a prepared data set."""
    return ADDED | json.loads((folder / JSON).read_text(encoding="utf-8"))
