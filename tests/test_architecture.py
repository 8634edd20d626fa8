"""What is imported by what, and what is nowhere: the shape of the code base, read from its syntax trees."""

import ast
from pathlib import Path

import pytest

import ecgjax
import tfds_builders

PACKAGE, BUILDERS = Path(ecgjax.__file__).parent, Path(tfds_builders.__file__).parent
# Each may import what stands before it, and its own room; data and encoders do not know each other.
LEVELS = {
    "errors": 0,
    "devices": 0,
    "signals": 1,
    "remote": 1,
    "augment": 2,
    "preprocessing": 2,
    "evaluate": 3,
    "data": 3,
    "encoders": 3,
    "objectives": 4,
    "train": 4,
    "tpu": 5,
    "pretrained": 5,
    "adapt": 6,
    "workflows": 7,
    "launch": 8,
}
FILES = sorted([*PACKAGE.rglob("*.py"), *BUILDERS.rglob("*.py")])
COMMANDS = sorted(path for path in (PACKAGE / "launch").glob("*.py") if path.name != "__init__.py")


def _name(path: Path) -> str:
    root = PACKAGE if path.is_relative_to(PACKAGE) else BUILDERS
    return str(path.relative_to(root.parent))


each_file = pytest.mark.parametrize("path", FILES, ids=_name)


def _at_run_time(tree: ast.AST):
    """All nodes but those below `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _at_run_time(node)


def _imports(path: Path) -> set[str]:
    """Modules that a file imports, in full: ecgjax.train.state for `from ecgjax.train.state import TrainState`."""
    found = set()
    for node in _at_run_time(ast.parse(path.read_text())):
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=_name)
def test_imports_point_down(path):
    if path == PACKAGE / "__init__.py":
        assert not any(name.startswith("ecgjax") for name in _imports(path)), (
            "import ecgjax must stay light"
        )
        return
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


def test_one_room_knows_grain_and_one_file_orbax():
    assert _importers("grain") == {"ecgjax/data/batches.py"}
    assert _importers("orbax") == {"ecgjax/train/checkpoint.py"}


def test_builders_know_the_stored_recording_and_no_jax_work():
    of_ecgjax = {
        name
        for path in BUILDERS.rglob("*.py")
        for name in _imports(path)
        if name.startswith("ecgjax")
    }
    assert {name.rpartition(".")[0] for name in of_ecgjax} == {"ecgjax.errors", "ecgjax.signals"}
    assert not any(name.startswith(("jax", "flax", "grain", "orbax")) for name in of_ecgjax)
    assert not _importers("jax") & {_name(path) for path in BUILDERS.rglob("*.py")}


def test_only_commands_that_convert_know_the_builders():
    assert {name for name in _importers("tfds_builders") if name.startswith("ecgjax")} <= {
        "ecgjax/launch/prepare.py",
        "ecgjax/launch/pretrain.py",
    }


@each_file
def test_nothing_executes_what_it_reads(path):
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
    assert path.read_text().count("\n") <= (80 if path.name == "pretrain.py" else 60)


def test_rooms_are_those_of_the_plan():
    assert {_room(path) for path in PACKAGE.rglob("*.py")} == {*LEVELS, "__init__"}
