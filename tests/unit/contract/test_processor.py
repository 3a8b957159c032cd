"""Which processors compute in bfloat16, and what is told where it does not pay."""

import pytest

from headway_contract.processor import bfloat16_obstacle

FAST = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse2\n"
SLOW = "processor\t: 0\nmodel name\t: avx512_bf16 is only my name\nflags\t\t: fpu avx2 sse2\n"


@pytest.mark.parametrize("cpuinfo", [FAST, FAST.replace("avx512_bf16", "amx_bf16")])
def test_a_processor_with_bfloat16_instructions_is_no_obstacle(cpuinfo: str) -> None:
    assert bfloat16_obstacle(cpuinfo, {"TF_ENABLE_ONEDNN_OPTS": "1"}) is None


@pytest.mark.parametrize("cpuinfo", [SLOW, ""])
def test_another_processor_is_named_as_the_obstacle(cpuinfo: str) -> None:
    assert "neither amx_bf16 nor avx512_bf16" in str(bfloat16_obstacle(cpuinfo, {}))


def test_without_onednn_nothing_is_computed_in_bfloat16() -> None:
    assert "TF_ENABLE_ONEDNN_OPTS=0" in str(bfloat16_obstacle(FAST, {"TF_ENABLE_ONEDNN_OPTS": "0"}))
