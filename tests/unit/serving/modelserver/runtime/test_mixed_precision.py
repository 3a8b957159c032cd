"""What --mixed_precision may say, and what is told where bfloat16 does not pay."""

import pytest

from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.runtime.mixed_precision import obstacle, wants_bfloat16

FAST = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse2\n"
SLOW = "processor\t: 0\nmodel name\t: avx512_bf16 is only my name\nflags\t\t: fpu avx2 sse2\n"


def test_bfloat16_is_the_one_value() -> None:
    assert wants_bfloat16("bfloat16")
    assert not wants_bfloat16("")
    for other in ("float16", "BFLOAT16", "bfloat16 "):
        with pytest.raises(StatusError, match="Valid option: bfloat16") as caught:
            wants_bfloat16(other)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert other in caught.value.message


@pytest.mark.parametrize("cpuinfo", [FAST, FAST.replace("avx512_bf16", "amx_bf16")])
def test_a_processor_with_bfloat16_instructions_is_no_obstacle(cpuinfo: str) -> None:
    assert obstacle(cpuinfo, {"TF_ENABLE_ONEDNN_OPTS": "1"}) is None


@pytest.mark.parametrize("cpuinfo", [SLOW, ""])
def test_another_processor_is_named_as_the_obstacle(cpuinfo: str) -> None:
    assert "neither amx_bf16 nor avx512_bf16" in str(obstacle(cpuinfo, {}))


def test_without_onednn_nothing_is_computed_in_bfloat16() -> None:
    assert "TF_ENABLE_ONEDNN_OPTS=0" in str(obstacle(FAST, {"TF_ENABLE_ONEDNN_OPTS": "0"}))
