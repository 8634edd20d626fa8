"""Examination of the installed packages: versions, extras, and the parts of JAX."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ecgjax.workflows.doctor.findings import Finding

NAMED = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")
"""Packages with a line of their own, since bug reports need their versions."""


def examine() -> Iterator[Finding]:
    """Yields findings on Python, the packages that ecgjax requires, and its extras."""
    try:
        about = importlib.metadata.metadata("ecgjax")
    except importlib.metadata.PackageNotFoundError:
        remedy = "run pip install . in its folder, so that versions can be compared"
        yield Finding("PROBLEM", "ecgjax", "is not installed", remedy)
        return
    yield _python(about["Requires-Python"] or "")
    requirements = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    yield from _required([each for each in requirements if _applies(each, "")])
    yield from _jax_parts()
    yield _extras(
        {name: _extra(requirements, name) for name in about.get_all("Provides-Extra") or []}
    )


def installed(name: str) -> str | None:
    """Returns the version of an installed package, None if it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _extra(requirements: list[Requirement], name: str) -> list[Requirement]:
    """Returns the requirements that an extra adds."""
    return [each for each in requirements if _applies(each, name) and not _applies(each, "")]


def _python(versions: str) -> Finding:
    version = platform.python_version()
    if SpecifierSet(versions).contains(version, prereleases=True):
        return Finding("OK", "Python", f"{version} (needed: {versions})")
    remedy = "make an environment with a Python of these versions and install ecgjax in it"
    return Finding("PROBLEM", "Python", f"{version}, but ecgjax needs {versions}", remedy)


def _required(requirements: list[Requirement]) -> Iterator[Finding]:
    others = 0
    for requirement in requirements:
        finding = _package(requirement)
        if finding.level == "OK" and requirement.name not in NAMED:
            others += 1
        else:
            yield finding
    yield Finding("OK", "other packages", f"{others} installed in versions that fit")


def _package(requirement: Requirement) -> Finding:
    version = installed(requirement.name)
    wanted = f"{requirement.name}{requirement.specifier}"
    remedy = f"pip install '{wanted}'"
    if version is None:
        return Finding("PROBLEM", requirement.name, "is not installed", remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        problem = f"{version}, but ecgjax needs {requirement.specifier}"
        return Finding("PROBLEM", requirement.name, problem, remedy)
    needed = f" (needed: {requirement.specifier})" if requirement.specifier else ""
    return Finding("OK", requirement.name, f"{version}{needed}")


def _jax_parts() -> Iterator[Finding]:
    """Yields findings on jaxlib and on plugins for GPUs and TPUs, whose versions must fit jax's."""
    version = installed("jax")
    if version is None:
        return
    parts: dict[str, list[Requirement]] = {}
    for text in importlib.metadata.requires("jax") or []:
        requirement = Requirement(text)
        if requirement.name.startswith(("jaxlib", "jax-cuda", "libtpu")):
            parts.setdefault(requirement.name, []).append(requirement)
    for name, requirements in sorted(parts.items()):
        found = installed(name)
        fits = found and any(
            each.specifier.contains(found, prereleases=True) for each in requirements
        )
        wanted = requirements[0].specifier
        if fits:
            yield Finding("OK", name, f"{found}, which fits jax {version}")
        elif found:
            problem = f"{found} does not fit jax {version}"
            yield Finding("PROBLEM", name, problem, f"pip install '{name}{wanted}'")
        elif name == "jaxlib":
            yield Finding("PROBLEM", name, "is not installed", f"pip install '{name}{wanted}'")


def _extras(extras: dict[str, list[Requirement]]) -> Finding:
    """Returns which extras are installed; one that is not wanted is no fault."""
    present = [name for name, parts in extras.items() if all(map(_is_present, parts))]
    present = [name for name in present if name != "cuda" or installed("jax-cuda12-plugin")]
    present = [name for name in present if name not in ("tpu", "aot") or installed("libtpu")]
    absent = [name for name in extras if name not in present]
    message = f"{', '.join(sorted(present)) or 'none'} installed"
    if not absent:
        return Finding("OK", "extras", message)
    example = absent[0]
    remedy = f"if you need one: pip install '{_source()}[{example}]'"
    return Finding("OK", "extras", f"{message}, not {', '.join(sorted(absent))}", remedy)


def _is_present(requirement: Requirement) -> bool:
    version = installed(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _source() -> str:
    """Returns what pip is given to install ecgjax: the checkout of an editable installation."""
    text = importlib.metadata.distribution("ecgjax").read_text("direct_url.json") or ""
    return "." if '"editable": true' in text else "ecgjax"


def header() -> str:
    """Returns the first lines of a bug report: versions of ecgjax, Python and the system."""
    import ecgjax

    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    environment = "a virtual" if sys.prefix != sys.base_prefix else "no virtual"
    return f"ecgjax {ecgjax.__version__}, {python} ({environment} environment), {system}"
