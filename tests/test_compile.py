"""The step compiled for TPU slices: the reading of HLO, the cost model, and a small compilation where libtpu is."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from ecgjax.signals import InputError
from ecgjax.train import flops, hlo
from ecgjax.train.hlo import Collective
from ecgjax.train.tpu import parse_slice

needs_libtpu = pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs pip install '.[aot]'")

TEXT = """HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[64,128]{1,0})->f32[64,128]{1,0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%body.1 (state.1: (s32[], f32[512,128])) -> (s32[], f32[512,128]) {
  %state.1 = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) parameter(0)
  %part = f32[64,128]{1,0:T(8,128)S(1)} get-tuple-element(%state.1), index=1
  %gathered = f32[512,128]{1,0:T(8,128)} all-gather(%part), channel_id=1, dimensions={0}, replica_groups=[1,8]<=[8]
  ROOT %out = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) tuple(%part, %gathered)
}

%condition.1 (state.2: (s32[], f32[512,128])) -> pred[] {
  %state.2 = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) parameter(0)
  ROOT %more = pred[]{:T(512)} constant(true)
}

%fused (p: bf16[1024]) -> bf16[128] {
  %p = bf16[1024]{0:T(1024)(128)(2,1)} parameter(0)
  ROOT %scattered = bf16[128]{0:T(1024)(128)(2,1)} reduce-scatter(%p), replica_groups={}, to_apply=%add
}

ENTRY %main.9_spmd (p0: f32[64,128]) -> f32[64,128] {
  %p0 = f32[64,128]{1,0:T(8,128)} parameter(0), metadata={op_name="all-reduce(x)"}
  %init = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) tuple(%p0, %p0)
  %loop = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) while(%init), condition=%condition.1, body=%body.1, \
backend_config={"known_trip_count":{"n":"5"},"cost":"1"}
  %loop.2 = (s32[]{:T(128)}, f32[512,128]{1,0:T(8,128)}) while(%loop), condition=%condition.1, body=%body.1
  %both = (f32[64]{0:T(128)}, f32[]{:T(128)}) all-reduce(%p0, %p0), channel_id=2, to_apply=%add
  %start = (f32[8,128]{1,0:T(8,128)}, f32[64,128]{1,0:T(8,128)}) all-gather-start(%p0), channel_id=3, dimensions={0}
  %done = f32[64,128]{1,0:T(8,128)} all-gather-done(%start)
  %fusion.1 = bf16[128]{0:T(1024)(128)(2,1)} fusion(%p0), kind=kCustom, calls=%fused
  ROOT %result = f32[64,128]{1,0:T(8,128)} copy(%done)
}
"""


def test_collectives_of_a_program():
    program = hlo.read(TEXT)
    assert program.collectives == {
        Collective("all-gather", 512 * 128 * 4, False): 5 + 1,  # five rounds of the loop, one of the endless loop
        Collective("all-reduce", 64 * 4 + 4, False): 1,
        Collective("all-gather", 64 * 128 * 4, True): 1,
        Collective("reduce-scatter", 128 * 2, False): 1,
    }
    assert program.endless == 1


def test_bytes_of_shapes():
    assert hlo.shape_bytes("(f32[64,128]{1,0:T(8,128)S(1)}, /*index=1*/bf16[8]{0}, pred[3]{0}, u32[])") == 32768 + 16 + 7


def test_collective_times_against_hand_computed_values():
    pod, host = parse_slice("v5e:16x16"), parse_slice("v5e:2x4")
    # Rings of 16: 8 + 8 hops, four links of 50 GB/s; lines of 2 and 4: 1 + 3 hops, two links.
    assert pod.seconds("all-reduce", 256) == pytest.approx(32e-6)
    assert pod.seconds("all-reduce", 1e9) == pytest.approx(2 * 1e9 * 255 / 256 / 200e9)
    assert host.seconds("all-gather", 4) == pytest.approx(4e-6)
    assert host.seconds("all-gather", 1e9) == pytest.approx(1e9 * 7 / 8 / 100e9)
    assert host.seconds("reduce-scatter", 1e9) == host.seconds("all-gather", 1e9)
    assert host.seconds("collective-permute", 1e9) == pytest.approx(4e-6 + 0.02)
    assert host.seconds("all-to-all", 1e9) == pytest.approx(1e9 / 4 / 100e9)
    # A cube of 4x4x4 is a torus: 2 + 2 + 2 hops, six links of 100 GB/s; anything smaller is not.
    assert parse_slice("v5p:4x4x4").seconds("all-gather", 6e9) == pytest.approx(6e9 * 63 / 64 / 600e9)
    assert parse_slice("v5p:2x2x4").seconds("all-gather", 4) == pytest.approx(5e-6)
    assert parse_slice("v5e:1x1").seconds("all-reduce", 1e9) == 0


@pytest.mark.parametrize("name", ["v5e", "v5e:", "v5e:16*16", "v7:2x2", "v5e:0x4", "v5e:16x"])
def test_wrong_topologies_are_refused(name):
    with pytest.raises(InputError, match="v5e:16x16"):
        parse_slice(name)


def test_slices_of_a_generation():
    assert [parse_slice("v6e:2x2").of(chips).name for chips in (8, 256)] == ["v6e:2x4", "v6e:16x16"]
    assert parse_slice("v5p:2x2x1").of(128).chips == 128


def test_flops_of_products_convolutions_and_loops():
    def network(signal, kernel, weights):
        for _ in range(2):
            signal = jax.lax.conv_general_dilated(signal, kernel, (2,), [(2, 2)], dimension_numbers=("NWC", "WIO", "NWC"))
        return jax.lax.scan(lambda hidden, weight: (hidden @ weight, None), signal.mean(1), weights)[0].sum()

    shapes = jnp.zeros((4, 64, 8)), jnp.zeros((5, 8, 8)), jnp.zeros((3, 8, 8))
    forward = 2 * 4 * (32 + 16) * 5 * 8 * 8 + 3 * 2 * 4 * 8 * 8
    assert flops.count(jax.jit(network).trace(*shapes).jaxpr) == forward
    # Backward is twice forward; the strides' zeros are not counted.
    gradient = jax.jit(jax.grad(network, argnums=(0, 1, 2))).trace(*shapes)
    assert flops.count(gradient.jaxpr) == pytest.approx(3 * forward)
