"""Bytes of programs that are counted by hand, and of one that XLA has compiled here."""

import jax
import jax.numpy as jnp

from planning.traffic import count_bytes

PROGRAM = """HloModule jit_f

%fused (param: f32[8,4]) -> f32[8] {
  %param = f32[8,4]{1,0} parameter(0)
  ROOT %sum = f32[8]{0} reduce(%param), dimensions={1}
}

%body (arg: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %arg = (s32[], f32[8,4]{1,0}) parameter(0)
  %part.1 = f32[8,4]{1,0} get-tuple-element(%arg), index=1
  %reduced = f32[8]{0} fusion(%part.1), kind=kInput, calls=%fused
  %both = (f32[8,4]{1,0}, bf16[2,3]{1,0}) custom-call(%part.1, %reduced), custom_call_target="x"
  %new = f32[8,4]{1,0} get-tuple-element(%both), index=0
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%part.1, %new)
}

%condition (arg: (s32[], f32[8,4])) -> pred[] {
  %arg = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  ROOT %less = pred[] compare(%i, %i), direction=LT
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0), metadata={op_name="x"}
  %zero = s32[] constant(0)
  %start = (s32[], f32[8,4]{1,0}) tuple(%zero, %x)
  %loop = (s32[], f32[8,4]{1,0}) while(%start), condition=%condition, body=%body
  ROOT %result = f32[8,4]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_kernels_of_a_loop_count_once():
    """Of 4 bytes: 32 read, 8 written; 32 and 8 read, 32 written, and 6 of 2 bytes; 2 read, and one byte written."""
    assert count_bytes(PROGRAM) == 4 * (32 + 8) + 4 * (32 + 8 + 32) + 12 + 4 * 2 + 1


def test_a_product_reads_its_factors_and_writes_the_result():
    a, b = jnp.zeros((64, 32)), jnp.zeros((32, 16))
    text = jax.jit(jnp.matmul).lower(a, b).compile().as_text()
    assert count_bytes(text) == 4 * (64 * 32 + 32 * 16 + 64 * 16)
