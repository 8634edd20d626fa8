"""Links, file names and commands of the documents, and what the cluster recipes copy."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import tyro
from helpers import run_tutorial

import ecgjax

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / folder / "README.md" for folder in ("launch", "benchmarks", "tfds_builders")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks/results").glob("*.md")),
]
FOLDERS = ("ecgjax", "tfds_builders", "benchmarks", "launch", "docs", "examples", "tests", ".ci")
CODE_SUFFIXES = (".py", ".sh", ".sbatch", ".ipynb", ".toml", ".yml")
NEVER_COPIED = ("data/", "runs/", ".venv/", "venv/")


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)


def _blocks(document: Path) -> list[str]:
    """Returns the fenced blocks of shell commands."""
    # A block of another language is matched as well, or its end would be taken for a beginning.
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(), re.M | re.S)
    return [text for language, text in blocks if language in ("", "bash")]


def _prose(document: Path) -> str:
    """Returns a document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)


def _anchors(document: Path) -> set[str]:
    """Returns the anchors of a document's headings, spelt as GitHub and MkDocs spell them."""
    headings = re.findall(r"^#+ (.*)$", _prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_lead_to_files_and_headings(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(document)):
        if re.match(r"\w+:", target):  # a URL
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.is_relative_to(ROOT) and file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


@each_document
def test_files_named_in_a_document_exist(document):
    for name in re.findall(r"`([^`\s]+)`", _prose(document)):
        pattern = re.sub(r"NAME", "*", name)
        if name.split("/")[0] in FOLDERS and "/" in name:
            assert any(ROOT.glob(pattern)), name
        elif name.endswith(CODE_SUFFIXES) and not (ROOT / name).exists() and "*" not in pattern:
            assert any(any(ROOT.glob(f"{folder}/**/{name}")) for folder in FOLDERS), name


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def _commands(document: Path) -> list[list[str]]:
    """Returns the commands of a document as words; a loop's variable has its first value."""
    commands = []
    for block in _blocks(document):
        text = block.replace("\\\n", " ")
        values = dict(re.findall(r"^(\w+)=\"(.*)\"$", text, re.M))
        values |= dict(re.findall(r"\bfor (\w+) in (\S+?)[ ;]", text))
        for name, value in values.items():
            text = re.sub(rf"\${name}\b", value, text)
        programs = r"(?:python -m (?:ecgjax|benchmarks)|(?<![\w./-])ecgjax (?=[a-z]))[^;&|\n]*"
        commands += [shlex.split(line, comments=True) for line in re.findall(programs, text)]
    return commands


COMMANDS = [
    pytest.param(words, id=f"{_relative(document)}: {' '.join(words)[:100]}")
    for document in DOCUMENTS
    for words in _commands(document)
]


class Parsed(Exception):
    """The parser has accepted the command line; the command must not go on."""


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_are_accepted_by_their_parser(words, monkeypatch):
    if words[0] == "ecgjax":
        words = ["python", "-m", f"ecgjax.launch.{words[1].replace('-', '_')}", *words[2:]]
    parse = tyro.cli

    def parse_and_stop(*args, **kwargs):
        parse(*args, **kwargs)
        raise Parsed

    module = "benchmarks.__main__" if words[2] == "benchmarks" else words[2]
    monkeypatch.setattr(tyro, "cli", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [module, *words[3:]])
    monkeypatch.syspath_prepend(str(ROOT))  # benchmarks is no installed package
    try:
        importlib.import_module(module).main()
    except Parsed:
        return
    except SystemExit as end:
        assert "--help" in words and not end.code
        return
    pytest.fail("the command has not parsed its options")


def test_documents_have_commands():
    """Keeps the search for commands from finding none."""
    assert len(COMMANDS) > 30


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {ecgjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {ecgjax.__version__} (" in (ROOT / "CHANGELOG.md").read_text()


TUTORIALS = [path for path in DOCUMENTS if path.parent.name == "tutorials"]


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_the_small_form_of_a_tutorial_replaces_what_the_page_has(tutorial):
    text = tutorial.read_text()
    assert run_tutorial.CHANGE.findall(text) or "```bash" not in text
    if "```bash" in text:
        run_tutorial.script(text)  # .ci/commands runs it


@pytest.mark.parametrize(
    "recipe", sorted([*ROOT.glob("launch/*/pretrain.*"), ROOT / ".ci/run"]), ids=_relative
)
def test_recipes_are_valid_shell(recipe):
    subprocess.run(["bash", "-n", recipe], check=True)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone with its history")
def test_the_tpu_vm_recipe_copies_committed_files_only(tmp_path):
    stub = tmp_path / "gcloud"
    stub.write_text(
        f'#!/bin/bash\necho "$*" >>{tmp_path}/calls\n[ "$4" != scp ] || cp "$5" {tmp_path}/sent\n'
    )
    stub.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TPU": "t", "ZONE": "z"}
    recipe = ROOT / "launch/tpu_vm/pretrain.sh"
    subprocess.run([recipe, "--workdir", "a folder"], env=environment, check=True)
    with tarfile.open(tmp_path / "sent") as archive:
        sent = {member.name for member in archive if member.isfile()}
    listing = ["git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD"]
    committed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert sent == set(committed.splitlines())
    assert not [name for name in sent if name.startswith(NEVER_COPIED)]
    scp, ssh = (tmp_path / "calls").read_text().splitlines()
    assert "--recurse" not in scp
    assert ssh.endswith(r"ecgjax.launch.pretrain --distributed --workdir a\ folder")


def test_the_image_holds_the_packages_only():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored  # everything, but for what follows
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert allowed == {"pyproject.toml", "README.md", "LICENSE", "ecgjax", "tfds_builders"}
    copies = re.findall(r"^COPY (.*) \S+$", (ROOT / "launch/Dockerfile").read_text(), re.M)
    assert {name for line in copies for name in line.split()} == allowed
