"""Programs as ONNX files, for ONNX Runtime."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecgjax.encoders.parts.platforms import plain
from ecgjax.workflows.export.onnx_trace import trace
from ecgjax.workflows.export.program import Program

OPERATORS = 18
"""Version of ONNX's operators, of 2022; ONNX Runtime has it since version 1.14."""
FORMAT = 8
"""Version of the file format that belongs to it."""


def write(program: Program, path: Path, description: dict) -> None:
    """Writes the program, with its weights and the description."""
    import onnx
    from onnx import TensorProto, helper

    batch, *shape = description["input"]["shape"]
    dynamic = batch == "batch"
    with plain():
        graph, results = trace(lambda signal: program(signal), (1, *shape), dynamic=dynamic)
    outputs = [helper.make_node("Identity", [value], [name]) for name, value in results.items()]
    model = helper.make_model(
        helper.make_graph(
            [*graph.nodes, *outputs],
            "ecgjax",
            [helper.make_tensor_value_info("signal", TensorProto.FLOAT, [batch, *shape])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width])
                for name, width in program.widths.items()
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPERATORS)],
        ir_version=FORMAT,
        producer_name="ecgjax",
    )
    helper.set_model_props(model, {"ecgjax": json.dumps(description)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def read(path: Path, program: Program) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns the function in a file, which ONNX Runtime runs on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        path.read_bytes(), settings, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(signals: np.ndarray) -> dict[str, np.ndarray]:
        results = map(np.asarray, session.run(names, {"signal": signals}))
        return dict(zip(names, results, strict=True))

    return run
