"""Packets of all kinds through ``mixq_top`` while registers are read: source, sink and master are cocotbext-axi's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.handle import Immediate
from cocotb.triggers import FallingEdge, Timer, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from boards.registers import ADDRESS_BITS, OFFSETS, REGISTERS, SOFT_RESET
from sim.stalls import StallPattern
from tests.boards.shell.contract import Beat, random_packet, right_packet
from tests.boards.shell.watch import Watch
from tests.boards.shell.works import read_job

_COUNTERS = ("FRAMES_IN", "SHORT_FRAMES", "LONG_FRAMES", "FRAMES_OUT")
_STALLS = ("none", "random", "seldom", "often")

#: Cycles by which a counter may be behind the beats, at most.
_BEHIND = 4
#: Cycles from the one in which a read's address is taken to the one in which what it names is.
_READ_AFTER = 2
#: Cycles without a beat after which nothing is inside any more.
_QUIET = 100
_HANG = 5000


class Bench:
    """Source, sink, master and watch on the running design, and the model that goes along.

    ``history``: for each cycle since reset the counters by the beats that were handed over up to its end, and whether
    something is inside.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.job, self.model = read_job()
        self.rng = random.Random(self.job["seed"])
        clock, reset = dut.ap_clk, dut.ap_rst_n
        reset.value = Immediate(0)
        clock.value = Immediate(0)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_0"), clock)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_0"), clock)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axilite"), clock)
        self.watch = Watch(dut)
        self.sent: list[Beat] = []
        self.history: list[tuple[dict[str, int], bool]] = []
        self._first_taken = 0
        self._fed = 0

    async def start(self) -> None:
        """Clock and reset; from then on every cycle is watched."""
        cocotb.start_soon(Clock(self.dut.ap_clk, 10, unit="step").start())
        for _ in range(3):
            await FallingEdge(self.dut.ap_clk)
        self.dut.ap_rst_n.value = 1
        cocotb.start_soon(self._watching())
        await self.cycles(2)

    async def cycles(self, count: int) -> None:
        """Wait."""
        for _ in range(count):
            await FallingEdge(self.dut.ap_clk)

    async def _watching(self) -> None:
        while True:
            await FallingEdge(self.dut.ap_clk)
            self.watch.sample()
            for at in self.watch.given[self._fed :]:
                self.model.take(at.beat)
            self._fed = len(self.watch.given)
            self.history.append((self._counts(), self._inside()))

    @property
    def taken(self) -> list[Beat]:
        """Beats that came out since reset."""
        return [at.beat for at in self.watch.taken[self._first_taken :]]

    def _counts(self) -> dict[str, int]:
        model = self.model
        frames_out = (len(self.watch.taken) - self._first_taken) // model.sizes.output_beats
        return dict(zip(_COUNTERS, (model.frames_in, model.short, model.long, frames_out), strict=True))

    def _inside(self) -> bool:
        return self.model.amid or len(self.watch.taken) - self._first_taken < len(self.model.expected)

    def forget(self) -> None:
        """After a soft reset: counters start anew, ``BATCH`` stays."""
        self.model = self.model.restarted()
        self._first_taken = len(self.watch.taken)

    def frame_cycles(self) -> int:
        """Cycles between the last beats of the last two frames."""
        beats = self.model.sizes.output_beats
        ends = [at.cycle for at in self.watch.taken[self._first_taken + beats - 1 :: beats]]
        return ends[-1] - ends[-2] if len(ends) > 1 else 0

    def stall(self) -> None:
        """Other random stalls on all channels."""
        lite = self.lite
        channels = [lite.write_if.aw_channel, lite.write_if.w_channel, lite.write_if.b_channel]
        channels += [lite.read_if.ar_channel, lite.read_if.r_channel]
        for at, channel in enumerate((self.source, self.sink, *channels)):
            mode = self.rng.choice(_STALLS if at < 2 else ("none", "random"))
            channel.set_pause_generator(_pauses(mode, f"{self.rng.random()}"))

    async def read(self, name: str) -> int:
        """A register."""
        return await self.read_at(OFFSETS[name])

    async def read_at(self, offset: int) -> int:
        """A word."""
        answer = await self.lite.read(offset, 4)
        return int.from_bytes(answer.data, "little")

    async def write(self, name: str, value: int) -> None:
        """A whole register."""
        await self.lite.write(OFFSETS[name], value.to_bytes(4, "little"))

    async def write_bytes(self, name: str, value: int, strobe: int) -> None:
        """Those bytes of a register that ``strobe`` marks; ``value`` has the others, too."""
        channels = self.lite.write_if
        address, data = channels.aw_channel._transaction_obj(), channels.w_channel._transaction_obj()
        address.awaddr, address.awprot = OFFSETS[name], 0
        data.wdata, data.wstrb = value, strobe
        await channels.aw_channel.send(address)
        await channels.w_channel.send(data)
        await channels.b_channel.recv()

    async def send(self, packets: list[list[Beat]]) -> None:
        """Send packets and wait until all that they give is out, and a while longer."""
        self.push(packets)
        await self.drain()

    def push(self, packets: list[list[Beat]]) -> None:
        """Packets for the source to send."""
        bus = self.model.sizes.input_bus
        for packet in packets:
            keeps = [beat.keep >> at & 1 for beat in packet for at in range(bus)]
            self.source.send_nowait(AxiStreamFrame(b"".join(beat.data for beat in packet), tkeep=keeps))
            self.sent += packet

    async def drain(self) -> None:
        """Wait until all beats are in, all that they give is out, and a while longer."""
        waited, moved = 0, -1
        while waited < _HANG and not (len(self.watch.given) == len(self.sent) and not self.history[-1][1]):
            await self.cycles(1)
            now = len(self.watch.given) + len(self.watch.taken)
            waited, moved = (0 if now != moved else waited + 1), now
        assert waited < _HANG, f"nothing moves: {len(self.watch.given)} of {len(self.sent)} beats are in"
        await self.cycles(_QUIET)
        assert [at.beat for at in self.watch.given] == self.sent
        assert self.taken == self.model.expected
        assert self.sink.count() >= sum(beat.last for beat in self.model.expected)


def _pauses(mode: str, seed: str) -> Iterator[bool]:
    pattern = StallPattern(mode, seed)
    while True:
        yield not pattern.step()


async def _reading(bench: Bench) -> None:
    """Read registers without end, and hold each to the beats up to then."""
    history, before = bench.history, None
    while True:
        name = bench.rng.choice((*_COUNTERS, "CYCLES_LOW", "STATUS"))
        value = await bench.read(name)
        cycle = bench.watch.lite["ar"][-1][0]
        earlier = history[max(0, cycle - _BEHIND)][0]
        if name in _COUNTERS:
            assert earlier[name] <= value <= history[cycle][0][name], f"cycle {cycle}: {name} is {value}"
        elif name == "CYCLES_LOW":
            if before is not None:
                assert value - before[1] == cycle - before[0]
            before = cycle, value
        else:
            inside = [some for _, some in history[max(0, cycle - _BEHIND) : cycle + 2]]
            quiet = not any(some for _, some in history[max(0, cycle - _QUIET) : cycle + 2])
            assert value >> 2 == 1 or not all(inside), f"cycle {cycle}: frames are inside, STATUS is {value}"
            assert value >> 2 == 0 or not quiet, f"cycle {cycle}: nothing is inside, STATUS is {value}"


async def started(dut: Any) -> Bench:
    """The bench after reset."""
    # Writes at time 0 can lose against the initial values of the simulator's own nets.
    await Timer(1, "step")
    bench = Bench(dut)
    await bench.start()
    return bench


@cocotb.test()
async def packets_of_all_kinds(dut: Any) -> None:
    """What comes out and what is counted is what the model says, with registers read meanwhile."""
    bench = await started(dut)
    rng = bench.rng
    await bench.send([right_packet(rng, bench.model.sizes, 1)])
    assert await bench.read("FRAME_CYCLES") == 0
    for _ in range(bench.job["phases"]):
        batch = rng.choice((0, 1, 1, 2, 2, 3, 5))
        await bench.write("BATCH", batch)
        bench.model.batch = batch
        bench.stall()
        reading = cocotb.start_soon(_reading(bench))
        await bench.send([random_packet(rng, bench.model.sizes, batch) for _ in range(bench.job["packets"])])
        reading.cancel()
        await bench.lite.read_if.wait()
        for name, count in bench.history[-1][0].items():
            assert await bench.read(name) == count, name
        assert await bench.read("FRAME_CYCLES") == bench.frame_cycles()
        await _status(bench)
        if rng.random() < 0.5:
            await _soft_reset(bench)
    frames = [bytes(bench.sink.recv_nowait(compact=False).tdata) for _ in range(bench.sink.count())]
    assert b"".join(frames) == b"".join(at.beat.data for at in bench.watch.taken[: _last(bench) + 1])


def _last(bench: Bench) -> int:
    """Place of the last beat with ``tlast``."""
    return max((at for at, (_, beat) in enumerate(bench.watch.taken) if beat.last), default=-1)


async def _status(bench: Bench) -> None:
    """Bits stay until 1 is written to them, with the strobe of their byte."""
    model, rng = bench.model, bench.rng
    seen = model.status
    assert await bench.read("STATUS") == seen
    await bench.write_bytes("STATUS", 0xFFFFFFFF, 0b1110)
    assert await bench.read("STATUS") == seen
    clear = rng.randrange(8)
    await bench.write("STATUS", clear)
    model.clear(clear)
    assert await bench.read("STATUS") == seen & ~clear


async def _soft_reset(bench: Bench) -> None:
    batch = await bench.read("BATCH")
    await bench.write("CONTROL", SOFT_RESET)
    for _ in range(_QUIET):
        if not await bench.read("CONTROL"):
            break
    else:
        raise AssertionError("the soft reset does not end")
    bench.forget()
    for name in (*_COUNTERS, "STATUS", "FRAME_CYCLES"):
        assert await bench.read(name) == 0, name
    assert await bench.read("BATCH") == batch
    assert await bench.read("CYCLES_LOW") < _HANG


@cocotb.test()
async def registers(dut: Any) -> None:
    """Constants, strobes, words without a register, what cannot be written, and the two halves of the cycles."""
    bench = await started(dut)
    bench.stall()
    sizes, rng, build_hash = bench.model.sizes, bench.rng, bench.job["build_hash"]
    constants = {
        "ID": int.from_bytes(b"MIXQ", "big"),
        "VERSION": 1,
        "BUILD_HASH_LOW": build_hash & 0xFFFFFFFF,
        "BUILD_HASH_HIGH": build_hash >> 32,
        "CONTROL": 0,
        "STATUS": 0,
        **dict.fromkeys(_COUNTERS, 0),
        "CYCLES_HIGH": 0,
        "FRAME_CYCLES": 0,
        "INPUT_BYTES": sizes.input_bytes,
        "OUTPUT_BYTES": sizes.output_bytes,
        "BUS_BITS": 8 * sizes.input_bus | 8 * sizes.output_bus << 16,
        "BATCH": 1,
    }
    assert {*constants, "CYCLES_LOW"} == {register.name for register in REGISTERS}
    for attempt in range(2):
        for name, value in constants.items():
            assert await bench.read(name) == value, f"{name}, attempt {attempt}"
        for offset in range(0, 1 << ADDRESS_BITS, 4):
            if offset not in OFFSETS.values():
                assert await bench.read_at(offset) == 0, hex(offset)
        # All that cannot be written, and words without a register.
        for offset in range(0, 1 << ADDRESS_BITS, 4):
            if offset not in (OFFSETS["CONTROL"], OFFSETS["BATCH"]):
                await bench.lite.write(offset, rng.randbytes(4))
    start, at = await bench.read("CYCLES_LOW"), bench.watch.lite["ar"][-1][0]
    await bench.write_bytes("CONTROL", SOFT_RESET, 0b1110)
    await bench.write("CONTROL", 0xFFFFFFFF ^ SOFT_RESET)
    assert await bench.read("CONTROL") == 0
    batch = 1
    for _ in range(40):
        value, strobe = rng.getrandbits(32), rng.randrange(16)
        await bench.write_bytes("BATCH", value, strobe)
        marked = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
        batch = (batch & ~marked | value & marked) & 0xFFFF
        assert await bench.read("BATCH") == batch
    # Nothing of that was a reset.
    assert await bench.read("CYCLES_LOW") - start == bench.watch.lite["ar"][-1][0] - at
    await _many_at_once(bench)
    await _cycles(bench)


async def _many_at_once(bench: Bench) -> None:
    """Requests that follow each other while responses wait are all answered, each with its own."""
    names = [bench.rng.choice(("ID", "INPUT_BYTES", "OUTPUT_BYTES", "BUS_BITS", "VERSION")) for _ in range(40)]
    alone = {name: await bench.read(name) for name in set(names)}
    for channel in (bench.lite.write_if.b_channel, bench.lite.read_if.r_channel):
        channel.set_pause_generator(_pauses("often", f"{bench.rng.random()}"))
    writes = [bench.lite.init_write(OFFSETS["BATCH"], bytes((count, 0, 0, 0))) for count in range(40)]
    reads = [bench.lite.init_read(OFFSETS[name], 4) for name in names]
    for name, event in zip(names, reads, strict=True):
        await with_timeout(event.wait(), 10 * _HANG, "step")
        assert int.from_bytes(event.data.data, "little") == alone[name]
    for event in writes:
        await with_timeout(event.wait(), 10 * _HANG, "step")
    assert await bench.read("BATCH") == 39


@cocotb.test()
async def a_batch_that_changes_while_a_beat_stands(dut: Any) -> None:
    """The beat stands as it is; a packet whose first frame has not ended is of the batch at its end."""
    bench = await started(dut)
    sizes, last_stood = bench.model.sizes, 0
    for _ in range(12):
        start = len(bench.watch.taken)
        bench.sink.set_pause_generator(_pauses("slow", ""))
        bench.push([right_packet(bench.rng, sizes, 1)])
        beats = bench.rng.choice((sizes.output_beats - 1, bench.rng.randrange(sizes.output_beats)))
        while len(bench.watch.taken) < start + beats:
            await bench.cycles(1)
        bench.sink.clear_pause_generator()
        bench.sink.pause = True
        await bench.cycles(_QUIET)
        last_stood += len(bench.watch.taken) == start + sizes.output_beats - 1
        await bench.write("BATCH", bench.rng.choice((2, 3, 4)))
        await bench.cycles(3)
        await bench.write("BATCH", 1)
        bench.sink.pause = False
        await bench.drain()
    assert last_stood > 3


async def _cycles(bench: Bench) -> None:
    """The upper half is that of when the lower one was read, over the carry too."""
    for channel in (bench.lite.read_if.ar_channel, bench.lite.read_if.r_channel):
        channel.clear_pause_generator()
    start, at = await bench.read("CYCLES_LOW"), bench.watch.lite["ar"][-1][0]
    await FallingEdge(bench.dut.ap_clk)
    # Cycles since reset are counted wherever a register holds as many: all are put near the carry.
    now = start + bench.watch.cycle - at - _READ_AFTER
    counters = [handle for handle in bench.dut.registers if len(handle) == 32 and _holds(handle, now)]
    assert counters
    lows = set()
    for carries, before in enumerate(range(2, 26)):
        await FallingEdge(bench.dut.ap_clk)
        for counter in counters:
            counter.value = Immediate((1 << 32) - before)
        put = bench.watch.cycle - 1
        await bench.cycles(4)
        low = await bench.read("CYCLES_LOW")
        sampled = bench.watch.lite["ar"][-1][0] + _READ_AFTER
        await bench.cycles(40)
        high = await bench.read("CYCLES_HIGH")
        assert low + (high << 32) == (carries + 1 << 32) - before + sampled - 1 - put, (
            f"{before} cycles before the carry"
        )
        lows.add(low)
    assert lows >= {(1 << 32) - 1, 0, 1}


def _holds(handle: Any, value: int) -> bool:
    return handle.value.is_resolvable and int(handle.value) == value
