# amaranth: UnusedElaboratable=no
"""The packed multiplier as one Verilog file: used as its comment says, it computes what the formula says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mixq.packing import Packing, Part, Product, default_weight_range
from rtl_gen import PackedMac
from rtl_gen.packed_verilog import packed_mac_verilog
from sim.tools import find_icarus
from sim.verilog_source import module_ports


def packing_of(weight_bits: int, act_bits: int, kernel: int, product: Product) -> Packing:
    weight_range = default_weight_range(weight_bits)
    return Packing(weight_bits, act_bits, kernel, (Part(product),), weight_range=weight_range)


PLAIN = packing_of(4, 4, 3, Product(4, -7, 7, 2, 3, 1, 11, 11, 0, False))
CHANNELS = packing_of(2, 2, 1, Product(2, -2, 1, 2, 1, 6, 18, 18, 3, True))
BINARY = packing_of(1, 1, 3, Product(1, -1, 1, 9, 3, 2, 2, 2, 21, False, residue_bits=1))
TRACKED = packing_of(4, 4, 3, Product(4, -7, 7, 4, 3, 1, 7, 7, 0, True, tracked=True, residue_bits=2))
PAIR = packing_of(8, 8, 3, Product(8, -127, 127, 2, 3, 1, 9, 9, 0, False, pair=True))

CASES = [(PLAIN, 3, 2), (CHANNELS, 1, 1), (BINARY, 1, 1), (TRACKED, 2, 50), (PAIR, 2, 2)]


def comment(text: str) -> list[str]:
    """Lines of the comment at the head of a file."""
    head = text.split("\n\n", 1)[0].splitlines()
    assert all(line.startswith("//") for line in head)
    return [line.removeprefix("//").strip() for line in head]


def documented_ports(lines: list[str]) -> dict[str, tuple[str, int]]:
    """Name -> direction and width."""
    found = [re.match(r"(input|output)\s+(?:\[(\d+):0\])?\s+(\w+)  ", line) for line in lines]
    return {match[3]: (match[1], int(match[2] or 0) + 1) for match in found if match}


def documented_place(lines: list[str], port: str) -> tuple[str, int]:
    """The formula of a code's lowest bit, in Python too, and its width."""
    (match,) = [m for m in (re.search(rf"is {port}\[(.*) \+: (\d+)\]", line) for line in lines) if m]
    return match[1], int(match[2])


def documented_number(lines: list[str], pattern: str) -> int:
    (match,) = [m for m in (re.search(pattern, line) for line in lines) if m]
    return int(match[1])


@pytest.mark.parametrize(
    ("packing", "length", "accumulate"), CASES, ids=["plain", "channels", "1-bit", "tracked", "pair"]
)
def test_the_comment_documents_the_ports(packing: Packing, length: int, accumulate: int) -> None:
    mac = PackedMac(packing, length=length, accumulate=accumulate, target="generic")
    text = packed_mac_verilog(mac, "packed_mac")
    lines = comment(text)
    assert max(map(len, text.split("\n\n", 1)[0].splitlines())) <= 120
    ports = {name: (port.direction, port.width) for name, port in module_ports(text, "packed_mac").items()}
    assert documented_ports(lines) == ports
    assert documented_number(lines, r"done comes (\d+) cycles") == mac.latency
    assert documented_number(lines, r"length\s+(\d+) unit") == length
    assert documented_number(lines, r"(\d+) DSPs? in all") == length * packing.dsps
    assert documented_number(lines, r"accumulate\s+(\d+) cycle") == accumulate
    assert f"sums [m][e], {mac.lane_format.width} bits each" in "\n".join(lines)
    assert f"from {mac.lane_format.low} to {mac.lane_format.high}:" in "\n".join(lines)


@pytest.mark.icarus
@pytest.mark.parametrize(
    ("packing", "length", "accumulate"), CASES, ids=["plain", "channels", "1-bit", "tracked", "pair"]
)
def test_used_as_documented_it_computes_the_formula(
    packing: Packing, length: int, accumulate: int, tmp_path: Path
) -> None:
    text = packed_mac_verilog(PackedMac(packing, length=length, accumulate=accumulate, target="generic"), "packed_mac")
    lines, rng = comment(text), np.random.default_rng(8)
    low, high = packing.act_bounds
    acts = rng.integers(low, high + 1, (accumulate, length, packing.pixels))
    low, high = packing.weight_bounds
    weights = rng.integers(low, high + 1, (accumulate, length, packing.channels, packing.taps))
    if packing.weight_bits == 1:
        weights = np.where(weights < 0, -1, 1)
    act_place, act_bits = documented_place(lines, "activations")
    weight_place, weight_bits = documented_place(lines, "weights")
    codes = (weights > 0).astype(int) if packing.weight_bits == 1 else weights
    drive = []
    for cycle in range(accumulate):
        vectors = {"activations": 0, "weights": 0}
        for (i, n), code in np.ndenumerate(acts[cycle]):
            at = eval(act_place, {"i": i, "n": n})
            vectors["activations"] |= (int(code) & ((1 << act_bits) - 1)) << at
        for (i, m, k), code in np.ndenumerate(codes[cycle]):
            at = eval(weight_place, {"i": i, "m": m, "k": k})
            vectors["weights"] |= (int(code) & ((1 << weight_bits) - 1)) << at
        sets = [f"{port} = {documented_ports(lines)[port][1]}'h{value:x};" for port, value in vectors.items()]
        drive.append(f"valid = 1; first = {cycle == 0:d}; last = {cycle == accumulate - 1:d}; {' '.join(sets)} #10;")
    expected = np.zeros((packing.channels, packing.pixels + packing.taps - 1), int)
    for n in range(packing.pixels):
        for k in range(packing.taps):
            expected[:, n + k] += np.einsum("ti,tim->m", acts[:, :, n], weights[:, :, :, k])
    latency = documented_number(lines, r"done comes (\d+) cycles")
    seen = _simulate(text, documented_ports(lines), drive, latency, tmp_path)
    place, bits = documented_place(lines, "lanes")
    lanes = np.zeros_like(expected)
    for m, e in np.ndindex(*lanes.shape):
        field = seen >> eval(place, {"m": m, "e": e}) & ((1 << bits) - 1)
        lanes[m, e] = field - (field >> (bits - 1) << bits)
    assert lanes.tolist() == expected.tolist()


def _simulate(text: str, ports: dict[str, tuple[str, int]], drive: list[str], latency: int, folder: Path) -> int:
    """The lanes, ``latency`` cycles after the last operands, when ``done`` must be there."""
    nets = [
        f"{'reg' if way == 'input' else 'wire'} [{width - 1}:0] {name}{' = 0' if way == 'input' else ''};"
        for name, (way, width) in ports.items()
    ]
    bench = f"""module bench;
  {" ".join(nets)}
  packed_mac packed_mac ({", ".join(f".{name}({name})" for name in ports)});
  always #5 clk = !clk;
  initial begin
    rst = 1; #12 rst = 0;
    {" ".join(drive)}
    valid = 0; #{10 * (latency - 1)};
    $display("%b %h", done, lanes);
    $finish;
  end
endmodule
"""
    (folder / "packed.v").write_text(text)
    (folder / "bench.v").write_text(bench)
    icarus = find_icarus()
    for command in (
        [str(icarus.iverilog), "-g2005", "-s", "bench", "-o", "bench.vvp", "bench.v", "packed.v"],
        [str(icarus.vvp), "-n", "bench.vvp"],
    ):
        done = subprocess.run(command, cwd=folder, env=icarus.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    flag, value = done.stdout.split()
    assert flag == "1"
    return int(value, 16)


def test_the_primitive_is_named() -> None:
    assert "in plain Verilog" in comment(packed_mac_verilog(PackedMac(PLAIN, target="generic"), "packed_mac"))[0]
    text = packed_mac_verilog(PackedMac(PLAIN), "packed_mac")
    assert "with the vendor's primitive DSP48E2" in comment(text)[0]
    assert re.findall(r"^module (\w+)\(", text, flags=re.MULTILINE).count("packed_mac") == 1


def test_text_does_not_change() -> None:
    one, two = (packed_mac_verilog(PackedMac(PLAIN, length=2), "packed_mac") for _ in range(2))
    assert one == two


def test_names_are_checked() -> None:
    with pytest.raises(
        ValueError, match="name must be a letter and up to 62 letters, digits or underscores, not '1st'"
    ):
        packed_mac_verilog(PackedMac(PLAIN), "1st")
