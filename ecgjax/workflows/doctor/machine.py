"""Examination of the machine: processors, memory, disk, limits, caches and the environment."""

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ecgjax.remote import cache
from ecgjax.workflows.doctor.findings import Finding

GB = 1e9
LEAST_MEMORY_GB = 4.0
"""Memory that `pretrain` with its defaults and the compiler need on a CPU, rounded up."""
LEAST_DISK_GB = 2.0
"""PTB-XL at 100 Hz takes 0.5 GB, a few checkpoints as much."""
LEAST_SHARED_MB = 200
"""Docker gives 64 MB of shared memory, in which NCCL (several GPUs) does not start."""
LEAST_FILES = 1024
"""Open files: one per shard of every data set, checkpoints, sockets."""
VARIABLES = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "XLA_FLAGS")


def examine() -> Iterator[Finding]:
    """Yields findings on everything but JAX's devices."""
    yield _processors()
    yield _memory()
    yield from _disk()
    if Path("/dev/shm").is_dir():
        yield _shared_memory()
    yield _open_files()
    yield _compile_cache()
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        remedy = "set LC_ALL=C.UTF-8, since file names with accents cannot be read"
        yield Finding("PROBLEM", "file names", sys.getfilesystemencoding(), remedy)
    yield from _environment()


def _processors() -> Finding:
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        count = len(os.sched_getaffinity(0))
    return Finding("OK", "processors", f"{count} for this process")


def _memory() -> Finding:
    total, free = memory_bytes()
    message = f"{free / GB:.1f} GB free of {total / GB:.1f} GB"
    if free / GB >= LEAST_MEMORY_GB:
        return Finding("OK", "memory", message)
    remedy = f"close other programs, or ask for {LEAST_MEMORY_GB:g} GB or more"
    return Finding("NOTE", "memory", message, remedy)


def memory_bytes() -> tuple[int, int]:
    """Returns the total and the free memory in bytes, within the limit of a container or job."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = total
    if "SC_AVPHYS_PAGES" in os.sysconf_names:  # not on macOS
        free = page * os.sysconf("SC_AVPHYS_PAGES")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = 1024 * int(line.split()[1])
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    if limit and limit < total:
        used = _number(Path("/sys/fs/cgroup/memory.current")) or 0
        return limit, min(free, limit - used)
    return total, free


def _disk() -> Iterator[Finding]:
    places = {"this folder": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    for name, folder in places.items():
        subject = f"disk of {name}"
        free = shutil.disk_usage(folder).free
        message = f"{free / GB:,.1f} GB free"
        if free / GB >= LEAST_DISK_GB:
            yield Finding("OK", subject, message)
        else:
            remedy = "delete files" if folder == Path.cwd() else "set TMPDIR to a larger folder"
            yield Finding("PROBLEM", subject, message, remedy)


def _shared_memory() -> Finding:
    size_mb = shutil.disk_usage("/dev/shm").total / 1e6
    if size_mb >= LEAST_SHARED_MB:
        return Finding("OK", "shared memory", f"{size_mb:,.0f} MB")
    remedy = "for several GPUs start the container with --shm-size 2g"
    return Finding("NOTE", "shared memory", f"only {size_mb:,.0f} MB", remedy)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= LEAST_FILES:
        count = "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft:,}"
        return Finding("OK", "open files", count)
    remedy = "ulimit -n 4096, since every shard of a data set is one"
    return Finding("NOTE", "open files", f"only {soft:,} at once", remedy)


def _compile_cache() -> Finding:
    """Returns whether compiled programs can be kept; they are compiled at every start if not."""
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or cache("compiled"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"{folder} cannot be written to ({error.strerror}), so every start compiles anew"
        remedy = "set JAX_COMPILATION_CACHE_DIR to a folder of yours"
        return Finding("NOTE", "compiled programs", message, remedy)
    return Finding("OK", "compiled programs", f"kept in {folder}")


def _environment() -> Iterator[Finding]:
    """Yields the variables that change what JAX does."""
    names = [name for name in os.environ if name.startswith(("JAX_", "XLA_PYTHON_"))]
    for name in sorted({*names, *VARIABLES} & os.environ.keys()):
        yield Finding("OK", "environment", f"{name}={os.environ[name]}")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None
