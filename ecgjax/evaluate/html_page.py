"""A page of HTML in one file: no script, nothing from the network, pictures inside it.

Every piece of text is escaped here, so that names from a user's table are shown and never run.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 3rem; border-top: 2px solid #333; padding-top: 0.8rem; }
h3 { margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-size: 0.92rem; display: block;
  overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top;
  font-variant-numeric: tabular-nums; }
th { background: #f2f2f2; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 1.2rem; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; border: 1px solid #ddd; }
figcaption { color: #333; font-size: 0.92rem; }
.how { color: #333; background: #f6f8fa; border-left: 4px solid #0072B2; font-size: 0.92rem;
  padding: 0.3rem 0.8rem; margin: 0.4rem 0; }
.how summary { cursor: pointer; color: #0072B2; }
.warning { background: #fff4e5; border-left: 4px solid #D55E00; padding: 0.5rem 0.8rem; }
@media print { h2 { break-before: page; } figure, table { break-inside: avoid; } }
"""


def escape(text: object) -> str:
    """Returns text with the characters that mean something in HTML escaped."""
    return html.escape(str(text))


def heading(level: int, text: str, *, anchor: str = "") -> str:
    """Returns a heading of level 1 to 3, with an anchor that links lead to."""
    identity = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h{level}{identity}>{escape(text)}</h{level}>"


def paragraph(text: str, *, kind: str = "") -> str:
    """Returns a paragraph; the kind "warning" stands out."""
    style = f' class="{escape(kind)}"' if kind else ""
    return f"<p{style}>{escape(text)}</p>"


def contents(entries: Iterable[tuple[str, str]]) -> str:
    """Returns a list of links to anchors, each given with its text."""
    lines = (f'<li><a href="#{escape(anchor)}">{escape(text)}</a></li>' for anchor, text in entries)
    return f"<nav><ul>{''.join(lines)}</ul></nav>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table whose first column names the rows."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def explanation(text: str) -> str:
    """Returns an explanation that opens on a click, "How to read this"."""
    summary = "<summary>How to read this</summary>"
    return f'<details class="how">{summary}<p>{escape(text)}</p></details>'


def figure(picture: Path, description: str, caption: str, *, reading: str = "") -> str:
    """Returns a PNG file as part of the page.

    Args:
      picture: the PNG file.
      description: its content for those who do not see it.
      caption: text below it.
      reading: explanation of how to read it, if it needs one.
    """
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'
    below = f"<figcaption>{escape(caption)}</figcaption>" + (
        explanation(reading) if reading else ""
    )
    return f"<figure>{image}{below}</figure>"


def pair(figures: Iterable[str]) -> str:
    """Returns figures that stand beside each other where the screen is wide enough."""
    return f'<div class="pair">{"".join(figures)}</div>'


def page(title: str, parts: Iterable[str]) -> str:
    """Returns the whole page."""
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
