"""Rules for imports, structure and language, checked on the syntax trees of both packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import structure

import ecgjax
import tfds_builders
from ecgjax import __main__

PACKAGE, BUILDERS = Path(ecgjax.__file__).parent, Path(tfds_builders.__file__).parent
# A room imports rooms of lower levels and itself; rooms of one level do not import each other.
LEVELS = {
    "errors": 0,
    "whole_files": 0,
    "devices": 0,
    "signals": 1,
    "filters": 1,
    "remote": 1,
    "augment": 2,
    "outputs": 2,
    "preprocessing": 2,
    "evaluate": 3,
    "data": 3,
    "encoders": 3,
    "objectives": 4,
    "train": 4,
    "apply": 4,
    "tpu": 5,
    "pretrained": 5,
    "classifier": 6,
    "adapt": 7,
    "sklearn": 7,
    "workflows": 8,
    "launch": 9,
    "__main__": 10,
}
FACE = PACKAGE / "__init__.py"
FILES = sorted([*PACKAGE.rglob("*.py"), *BUILDERS.rglob("*.py")])
COMMANDS = [PACKAGE / "launch" / f"{name}.py" for name in sorted(__main__.COMMANDS)]


def _name(path: Path) -> str:
    root = PACKAGE if path.is_relative_to(PACKAGE) else BUILDERS
    return str(path.relative_to(root.parent))


each_file = pytest.mark.parametrize("path", FILES, ids=_name)


def _imports(path: Path) -> set[str]:
    """Returns the full names that a file imports, such as ecgjax.train.state.TrainState."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            # `from ecgjax import encoders` imports ecgjax.encoders
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def test_importing_ecgjax_does_not_import_jax():
    code = "import sys, ecgjax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "path", [path for path in sorted(PACKAGE.rglob("*.py")) if path != FACE], ids=_name
)
def test_imports_point_down(path):
    room = _room(path)
    for name in _imports(path):
        if name.startswith("ecgjax."):
            other = name.split(".")[1]
            assert other == room or LEVELS[other] < LEVELS[room], f"{room} imports {name}"


def _importers(package: str) -> set[str]:
    return {
        _name(path)
        for path in FILES
        if any(name.split(".")[0] == package for name in _imports(path))
    }


def test_grain_and_orbax_are_each_imported_by_one_file():
    assert _importers("grain") == {"ecgjax/data/batches.py"}
    assert _importers("orbax") == {"ecgjax/train/checkpoint.py"}


def test_builders_import_errors_and_signals_and_no_jax():
    names = {
        name
        for path in BUILDERS.rglob("*.py")
        for name in _imports(path)
        if name.startswith("ecgjax")
    }
    known = {"ecgjax.errors", "ecgjax.signals", "ecgjax.data.binding", "ecgjax.data.sketches"}
    known.add("ecgjax.whole_files")
    assert {name.rpartition(".")[0] for name in names} == known
    assert not any(name.startswith(("jax", "flax", "grain", "orbax")) for name in names)
    assert not _importers("jax") & {_name(path) for path in BUILDERS.rglob("*.py")}


def test_only_workflows_and_commands_import_the_builders():
    users = {name for name in _importers("tfds_builders") if name.startswith("ecgjax")}
    below = {name for name in users if not name.startswith(("ecgjax/workflows", "ecgjax/launch"))}
    # A model takes raw arrays with the functions of `prepare`, which need no TFDS.
    assert below == {"ecgjax/apply.py"}
    used = {name for name in _imports(PACKAGE / "apply.py") if name.startswith("tfds_builders")}
    assert all(name.startswith("tfds_builders.recording") for name in used)


@each_file
def test_no_file_executes_data(path):
    assert not {name.split(".")[0] for name in _imports(path)} & {
        "pickle",
        "dill",
        "cloudpickle",
        "marshal",
        "shelve",
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__"), called
            assert called.rpartition(".")[2] != "literal_eval" or called == "ast.literal_eval"
            assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", COMMANDS, ids=_name)
def test_commands_are_short(path):
    assert path.read_text().count("\n") <= (116 if path.name == "pretrain.py" else 80)


def test_command_line_knows_every_command():
    parts = {"__init__", "command", "malloc"}
    files = {path.stem for path in (PACKAGE / "launch").glob("*.py")}
    assert files - parts == set(__main__.COMMANDS)


def test_every_room_has_a_level():
    assert {_room(path) for path in PACKAGE.rglob("*.py")} == {*LEVELS, "__init__"}


@each_file
def test_language_is_plain(path):
    """CONTRIBUTING says why: first words of docstrings, identifiers, lines, assignments."""
    tree = ast.parse(path.read_text())
    assert not structure.long_lines(path)
    assert not structure.bad_docstrings(tree)
    assert not structure.bad_identifiers(tree)
    assert not structure.crammed_assignments(tree)


@each_file
def test_functions_have_few_and_typed_arguments(path):
    tree = ast.parse(path.read_text())
    for function in structure.functions(tree):
        count = len(structure.arguments(function))
        assert count <= structure.MOST_ARGUMENTS, f"{function.name} has {count} arguments"
    assert not structure.untyped_arguments(tree)


def test_no_import_leads_back():
    """Imports of types count, too."""
    assert not structure.modules_in_cycles(structure.imports(PACKAGE.parent))


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (structure.bad_docstrings, 'class A:\n    b: int\n    """Of the head."""'),
        (structure.bad_identifiers, "def f(there): ..."),
        (structure.crammed_assignments, "a, b = 1, 2"),
        (structure.untyped_arguments, "def f(x): ..."),
    ],
)
def test_checks_of_the_language_find_faults(check, code):
    assert check(ast.parse(code))
