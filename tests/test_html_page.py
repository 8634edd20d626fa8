"""The HTML of reports: escaped, balanced, and without anything from outside."""

import base64
import html.parser

import matplotlib.figure

from ecgjax.evaluate import html_page


class Reader(html.parser.HTMLParser):
    """Checks that tags are balanced; collects texts, attributes and the targets of links."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += f"{data}\n"

    def values(self, name: str) -> list[str]:
        """Returns the values of all attributes of a name."""
        return [value for key, value in self.attributes if key == name]


def assert_selfcontained(page: str) -> Reader:
    """Checks that a page loads and runs nothing; returns its reader."""
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object", "form"} & set(reader.tags)
    assert not [key for key, _ in reader.attributes if key.startswith("on")]
    assert all(source.startswith("data:image/png;base64,") for source in reader.values("src"))
    assert "url(" not in page and "@import" not in page
    targets = {value.removeprefix("#") for value in reader.values("href")}
    assert targets <= set(reader.values("id"))
    assert len(reader.values("alt")) == reader.tags.count("img")
    return reader


def test_texts_of_users_are_shown_and_never_run(tmp_path):
    evil = "<script>alert('1')</script> & \"quotes\""
    picture = tmp_path / "a.png"
    matplotlib.figure.Figure(figsize=(1, 1)).savefig(picture)
    parts = [
        html_page.heading(1, evil, anchor=evil),
        html_page.paragraph(evil, kind=evil),
        html_page.contents([(evil, evil)]),
        html_page.table([evil, "b"], [(evil, evil)]),
        html_page.pair([html_page.figure(picture, evil, evil, reading=evil)]),
    ]
    page = html_page.page(evil, parts)
    reader = assert_selfcontained(page)
    assert reader.text.count(evil) == 9
    assert reader.values("alt") == [evil]
    data = reader.values("src")[0].partition(",")[2]
    assert base64.b64decode(data) == picture.read_bytes()
