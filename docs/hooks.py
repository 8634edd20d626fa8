"""MkDocs hooks: put Markdown files from outside docs/ on the site, and redirect links to them."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "tfds_builders/README.md": "data-sets.md",
    "launch/README.md": "clusters.md",
    "benchmarks/README.md": "costs.md",
    "benchmarks/results/cost_xeon-2.8ghz_2026-11-23.md": "cost-input.md",
    "benchmarks/results/cost_epyc_2026-11-24.md": "cost-memory.md",
    "benchmarks/results/cost_epyc-milan_2026-11-27.md": "cost-training.md",
    "benchmarks/results/methods.md": "methods-by-task.md",
    "benchmarks/results/methods_own.md": "own-encoders-by-task.md",
}
"""Files of the repository outside docs/, and their names on the site."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files of `PAGES` to the site."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites links, which are relative to files of the repository, so that they work on the site.

    A link to a file that is not on the site becomes its text.
    """
    sources = {name: path for path, name in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(page.file.src_uri)
    return LINK.sub(lambda link: _site_link(link, source, files, folder), markdown)


def _site_link(link: re.Match, source: str, files: Files, folder: str) -> str:
    image, text, target = link.groups()
    path, _, anchor = target.partition("#")
    if ":" in target or not path:  # a URL, or an anchor of the same page
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    name = PAGES.get(path, path.removeprefix("docs/"))
    if files.get_file_from_path(name) is None and not path.startswith("docs/"):
        return text
    name = posixpath.relpath(name, folder or ".")
    return f"{image}[{text}]({name}{'#' if anchor else ''}{anchor})"
