"""Resets of ``mixq_top`` at random cycles, hard and soft, amid frames and transfers, each followed by right frames."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from amaranth.lib.wiring import In
from cocotb.handle import Immediate
from cocotb.triggers import Timer

from boards.axilite import AXILITE_PORTS
from boards.registers import OFFSETS, SOFT_RESET
from tests.boards.shell.contract import Beat, random_packet, right_packet
from tests.boards.shell.watch import Watch
from tests.boards.shell.works import read_job

_HALF_CYCLE = Timer(5, "step")
# The pulse of a clock of twice the frequency, and the rest of the half cycle.
_PULSE, _REST = Timer(2, "step"), Timer(3, "step")
_HANG = 2000


class Bench:
    """Steps the design cycle by cycle: writes after the falling edge of the clock, reads before the rising one.

    ``queue``: beats still to be sent. ``amid``: the last one sent was not its packet's last. ``stood``: soft resets for
    which a beat stood at the output. ``go``, ``take``, ``answer``: how often out of 1 a beat is offered, a beat is
    taken, a response is taken.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        job, self.model = read_job()
        self.trials: int = job["trials"]
        self._longest: int = job["longest"]
        self.rng = random.Random(job["seed"])
        self.watch = Watch(dut)
        self.queue: list[Beat] = []
        self.amid = False
        self.stood = 0
        self.go = self.take = self.answer = 1.0
        self.soft = False
        self._fast = hasattr(dut, "ap_clk2x")
        self._offering = False
        self._seen = 0
        self._pending: set[str] = set()
        for name in ("ap_clk", "ap_rst_n", "s_axis_0_tvalid", "m_axis_0_tready"):
            self.set(name, 0)
        for name, member in AXILITE_PORTS.items():
            if member.flow is In:
                self.set(f"s_axilite_{name}", 0)

    def set(self, name: str, value: int) -> None:
        """Drive an input."""
        getattr(self.dut, name).value = Immediate(value)

    def get(self, name: str) -> int:
        """An output."""
        return int(getattr(self.dut, name).value)

    @property
    def quiet(self) -> bool:
        """Whether all beats went in, and all that must come out is out."""
        return not self.queue and self._seen == len(self.model.expected)

    async def cycle(self) -> None:
        """One cycle without reset."""
        self._clock(0)
        self._drive()
        await self._half_cycle()
        given, taken = len(self.watch.given), len(self.watch.taken)
        self.watch.sample()
        if self.soft and self.get("s_axilite_bvalid"):
            self._closed()
        if len(self.watch.given) > given:
            self.amid = not self.queue.pop(0).last
            self._offering = False
            self.model.take(self.watch.given[-1].beat)
        if len(self.watch.taken) > taken:
            assert self._seen < len(self.model.expected), f"cycle {self.watch.cycle}: a beat that nothing asked for"
            assert self.watch.taken[-1].beat == self.model.expected[self._seen], f"cycle {self.watch.cycle}"
            self._seen += 1
        for channel in list(self._pending):
            if self.get(f"s_axilite_{channel}ready"):
                self._pending.remove(channel)
        self._clock(1)
        await self._half_cycle()

    def _clock(self, level: int) -> None:
        """Start a half cycle. The faster clock rises with either edge."""
        self.set("ap_clk", level)
        if self._fast:
            self.set("ap_clk2x", 1)

    async def _half_cycle(self) -> None:
        if not self._fast:
            await _HALF_CYCLE
            return
        await _PULSE
        self.set("ap_clk2x", 0)
        await _REST

    def _drive(self) -> None:
        if not self._offering:
            self._offering = bool(self.queue) and self.rng.random() < self.go
            self.set("s_axis_0_tvalid", self._offering)
            beat = self.queue[0] if self._offering else random_packet(self.rng, self.model.sizes, 1)[0]
            self.set("s_axis_0_tdata", int.from_bytes(beat.data, "little"))
            self.set("s_axis_0_tkeep", beat.keep)
            self.set("s_axis_0_tlast", int(beat.last))
        self.set("m_axis_0_tready", self.rng.random() < self.take)
        for channel in ("aw", "w", "ar"):
            self.set(f"s_axilite_{channel}valid", channel in self._pending)
        for channel in ("b", "r"):
            self.set(f"s_axilite_{channel}ready", self.rng.random() < self.answer)

    def _closed(self) -> None:
        """The soft reset was written: nothing more of before comes out but a beat that stands, and nothing goes in."""
        self.soft = False
        assert not self.get("s_axis_0_tready")
        stands = self.model.expected[self._seen :][: self.get("m_axis_0_tvalid")]
        assert len(stands) == self.get("m_axis_0_tvalid")
        self.model = self.model.restarted()
        self.model.expected += stands
        self._seen = 0
        self.stood += len(stands)
        # The source keeps a beat that it offers, and goes on with its packet or not.
        packet = next((at + 1 for at, beat in enumerate(self.queue) if beat.last), 0)
        if not self._offering and (not self.amid or self.rng.random() < 0.5):
            packet = 0
        del self.queue[packet:]

    async def until(self, what: str) -> None:
        """Cycles until a response on channel ``what`` is taken."""
        count = len(self.watch.lite[what])
        for _ in range(_HANG):
            if len(self.watch.lite[what]) > count:
                return
            await self.cycle()
        raise AssertionError(f"cycle {self.watch.cycle}: no answer on {what}")

    async def write(self, name: str, value: int) -> None:
        """A register, address and data in either order."""
        self.set("s_axilite_awaddr", OFFSETS[name])
        self.set("s_axilite_wdata", value)
        self.set("s_axilite_wstrb", 15)
        first, second = self.rng.sample(("aw", "w"), 2)
        self._pending.add(first)
        for _ in range(self.rng.choice((0, 0, 1, 3))):
            await self.cycle()
        self._pending.add(second)
        await self.until("b")

    async def read(self, name: str) -> int:
        """A register."""
        self.set("s_axilite_araddr", OFFSETS[name])
        self._pending.add("ar")
        await self.until("r")
        return self.watch.lite["r"][-1][1][0]

    async def begin_transfers(self) -> None:
        """A read, and a write whose data does not come."""
        self._pending |= {"ar", "aw"}
        for _ in range(self.rng.randrange(4)):
            await self.cycle()

    async def drain(self) -> None:
        """Cycles until the bench is quiet."""
        for _ in range(_HANG):
            if self.quiet:
                return
            await self.cycle()
        raise AssertionError(f"cycle {self.watch.cycle}: {len(self.model.expected) - self._seen} beats do not come")

    async def traffic(self) -> None:
        """Random packets with random stalls, for a random time."""
        rng = self.rng
        self.go, self.take, self.answer = (rng.choice((1.0, 0.7, 0.3)) for _ in range(3))
        for _ in range(rng.randint(0, self._longest)):
            if not self.queue:
                self.queue += random_packet(rng, self.model.sizes, self.model.batch)
            await self.cycle()

    async def right_frames(self) -> None:
        """After a reset: what is left of a packet, then one that is right, all of which comes out."""
        self.queue += right_packet(self.rng, self.model.sizes, self.model.batch)
        frames = self.model.frames_in
        await self.drain()
        assert self.model.frames_in >= frames + max(1, self.model.batch)

    async def hard_reset(self, cycles: int) -> None:
        """``ap_rst_n`` is low for so many edges; a source may offer what it likes meanwhile."""
        self.set("ap_rst_n", 0)
        for name in ("aw", "w", "ar"):
            self.set(f"s_axilite_{name}valid", 0)
        for at in range(cycles + 2):
            self._clock(0)
            self.set("ap_rst_n", int(at >= cycles))
            # A source may be in the same reset, and has valid low; or not, and what it offers in the end stands.
            self.set("s_axis_0_tvalid", int(self._offering and at < cycles))
            self.set("m_axis_0_tready", self.rng.randrange(2))
            await self._half_cycle()
            if at > 0:
                for name in ("s_axis_0_tready", "m_axis_0_tvalid"):
                    assert self.get(name) == 0, f"{name}, {at} edges after the first of {cycles} in reset"
                for name in ("s_axilite_bvalid", "s_axilite_rvalid"):
                    assert at > cycles or self.get(name) == 0, f"{name}, {at} edges in reset"
            self._clock(1)
            await self._half_cycle()
        self.watch.reset()
        self.queue.clear()
        self._pending.clear()
        self._offering = self.amid = self.soft = False
        self._seen = 0
        self.model = self.model.restarted()
        self.model.batch = 1


async def _started(dut: Any) -> Bench:
    # Writes at time 0 can lose against the initial values of the simulator's own nets.
    await Timer(1, "step")
    bench = Bench(dut)
    await bench.hard_reset(2)
    return bench


async def _counted(bench: Bench) -> None:
    """Counters are of what came since the reset alone."""
    for _ in range(4):
        await bench.cycle()
    assert await bench.read("FRAMES_IN") == bench.model.frames_in
    assert await bench.read("FRAMES_OUT") == bench.model.frames_out
    assert await bench.read("SHORT_FRAMES") == bench.model.short
    assert await bench.read("LONG_FRAMES") == bench.model.long


@cocotb.test()
async def hard_resets(dut: Any) -> None:
    """``ap_rst_n`` low for a cycle or more, amid frames and transfers on AXI4-Lite."""
    bench = await _started(dut)
    rng = bench.rng
    for trial in range(bench.trials):
        if rng.random() < 0.3:
            bench.model.batch = rng.choice((0, 2, 3))
            await bench.write("BATCH", bench.model.batch)
        await bench.traffic()
        if rng.random() < 0.3:
            await bench.begin_transfers()
        await bench.hard_reset(rng.choice((1, 1, 2, 5)))
        await bench.right_frames()
        if trial % 8 == 0:
            await _counted(bench)
            assert await bench.read("BATCH") == 1


@cocotb.test()
async def soft_resets(dut: Any) -> None:
    """Bit 0 of ``CONTROL`` at any time; a beat that stands at the output stays until it is taken."""
    bench = await _started(dut)
    rng = bench.rng
    for trial in range(bench.trials):
        if rng.random() < 0.2:
            bench.model.batch = rng.choice((0, 1, 2, 3))
            await bench.write("BATCH", bench.model.batch)
        await bench.traffic()
        bench.take = rng.choice((0.0, bench.take))
        bench.soft = True
        stood = bench.stood
        await bench.write("CONTROL", SOFT_RESET)
        if bench.stood > stood and bench.take == 0:
            for _ in range(rng.randrange(12)):
                await bench.cycle()
            assert await bench.read("CONTROL") == SOFT_RESET
        bench.take = rng.choice((1.0, 0.4))
        await bench.right_frames()
        assert await bench.read("CONTROL") == 0
        if trial % 8 == 0:
            await _counted(bench)
            assert await bench.read("BATCH") == bench.model.batch
    assert bench.stood > bench.trials // 8
