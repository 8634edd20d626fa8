"""Measurements of a code base's structure and language, from its syntax trees.

    python tests/helpers/structure.py ROOT [ROOT ...]

prints a Markdown table with a column for each root. It needs the standard library only.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PACKAGES = ("ecgjax", "tfds_builders")
LONGEST_LINE = 100
MOST_ARGUMENTS = 8
FIRST_WORDS = {"As", "By", "For", "From", "How", "In", "Lest", "Of", "On", "That", "There", "To"}
FIRST_WORDS |= {"What", "When", "Where", "Whether", "Which", "Who", "Whose", "With", "Without"}
"""Words that do not begin a docstring: its first sentence is a verb phrase or a noun phrase."""
NAMES = {"aim", "at", "beside", "by", "how", "lest", "like", "more", "near", "of", "once", "ours"}
NAMES |= {"said", "theirs", "there", "told", "upon", "veil", "what", "where", "who", "with"}
"""Identifiers that say nothing: prepositions, pronouns and riddles."""
PREFIXES = ("of_", "say_", "tell_")
OPTIONS = {"negatives_of"}
"""Names that stay, since they are options in the configs of checkpoints."""


def files(root: Path) -> list[Path]:
    """Returns the Python files of the packages below a root."""
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))


def long_lines(path: Path) -> list[int]:
    """Returns the numbers of lines that are too long."""
    lines = path.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if len(line) > LONGEST_LINE]


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of all docstrings, those of attributes included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text.strip()


def bad_docstrings(tree: ast.AST) -> list[str]:
    """Returns the docstrings that begin with one of `FIRST_WORDS`."""
    firsts = ((line, text.split()[:1]) for line, text in docstrings(tree))
    return [
        f"line {line}: {first[0]}" for line, first in firsts if first and first[0] in FIRST_WORDS
    ]


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields (line, name) wherever a name is given: to a variable, argument, function or class."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name


def bad_identifiers(tree: ast.AST) -> list[str]:
    """Returns the identifiers that are, or begin or end with, a preposition or a riddle."""
    bad = []
    for line, name in identifiers(tree):
        word = name.strip("_").lower()
        if name in OPTIONS:
            continue
        if word in NAMES or word.startswith(PREFIXES) or word.endswith("_of"):
            bad.append(f"line {line}: {name}")
    return bad


def crammed_assignments(tree: ast.AST) -> list[str]:
    """Returns the statements that assign several unrelated values."""
    bad = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            pair = isinstance(target, ast.Tuple) and len(target.elts) == 2
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            unpacked = pair and isinstance(node.value, ast.GeneratorExp)
            if several or unpacked or len(node.targets) > 1:
                bad.append(f"line {node.lineno}: {ast.unparse(node)[:60]}")
    return bad


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    """Returns all functions and methods."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    """Returns the arguments of a function without `self` and `cls`."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def untyped_arguments(tree: ast.AST) -> list[str]:
    """Returns the arguments of public functions that have no type."""
    return [
        f"line {function.lineno}: {function.name}({argument.arg})"
        for function in functions(tree)
        if not function.name.startswith("_")
        for argument in arguments(function)
        if argument.annotation is None
    ]


def length(function: ast.FunctionDef) -> int:
    """Returns the number of lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def imports(root: Path) -> dict[str, set[str]]:
    """Returns, for each module of the packages, the modules that it imports, types included."""
    paths = {_module(path, root): path for path in files(root)}
    graph: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & paths.keys()
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    graph[name] |= {full if full in paths else str(node.module)} & paths.keys()
    return graph


def _module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def modules_in_cycles(graph: dict[str, set[str]]) -> list[str]:
    """Returns the modules from which imports lead back to themselves."""
    return sorted(name for name in graph if name in _reached(graph, name))


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


def measure(root: Path) -> dict[str, str]:
    """Returns the measurements of a root by name."""
    paths = files(root)
    trees = [ast.parse(path.read_text()) for path in paths]
    sizes = sorted((len(path.read_text().splitlines()), _module(path, root)) for path in paths)
    every = [function for tree in trees for function in functions(tree)]
    lengths = sorted((length(function), function.name) for function in every)
    counts = sorted((len(arguments(function)), function.name) for function in every)

    def total(check: Callable[[ast.AST], Iterable]) -> str:
        return f"{sum(len(list(check(tree))) for tree in trees):,}"

    return {
        "files": f"{len(paths)}",
        "lines": f"{sum(size for size, _ in sizes):,}",
        f"lines over {LONGEST_LINE} characters": f"{sum(map(len, map(long_lines, paths))):,}",
        "docstrings": total(docstrings),
        "docstrings that begin with a banned word": total(bad_docstrings),
        "banned identifiers": total(bad_identifiers),
        "several assignments in one": total(crammed_assignments),
        "public arguments without a type": total(untyped_arguments),
        "modules in import cycles": f"{len(modules_in_cycles(imports(root)))}",
        "largest file, lines": _largest(sizes),
        "lines of a function, median": f"{lengths[len(lengths) // 2][0]}",
        "lines of a function, 90th percentile": f"{lengths[len(lengths) * 9 // 10][0]}",
        "lines of a function, most": _largest(lengths),
        "arguments of a function, most": _largest(counts),
    }


def _largest(sizes: list[tuple[int, str]]) -> str:
    size, name = sizes[-1]
    return f"{size} ({name})"


def main() -> None:
    """Prints the table."""
    columns = {root: measure(Path(root)) for root in sys.argv[1:] or ["."]}
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name in next(iter(columns.values())):
        print(f"| {name} | " + " | ".join(column[name] for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
