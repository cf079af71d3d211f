"""The hardware of packing geometries of every kind, and a sample of all there are, against their exact arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mixq.packing import candidates
from tests.rtl_gen import binary_bench
from tests.rtl_gen.binary_bench import unpacked
from tests.rtl_gen.geometry_sweep import Geometry, batches, check, geometries, main, mismatches, vectors
from tests.rtl_gen.plain_bench import play

KINDS: dict[str, Callable[[Geometry], bool]] = {
    "single products": lambda g: not g.packing.split and not g.packing.residue_bits and not g.packing.product.pair,
    "blocks of pixels": lambda g: not g.packing.split and g.packing.product.block > 0,
    "one known bit": lambda g: not g.packing.tracked and g.packing.residue_bits == 1,
    "two known bits": lambda g: not g.packing.tracked and g.packing.residue_bits == 2,
    "carries tracked": lambda g: g.packing.tracked,
    "pair, activations on the wide port": lambda g: _is_pair(g, wide=True),
    "pair, activations on the narrow port": lambda g: _is_pair(g, wide=False),
    "activations split": lambda g: g.packing.split and g.packing.parts[0].act_shift > 0,
    "weights split": lambda g: g.packing.split and g.packing.parts[0].weight_shift > 0,
    "one-bit weights": lambda g: g.packing.weight_bits == 1,
    "one-bit activations": lambda g: g.packing.act_bits == 1,
    "signed activations": lambda g: g.packing.act_signed,
    "long chains": lambda g: g.length == 3 and g.accumulate > 1,
    "deep sums": lambda g: g.accumulate > 12,
}


def _is_pair(geometry: Geometry, *, wide: bool) -> bool:
    packing = geometry.packing
    return not packing.split and packing.product.pair and packing.product.act_on_wide == wide


def of_every_kind(count: int) -> list[Geometry]:
    """So many small geometries of each kind, without repetition."""
    offered = [g for g in geometries((1, 4, 5, 8), (1, 3)) if g.dsps <= 12]
    found = [g for has in KINDS.values() for g in islice(filter(has, offered), count)]
    return list({g.key: g for g in found}.values())


@pytest.mark.parametrize("simulator", ["verilator"])
def test_every_kind(simulator: str, tmp_path: Path) -> None:
    chosen = of_every_kind(2)
    assert all(any(map(has, chosen)) for has in KINDS.values())
    assert not any(check(chosen, tmp_path, operands=3000).wrong.values())


@pytest.mark.parametrize("simulator", ["icarus"])
def test_every_kind_in_another_simulator(simulator: str, tmp_path: Path) -> None:
    chosen = of_every_kind(1)
    macs = {f"p{number}": geometry.build() for number, geometry in enumerate(chosen)}
    wanted = {name: vectors(g, mac, 250) for g, (name, mac) in zip(chosen, macs.items(), strict=True)}
    rows = {name: unpacked(macs[name], one.rows) for name, one in wanted.items()}
    played = play(macs, rows, simulator=simulator, folder=tmp_path)
    for name, mac in macs.items():
        outputs = binary_bench.packed(mac, played[name][: len(rows[name])])
        assert not mismatches(mac, wanted[name], outputs), f"{chosen[int(name[1:])]}"


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["verilator"])
def test_sample_of_all(simulator: str, tmp_path: Path) -> None:
    every = geometries()
    sample = [every[len(every) * number // 120] for number in range(120)]
    for number, batch in enumerate(batches(sample)):
        wrong = check(batch, tmp_path / str(number)).wrong
        assert not any(wrong.values()), [f"{g}: {wrong[g.key]}" for g in batch if wrong[g.key]]


def test_geometries_are_distinct() -> None:
    found = geometries((3, 4), (1, 3))
    assert len({g.key for g in found}) == len(found) > 20
    assert found == geometries((3, 4), (1, 3))
    for packing in candidates(3, 4, 3, 2):
        assert Geometry.identity(packing) in [Geometry.identity(g.packing) for g in found]


@pytest.mark.parametrize("simulator", ["verilator"])
def test_fails_where_something_differs(simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = next(g for g in geometries((4,), (3,)) if not g.packing.split and g.packing.density == 6)
    mac = geometry.build()
    wanted = vectors(geometry, mac, 500)
    outputs = binary_bench.play_binary({"mac": mac}, {"mac": wanted.rows}, tmp_path / "right").outputs["mac"]
    assert not mismatches(mac, wanted, outputs)

    ends = np.flatnonzero(wanted.done)
    for cycle, bit in ((ends[0], 0), (ends[-1], outputs.shape[1] - 2), (ends[7], outputs.shape[1] // 2)):
        flipped = outputs.copy()
        flipped[cycle, bit] ^= 1
        assert re.match(r"lanes differ in 1 of \d+ sums", " ".join(mismatches(mac, wanted, flipped)))
    for cycle in (0, int(ends[3])):
        flipped = outputs.copy()
        flipped[cycle, -1] ^= 1
        assert mismatches(mac, wanted, flipped) == [f"done is {flipped[cycle, -1]} in cycle {cycle}"]

    # Another packing of the same shape, that takes the same bits for other activations.
    other = replace(geometry, packing=replace(geometry.packing, act_signed=not geometry.packing.act_signed))
    monkeypatch.setattr(Geometry, "key", geometry.key)
    assert mismatches(mac, vectors(other, mac, 500), outputs)
    assert mismatches(mac, replace(wanted, direct=wanted.direct + 1), outputs)

    # Hardware that lifts the lanes by too much.
    emitted = binary_bench.converted
    constant = re.compile(r"(?<=\.RND\(48'h)\w+")
    monkeypatch.setattr(
        binary_bench, "converted", lambda top: constant.sub(lambda m: f"{int(m[0], 16) ^ 1:012x}", emitted(top))
    )
    assert any(check([geometry], tmp_path / "wrong", 500).wrong.values())


@pytest.mark.parametrize("simulator", ["verilator"])
def test_command_goes_on_where_it_was(
    simulator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.rtl_gen.geometry_sweep.OPERANDS", 200)
    log = tmp_path / "log" / "sweep.jsonl"
    arguments = ["--widths", "8", "--kernels", "1", "--log", str(log)]
    assert main(arguments) == 0
    first = log.read_text()
    count = len(geometries((8,), (1,)))
    last = f"{count} geometries, {200 * count} cycles with operands, 0 with mismatches"
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert main(arguments) == 0
    assert log.read_text() == first
    assert capsys.readouterr().out.splitlines()[-1] == last
    # Other sources are tried anew, and what is wrong shows.
    log.write_text(first.replace('"code": "', '"code": "0'))
    monkeypatch.setattr("tests.rtl_gen.geometry_sweep.mismatches", lambda *_: ["wrong"])
    assert main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"{count} with mismatches")
