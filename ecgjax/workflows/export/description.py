"""Description of an exported file: a table for programs, and a text on how to run it."""

import dataclasses
import json
from typing import Any

import jax

import ecgjax
from ecgjax.classifier import Classifier
from ecgjax.workflows.export.program import Program

PROGRAMS = ("stablehlo", "onnx")
"""Formats that hold a program; the others hold weights."""
RUN = {
    "stablehlo": """pip install "jax=={jax}" flatbuffers numpy     # ecgjax is not needed

import jax.numpy as jnp
from jax import export

program = export.deserialize(bytearray(open("{name}", "rb").read()))
results = program.call(jnp.asarray(signals))
{results}""",
    "onnx": """pip install onnxruntime numpy     # ecgjax and JAX are not needed

import onnxruntime

session = onnxruntime.InferenceSession("{name}")
results = dict(zip({names}, session.run({names}, {{"signal": signals}})))
{results}""",
    "safetensors": """pip install safetensors numpy     # ecgjax and JAX are not needed

import json
import safetensors

with safetensors.safe_open("{name}", "numpy") as file:
    weights = {{name: file.get_tensor(name) for name in file.keys()}}
    description = json.loads(file.metadata()["ecgjax"])

# With ecgjax, the model is rebuilt from this file alone:
from pathlib import Path
from ecgjax.workflows.export.safetensors import rebuild

model = rebuild(Path("{name}"))""",
    "ecgjax": """pip install ecgjax

import ecgjax

model = ecgjax.load("{name}")
embeddings = model.embed(signals, rate_hz={rate_hz:g}, leads={leads}, units="mV")""",
}


def describe(program: Program, options: Any) -> dict:
    """Returns what a user of the file must know, as JSON takes it."""
    encoder = program.encoder
    config = encoder.config
    batch = "batch" if options.dynamic_batch else 1
    table = {
        "made_by": f"ecgjax {ecgjax.__version__}, jax {jax.__version__}",
        "format": options.format,
        "weights": program.model.fingerprint,
        "trained_on": config.get("data"),
        "license": "the terms of the data that the weights were trained on apply to them",
        "encoder": config["encoder"],
        "preprocessing": json.loads(json.dumps(dataclasses.asdict(encoder.preprocessing))),
        "embedding": encoder.dimension,
    }
    if isinstance(program.model, Classifier):
        table["outputs_of_head"] = program.model.outputs.to_config()
        table["window_s"] = program.model.window_s
    if options.format in PROGRAMS:
        table["input"] = {
            "name": "signal",
            "shape": [batch, program.samples, len(program.leads)],
            "type": "float32",
            "unit": "mV",
            "missing": "NaN",
            "rate_hz": program.rate_hz,
            "seconds": program.samples / program.rate_hz,
            "leads": list(program.leads),
        }
        table["outputs"] = {name: [batch, width] for name, width in program.widths.items()}
    return table


def manual(description: dict, name: str) -> str:
    """Returns a text in Markdown: the file, its inputs and results, and lines that run it."""
    kind = "program" if description["format"] in PROGRAMS else "weights"
    head = f"# {name}\n\nAn ECG encoder of ecgjax as a {kind} ({description['format']}), "
    head += f"weights {description['weights']}, trained on {description['trained_on']}. "
    head += "The weights come under the terms of that data. Not for diagnosis.\n"
    parts = [head, _input(description)] if kind == "program" else [head]
    leads = description["preprocessing"]["leads"]
    outputs = description.get("outputs", {})
    lines = RUN[description["format"]].format(
        name=name,
        jax=jax.__version__,
        names=list(outputs),
        results="\n".join(_result(description, *output) for output in outputs.items()),
        rate_hz=description["preprocessing"]["rate_hz"],
        leads=leads,
    )
    return "\n".join([*parts, "```", lines, "```", ""])


def _input(description: dict) -> str:
    given = description["input"]
    batch, samples, leads = given["shape"]
    return f"""`signals` is float32 [{batch}, {samples}, {leads}]: {given["seconds"]:g} s at \
{given["rate_hz"]:g} Hz, in mV, NaN for missing samples, leads
{" ".join(given["leads"])}. All preprocessing is inside: do not filter, scale or resample.
A recording must fill the length; cut longer ones into pieces, and export again for shorter ones.
A recording that is no ECG (all samples missing, no lead over 0.05 mV, wrong unit) has NaN results.
"""


def _result(description: dict, name: str, shape: list) -> str:
    if name == "embedding":
        return f'results["embedding"]   # float32 {shape}'.replace("'", "")
    outputs = description["outputs_of_head"]
    kind = "numbers" if outputs["kind"] == "numbers" else "probabilities"
    names = ", ".join(outputs["names"][:8])
    return f'results["prediction"]  # {kind} of {outputs["target"]}: {names}'
