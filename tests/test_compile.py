"""Compilation for TPU slices: the HLO parser, the cost model, and, with libtpu, a small step."""

import functools
import importlib.util
import json
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from conftest import CROPS

from ecgjax.errors import InputError
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.tpu import ahead_of_time, flops, hlo, scaling
from ecgjax.tpu.ahead_of_time import CompiledStep
from ecgjax.tpu.hlo import Collective
from ecgjax.tpu.report import describe
from ecgjax.tpu.slices import parse_slice
from ecgjax.workflows import compile as compiling
from ecgjax.workflows.compile import compile_and_report, compile_pretraining
from ecgjax.workflows.pretrain import Pretraining

needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="needs pip install '.[aot]'"
)

TEXT = """HloModule jit_step, is_scheduled=true, \
entry_computation_layout={(f32[64,128]{1,0})->f32[64,128]{1,0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%body.1 (state.1: (s32[], f32[512,128])) -> (s32[], f32[512,128]) {
  %state.1 = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) parameter(0)
  %part = f32[64,128]{1,0:T(8,128)S(1)} get-tuple-element(%state.1), index=1
  %work = f32[64,128]{1,0:T(8,128)} negate(%part), \
backend_config={"window_config":{"estimated_cycles":"100"}}
  %gathered = f32[512,128]{1,0:T(8,128)} all-gather(%part), channel_id=1, dimensions={0}, \
replica_groups=[1,8]<=[8]
  ROOT %out = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) tuple(%part, %gathered)
}

%condition.1 (state.2: (s32[], f32[512,128])) -> pred[] {
  %state.2 = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) parameter(0)
  ROOT %more = pred[]{:T(512)} constant(true)
}

%fused (p: bf16[1024]) -> bf16[128] {
  %p = bf16[1024]{0:T(1024)(128)(2,1)} parameter(0)
  ROOT %scattered = bf16[128]{0:T(1024)(128)(2,1)} reduce-scatter(%p), replica_groups={}, \
to_apply=%add
}

%all-reduce-scatter (q: f32[64,128]) -> f32[8,128] {
  %q = f32[64,128]{1,0:T(8,128)} parameter(0)
  %reduced = f32[64,128]{1,0:T(8,128)} all-reduce(%q), channel_id=4, to_apply=%add
  ROOT %own = f32[8,128]{1,0:T(8,128)} dynamic-slice(%reduced), dynamic_slice_sizes={8,128}
}

%sliced (whole: f32[512,128], at: s32[]) -> f32[8,128] {
  %whole = f32[512,128]{1,0:T(8,128)} parameter(0)
  %at = s32[]{:T(128)} parameter(1)
  ROOT %piece = f32[8,128]{1,0:T(8,128)} dynamic-slice(%whole, %at), dynamic_slice_sizes={8,128}
}

%updated (all: f32[512,128], new: f32[8,128], to: s32[]) -> f32[512,128] {
  %all = f32[512,128]{1,0:T(8,128)} parameter(0)
  %new = f32[8,128]{1,0:T(8,128)} parameter(1)
  %to = s32[]{:T(128)} parameter(2)
  ROOT %with = f32[512,128]{1,0:T(8,128)} dynamic-update-slice(%all, %new, %to, %to)
}

ENTRY %main.9_spmd (p0: f32[64,128]) -> f32[64,128] {
  %p0 = f32[64,128]{1,0:T(8,128)} parameter(0), metadata={op_name="all-reduce(x)"}
  %init = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) tuple(%p0, %p0)
  %loop = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) while(%init), condition=%condition.1, \
body=%body.1, \
backend_config={"known_trip_count":{"n":"5"},"cost":"1"}
  %loop.2 = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) while(%loop), condition=%condition.1, \
body=%body.1
  %both = (f32[64]{0:T(128)}, f32[]{:T(128)}) all-reduce(%p0, %p0), channel_id=2, to_apply=%add
  %start = (f32[8,128]{1,0:T(8,128)}, f32[64,128]{1,0:T(8,128)}) all-gather-start(%p0), \
channel_id=3, dimensions={0}
  %done = f32[64,128]{1,0:T(8,128)} all-gather-done(%start)
  %fusion.1 = bf16[128]{0:T(1024)(128)(2,1)} fusion(%p0), kind=kCustom, calls=%fused
  %fusion.2 = f32[8,128]{1,0:T(8,128)} fusion(%done), kind=kCustom, calls=%all-reduce-scatter
  ROOT %result = f32[64,128]{1,0:T(8,128)} copy(%done)
}
"""


def test_a_program_has_its_collectives_each_with_its_number_of_runs():
    program = hlo.parse_program(TEXT)
    assert program.collectives == {
        # five iterations of the loop, one of the loop of unknown length
        Collective("all-gather", 512 * 128 * 4): 5 + 1,
        Collective("all-reduce", 64 * 4 + 4): 1,
        Collective("all-gather", 64 * 128 * 4): 1,  # a start and its end count once
        Collective("reduce-scatter", 128 * 2): 1,
        Collective("reduce-scatter", 8 * 128 * 4): 1,
    }
    assert program.unbounded_loops == 1
    assert program.cycles == 6 * 100


def test_traffic_counts_hbm_only_and_of_a_slice_only_its_piece():
    entry = """
ENTRY %main (p0: f32[512,128], i: s32[]) -> f32[512,128] {
  %p0 = f32[512,128]{1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)S(2)} parameter(1)
  %near = f32[512,128]{1,0:T(8,128)S(1)} negate(%p0)
  %piece.1 = f32[8,128]{1,0:T(8,128)} fusion(%p0, %i), kind=kLoop, calls=%sliced
  %sum.1 = f32[8,128]{1,0:T(8,128)} add(%piece.1, %piece.1)
  ROOT %stored = f32[512,128]{1,0:T(8,128)} fusion(%p0, %sum.1, %i), kind=kLoop, calls=%updated
}
"""
    whole = 512 * 128 * 4
    piece = 8 * 128 * 4
    program = hlo.parse_program(TEXT[: TEXT.index("ENTRY")] + entry)
    assert program.traffic_bytes == whole + (2 + 3 + 2) * piece


def test_bytes_of_shapes():
    shape = "(f32[64,128]{1,0:T(8,128)S(1)}, /*index=1*/bf16[8]{0}, pred[3]{0}, u32[])"
    assert hlo.shape_bytes(shape) == 32768 + 16 + 7


def test_collective_times_against_hand_computed_values():
    pod = parse_slice("v5e:16x16")
    host = parse_slice("v5e:2x4")
    # Rings of 16: 8 + 8 hops, four links of 50 GB/s; lines of 2 and 4: 1 + 3 hops, two links.
    assert pod.seconds("all-reduce", 100, 0) == pytest.approx(100 * 32e-6)
    assert pod.seconds("all-reduce", 0, 1e9) == pytest.approx(2 * 1e9 * 255 / 256 / 200e9)
    assert host.seconds("all-gather", 1, 1e9) == pytest.approx(4e-6 + 1e9 * 7 / 8 / 100e9)
    assert host.seconds("reduce-scatter", 1, 1e9 / 8) == pytest.approx(
        host.seconds("all-gather", 1, 1e9)
    )
    assert host.seconds("collective-permute", 1, 1e9) == pytest.approx(4e-6 + 0.02)
    assert host.seconds("all-to-all", 1, 1e9 / 8) == pytest.approx(4e-6 + 1e9 / 4 / 100e9)
    # A cube of 4x4x4 is a torus: 2 + 2 + 2 hops, six links of 100 GB/s; anything smaller is not.
    assert parse_slice("v5p:4x4x4").seconds("all-gather", 1, 6e9) == pytest.approx(
        6e-6 + 6e9 * 63 / 64 / 600e9
    )
    assert parse_slice("v5p:2x2x4").seconds("all-gather", 1, 0) == pytest.approx(5e-6)
    assert parse_slice("v5e:1x1").seconds("all-reduce", 1, 1e9) == 0


def _step(chips: int, *, gathered: int) -> CompiledStep:
    collectives = Counter(
        {Collective("all-reduce", 1000): 10, Collective("all-gather", gathered): 1}
    )
    program = hlo.Program(
        collectives, traffic_bytes=819_000_000, cycles=3_000_000, unbounded_loops=0
    )
    return CompiledStep(
        slice=parse_slice("v5e:2x4").resized(chips),
        batch_size=32 * chips,
        recordings=64 * chips,
        flops=1e9 * chips,
        hbm_bytes=3 * 2**30,
        temp_bytes=2**30,
        program=program,
        compile_s=1,
    )


def test_weak_scaling_between_two_compiled_ends():
    compiled = []

    def compile_scaled(slice):
        compiled.append(slice.name)
        return _step(slice.chips, gathered=100 * slice.chips)

    step = _step(64, gathered=6400)
    rows = scaling.weak_scaling(step, compile_scaled)
    assert compiled == ["v5e:2x4", "v5e:16x16"]
    assert [row.slice.chips for row in rows] == [8, 16, 32, 64, 128, 256]
    assert [row.recordings for row in rows] == [64 * row.slice.chips for row in rows]
    assert [row.collectives["all-gather"] for row in rows] == [
        (1, 100 * row.slice.chips) for row in rows
    ]
    assert rows[3] == scaling.estimate(step)
    # 1 ms of traffic, 2 ms of cycles at 1.5 GHz. On 2x4: 10 all-reduces of 8 us, a gather of 4 us.
    assert rows[0].step_s == pytest.approx((1e-3 + 84e-6, 2e-3 + 84e-6), rel=1e-3)
    assert rows[5].collectives_s == pytest.approx(10 * 32e-6 + 16e-6, rel=1e-2)
    report = json.loads(json.dumps(describe("compact_resnet", step, rows)))
    assert report["weak_scaling"][0]["efficiency_roofline"] == 1
    assert report["weak_scaling"][5]["efficiency_cycles"] == pytest.approx(2084 / 2336, rel=1e-2)
    # 13.75 of 15.75 GiB are free for intermediates, and 32 pairs per chip take 1 GiB of them.
    assert report["largest_batch_size"] == int(32 * 13.75) * 64


@pytest.mark.parametrize("name", ["v5e", "v5e:", "v5e:16*16", "v7:2x2", "v5e:0x4", "v5e:16x"])
def test_wrong_topologies_are_refused(name):
    with pytest.raises(InputError, match="v5e:16x16"):
        parse_slice(name)


def test_common_slices_of_a_generation():
    slices = [parse_slice("v6e:2x2").resized(chips) for chips in (8, 256)]
    assert [slice.name for slice in slices] == ["v6e:2x4", "v6e:16x16"]
    assert parse_slice("v5p:2x2x1").resized(128).chips == 128


def test_flops_of_products_convolutions_and_loops():
    def network(signal, kernel, weights):
        for _ in range(2):
            signal = jax.lax.conv_general_dilated(
                signal, kernel, (2,), [(2, 2)], dimension_numbers=("NWC", "WIO", "NWC")
            )
        return jax.lax.scan(
            lambda hidden, weight: (hidden @ weight, None), signal.mean(1), weights
        )[0].sum()

    shapes = jnp.zeros((4, 64, 8)), jnp.zeros((5, 8, 8)), jnp.zeros((3, 8, 8))
    forward = 2 * 4 * (32 + 16) * 5 * 8 * 8 + 3 * 2 * 4 * 8 * 8
    assert flops.count(jax.jit(network).trace(*shapes).jaxpr) == forward
    # The backward pass has twice the FLOPs of the forward pass; the zeros of strides do not count.
    gradient = jax.jit(jax.grad(network, argnums=(0, 1, 2))).trace(*shapes)
    assert flops.count(gradient.jaxpr) == pytest.approx(3 * forward)


SETTINGS = Pretraining(
    objective=PatientContrast(projection=(16, 128), augmentation=CROPS), batch_size=64
)
STORED = {"samples": 400, "rate_hz": 100.0}


@pytest.fixture(scope="module")
def compile_once():
    """Compiles each step once: JAX cannot read a compiled TPU program back from its cache."""
    return functools.cache(compile_pretraining)


@needs_libtpu
def test_a_small_step_for_eight_chips(tiny_encoders, compile_once):
    step = compile_once(SETTINGS, parse_slice("v5e:2x4"), **STORED, effort=-1.0)
    views = 128
    width = 8
    kernels = 7 * 12 * width + 11 * width * width
    head = 16 * 16 + 16 + 16 * 128 + 128
    parameter_bytes = 4 * (kernels + 4 * 2 * width + head)
    # A view has 250 samples. The signal has no gradient: the stem needs 2 products, other layers 3.
    stem = 125 * 7 * 12 * 8
    others = 63 * 11 * 8 * 8 + 16 * 16 + 16 * 128
    loss = views * 128
    # The baseline of 400 samples of 12 leads, from 40 blocks: two sums over blocks, interpolation.
    baseline = (40 + 40 + 400) * 40 * 12
    products = baseline + 2 * stem + 3 * others + 3 * loss
    assert step.flops * 8 == pytest.approx(2 * views * products, rel=0.01)
    exchanged = scaling.totals(step.program.collectives)
    statistics = 4 * 4 * width * 4
    embeddings = views * 128 * 4
    # The kernels' gradients are computed and exchanged in bfloat16: half of their four bytes.
    fewest = parameter_bytes - 2 * kernels + statistics
    most = parameter_bytes + statistics + embeddings + 4096
    assert fewest <= exchanged["all-reduce"][1] <= most
    assert exchanged["all-gather"][1] >= embeddings / 2  # at least in bfloat16
    assert step.batch_size == 64 and step.recordings == views
    assert 0 < step.hbm_bytes < 2**30 and step.program.cycles > 0


@needs_libtpu
def test_weak_scaling_compiles_the_ends_with_batches_in_proportion(
    tiny_encoders, compile_once, monkeypatch, capsys
):
    monkeypatch.setattr(compiling, "compile_pretraining", compile_once)
    slice = parse_slice("v5e:2x4")
    report = compile_and_report(SETTINGS, slice, effort=-1.0, estimate_scaling=True, **STORED)
    rows = report["weak_scaling"]
    assert [row["recordings"] for row in rows] == [2 * 8 * row["chips"] for row in rows]
    assert report["batch_size"] == 64 and rows[0]["step_s_cycles"] == report["step_s_cycles"]
    printed = capsys.readouterr().out
    assert "all-gather" in printed and "v5e:16x16" in printed


@needs_libtpu
def test_a_slice_that_libtpu_refuses():
    with pytest.raises(InputError, match="v5e:3x5: .*; common shapes are 2x4, 4x4"):
        ahead_of_time.devices(parse_slice("v5e:3x5"))


@needs_libtpu
def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(InputError, match="give --batch-size a multiple of 8"):
        compile_pretraining(Pretraining(batch_size=12), parse_slice("v5e:2x4"), **STORED)


def test_missing_libtpu_is_reported(monkeypatch):
    def missing(**_):
        raise RuntimeError("JAX TPU support not installed; cannot generate TPU topology.")

    monkeypatch.setattr(ahead_of_time.topologies, "get_topology_desc", missing)
    with pytest.raises(InputError, match=r"pip install 'ecgjax\[aot\]'"):
        ahead_of_time.devices(parse_slice("v5e:2x4"))
