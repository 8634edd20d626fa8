"""Parameters after 30 steps of every method, to prove that a change of the code changes none.

    python benchmarks/thirty_steps.py TREE OUT              runs the code in TREE, on the CPU
    python benchmarks/thirty_steps.py --compare OUT OTHER   compares the checkpoints of two trees

A tree is a folder that holds the package `ecgjax`, such as a git worktree of an earlier commit.
Needs nothing of ecgjax itself, so that it can run any version.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

OBJECTIVES = ("patient_contrast", "simclr", "byol", "swav", "cpc", "clocs", "lead_bootstrap")
OBJECTIVES += ("adversarial", "masked_autoencoder", "jepa", "temporal_spatial", "wav2vec_cmsc")
STEPS = ["--epochs", "0", "--min-steps", "30"]
METHODS = {
    "finetune": [*STEPS, "--batch-size", "16"],
    "linear_probe": [],
    "consistency": [*STEPS, "--batch-size", "16"],
}


def run_all(tree: Path, out: Path) -> None:
    """Runs every method in `tree`; what is in `out` already is not run again."""
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "JAX_PLATFORMS": "cpu"}
    out = out.resolve()
    data = out / "data/synthetic/100hz/2.0.0"

    def run(name: str, *options: str | Path) -> None:
        words = [sys.executable, "-m", f"ecgjax.launch.{name}", *map(str, options)]
        subprocess.run(words, cwd=tree, env=environment, check=True)

    run("prepare", "--dataset", "synthetic/100hz", "--out", out / "data")
    for name in OBJECTIVES:
        options = ["--num-steps", "30", "--batch-size", "16", "--no-first-look"]
        run("pretrain", "--data", data, "--objective", name, "--workdir", out / name, *options)
    start = ["--data", data, "--checkpoint", out / "patient_contrast", "--task", "af"]
    for name, options in METHODS.items():
        folder = out / f"labels-{name}"
        run("finetune", *start, "--labels", "60", "--method", name, "--workdir", folder, *options)
    waves = ["--task", "waves", "--method", "local_contrast", "--labels", "10", *STEPS]
    run("finetune", "--data", data, *waves, "--workdir", out / "labels-local_contrast")


def hashes(workdir: Path) -> dict[str, str]:
    """Returns the SHA-256 of each array in the newest checkpoint of a run."""
    folders = list((workdir / "checkpoints").glob("[0-9]*"))
    if not folders:
        sys.exit(f"error: {workdir}: no checkpoint; run the methods of this tree first")
    newest = max(folders, key=lambda folder: int(folder.name))
    manifest = json.loads(next((newest / "manifest").glob("*.json")).read_text())
    return {name: digest for name, digest in manifest.items() if name != "config"}


def compare(out: Path, other: Path) -> bool:
    """Prints a line for each run, and returns whether all arrays of all runs are equal."""
    equal = True
    for workdir in sorted(path.parent for path in out.glob("*/checkpoints")):
        before = hashes(workdir)
        after = hashes(other / workdir.name)
        names = {*before, *after}
        different = sum(before.get(name) != after.get(name) for name in names)
        print(f"{workdir.name:24}{len(names):5} arrays, {different} different")
        equal = equal and not different
    return equal


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        sys.exit(not compare(Path(sys.argv[2]), Path(sys.argv[3])))
    run_all(Path(sys.argv[1]), Path(sys.argv[2]))
