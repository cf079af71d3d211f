# amaranth: UnusedElaboratable=no
"""One DSP, as the primitive and as plain Verilog, against its formula."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rtl_gen.dsp import DSP_LATENCY, TARGETS, Dsp
from tests.rtl_gen.plain_bench import Row, play

CONSTANT = 0x9ABC_DEF0_1234
KINDS = {
    f"{target}_{'cascade' if cascade_in else 'first'}_{'sum' if accumulates else 'term'}": (
        target,
        cascade_in,
        accumulates,
    )
    for target, cascade_in, accumulates in product(TARGETS, (False, True), (False, True))
}


def wrapped(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def stimulus(cycles: int, seed: int) -> list[dict[str, int]]:
    rng = random.Random(seed)

    def signed(bits: int) -> int:
        ends = (-1 << (bits - 1), (1 << (bits - 1)) - 1, 0, -1)
        return rng.choice(ends) if rng.random() < 0.3 else rng.randrange(-1 << (bits - 1), 1 << (bits - 1))

    return [
        {
            "d": signed(27),
            "a": signed(27),
            "b": signed(18),
            # The first sum starts with the first operands.
            "go_on": int(cycle > 0 and rng.random() < 0.6),
            "pcin": signed(48) % (1 << 48),
        }
        for cycle in range(cycles)
    ]


def expected(rows: list[dict[str, int]], *, cascade_in: bool, accumulates: bool) -> list[int]:
    """P in each cycle from the first with operands on."""
    sums: list[int] = []
    for cycle, row in enumerate(rows[: len(rows) - DSP_LATENCY]):
        total = wrapped(row["d"] - row["a"], 27) * row["b"]
        if cascade_in:
            total += rows[cycle + DSP_LATENCY - 1]["pcin"]
        if accumulates:
            total += sums[-1] if row["go_on"] else CONSTANT
        sums.append(total % (1 << 48))
    return sums


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_equals_its_formula(simulator: str, tmp_path: Path) -> None:
    parts = {
        name: Dsp(cascade_in=cascade_in, accumulates=accumulates, constant=CONSTANT, target=target)
        for name, (target, cascade_in, accumulates) in KINDS.items()
    }
    inputs = {name: stimulus(400, seed) for seed, name in enumerate(KINDS)}
    rows: dict[str, list[Row]] = {name: list(one) for name, one in inputs.items()}
    outputs = play(parts, rows, simulator=simulator, folder=tmp_path)
    for name, (_, cascade_in, accumulates) in KINDS.items():
        wanted = expected(inputs[name], cascade_in=cascade_in, accumulates=accumulates)
        for port in ("p", "pcout"):
            assert [row[port] for row in outputs[name][DSP_LATENCY : len(inputs[name])]] == wanted, (name, port)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"target": "dsp48e1"}, "target must be one of dsp48e2, generic, not 'dsp48e1'"),
        ({"constant": -1}, "constant must fit 48 bits, not -1"),
        ({"constant": 1 << 48}, f"constant must fit 48 bits, not {1 << 48}"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Dsp(cascade_in=False, accumulates=True, **arguments)
    assert str(error.value) == message
