"""Proofs on the command line: what is written, and how they end."""

from __future__ import annotations

import pytest

from mixq.cli.proving import run_proofs
from mixq.errors import CheckFailed
from mixq.packing import Packing, Part, Product, proof
from tests.mixq.packing.cases import small


def packings() -> list[Packing]:
    """One that is proved by SMT, twice with the same product, and one that is proved exhaustively."""
    few = small(act_bits=1, taps=1, channels=2, stride=4, channel_stride=2, weights=(-1, 1))
    nine = [Packing(4, 4, kernel, (Part(small()),), weight_range="narrow") for kernel in (3, 5)]
    return [*nine, Packing(1, 1, 1, (Part(few),), weight_range="narrow")]


def test_how_many_were_proved_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    summary = run_proofs(packings(), 1800, processes=1)
    written = capsys.readouterr()
    assert written.out.splitlines() == [
        "proof         packings  different products  cases",
        "exhaustively         1                   1     36",
        "by SMT               2                   1  1,800",
        "together             3                   2  1,836",
        "failed               0                   0      -",
    ]
    assert written.err.startswith("proving packings: done in ")
    assert (summary.exhaustive, summary.smt, summary.cases) == (1, 2, 1836)


def test_every_processor_may_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_proofs(packings(), 1800).cases == 1836
    assert "together             3                   2  1,836\n" in capsys.readouterr().out


def test_failures_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(product: Product) -> str | None:
        return "it is not so" if product == small() else None

    monkeypatch.setattr(proof, "control_fault", fault)
    with pytest.raises(CheckFailed) as error:
        run_proofs(packings(), 1800, processes=1)
    assert str(error.value) == f"2 of 3 packings are not exact, first {small()!r}: it is not so"
    assert "failed               2                   1      -\n" in capsys.readouterr().out
