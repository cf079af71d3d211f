"""cocotb tests of the filter, against NumPy's convolution. Started by :mod:`examples.simulate`."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from examples.fir_filter.design import COEFFICIENTS, SAMPLE_BITS, FirFilter

LOW, HIGH = -(1 << (SAMPLE_BITS - 1)), (1 << (SAMPLE_BITS - 1)) - 1


async def filtered(dut: Any, samples: np.ndarray, *, gaps: float, rng: random.Random) -> list[int]:
    """Outputs for samples (groups, 2) that come after a reset, in groups with random gaps between.

    All ports are driven and looked at in the middle of a cycle.
    """
    dut.rst.value = 1
    dut.valid.value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    given: list[int] = []
    seen: list[int] = []
    outputs: list[int] = []
    cycle = 0
    bits = len(dut.outputs) // 2
    while len(seen) < len(samples):
        assert cycle < 4 * len(samples) + 100, "outputs are missing"
        valid = len(given) < len(samples) and rng.random() >= gaps
        group = samples[len(given)] if valid else [rng.randint(LOW, HIGH)] * 2
        dut.valid.value = int(valid)
        dut.samples.value = sum(
            (int(sample) % (1 << SAMPLE_BITS)) << (n * SAMPLE_BITS) for n, sample in enumerate(group)
        )
        if valid:
            given.append(cycle)
        await FallingEdge(dut.clk)
        cycle += 1
        if int(dut.done.value):
            seen.append(cycle)
            word = int(dut.outputs.value)
            fields = [word >> (n * bits) & ((1 << bits) - 1) for n in range(2)]
            outputs += [field - (field >> (bits - 1) << bits) for field in fields]
    latency = FirFilter().latency
    assert seen == [before + latency for before in given], "outputs must come after the latency"
    return outputs


async def check(dut: Any, samples: np.ndarray, *, gaps: float) -> None:
    """Compare all outputs with NumPy's."""
    outputs = await filtered(dut, samples, gaps=gaps, rng=random.Random(1))
    flat = samples.reshape(-1)
    assert outputs == np.convolve(flat, COEFFICIENTS)[: len(flat)].tolist()


@cocotb.test()
async def filters_samples_without_gaps(dut: Any) -> None:
    """Two samples in every cycle, twice over: a reset starts anew."""
    cocotb.start_soon(Clock(dut.clk, 10, unit="step").start())
    for seed in range(2):
        await check(dut, np.random.default_rng(seed).integers(LOW, HIGH + 1, (200, 2)), gaps=0)


@cocotb.test()
async def filters_samples_with_gaps(dut: Any) -> None:
    """Samples that are not there in every cycle."""
    cocotb.start_soon(Clock(dut.clk, 10, unit="step").start())
    await check(dut, np.random.default_rng(3).integers(LOW, HIGH + 1, (200, 2)), gaps=0.4)


@cocotb.test()
async def holds_the_largest_sums(dut: Any) -> None:
    """Samples at the ends of their range: all the same, and each with the sign of its coefficient or against it."""
    cocotb.start_soon(Clock(dut.clk, 10, unit="step").start())
    with_sign = np.where(np.array(COEFFICIENTS[::-1]) < 0, LOW, HIGH)
    against = np.where(np.array(COEFFICIENTS[::-1]) < 0, HIGH, LOW)
    ends = [np.full(14, LOW), np.full(14, HIGH), np.tile(with_sign, 2), np.tile(against, 2)]
    await check(dut, np.concatenate(ends).reshape(-1, 2), gaps=0)
