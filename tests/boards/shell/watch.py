"""Watches the buses of ``mixq_top`` cycle by cycle: what is handed over, and whether the rules of AXI are kept."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.boards.shell.contract import Beat

_INPUTS: dict[str, tuple[str, ...]] = {"aw": ("awaddr", "awprot"), "w": ("wdata", "wstrb"), "ar": ("araddr", "arprot")}
_OUTPUTS: dict[str, tuple[str, ...]] = {"b": ("bresp",), "r": ("rdata", "rresp")}
_REQUESTS = {"b": ("aw", "w"), "r": ("ar",)}


class At(NamedTuple):
    """A beat and the cycle at whose end it was taken."""

    cycle: int
    beat: Beat


class Watch:
    """Call :meth:`sample` once a cycle, when the design has settled before the rising edge.

    Checked: outputs are 0 or 1 where they matter; what is offered on ``m_axis_0``, ``b`` and ``r`` stands unchanged
    until it is taken; a response comes after its request, one for each, and is OKAY.

    Members: ``cycle``, ``given``, ``taken``: beats at the input and the output; ``lite``: for each channel of
    ``s_axilite`` the cycle and the values of each transfer.
    """

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.cycle = 0
        self.given: list[At] = []
        self.taken: list[At] = []
        self.lite: dict[str, list[tuple[int, tuple[int, ...]]]] = {name: [] for name in (*_INPUTS, *_OUTPUTS)}
        self._standing: dict[str, object] = {}

    def reset(self) -> None:
        """``ap_rst_n`` is low: what stood may go, what was asked for is forgotten."""
        self._standing.clear()
        for transfers in self.lite.values():
            transfers.clear()

    def sample(self) -> None:
        """See what is handed over at the coming rising edge."""
        self._stream("s_axis_0", self.given)
        beat = self._stream("m_axis_0", self.taken)
        self._stands("m_axis_0", beat, taken=self._bit("m_axis_0_tready"))
        for channel, names in _INPUTS.items():
            if self._bit(f"s_axilite_{channel}valid") and self._bit(f"s_axilite_{channel}ready"):
                self.lite[channel].append((self.cycle, self._values(names)))
        for channel, names in _OUTPUTS.items():
            self._response(channel, names)
        self.cycle += 1

    def _stream(self, prefix: str, beats: list[At]) -> Beat | None:
        valid, ready = self._bit(f"{prefix}_tvalid"), self._bit(f"{prefix}_tready")
        if not valid:
            return None
        keep = getattr(self._dut, f"{prefix}_tkeep").value
        beat = Beat(
            int(getattr(self._dut, f"{prefix}_tdata").value).to_bytes(len(keep), "little"),
            int(keep),
            bool(self._bit(f"{prefix}_tlast")),
        )
        if ready:
            beats.append(At(self.cycle, beat))
        return beat

    def _response(self, channel: str, names: tuple[str, ...]) -> None:
        valid, ready = (self._bit(f"s_axilite_{channel}{name}") for name in ("valid", "ready"))
        values = self._values(names) if valid else None
        # A request of this very cycle cannot be answered in it: responses come from registers.
        if valid and channel not in self._standing:
            asked = min(self._before(name) for name in _REQUESTS[channel])
            assert asked > len(self.lite[channel]), f"cycle {self.cycle}: {channel} answers nothing"
        self._stands(channel, values, taken=ready)
        if valid and ready and values is not None:
            assert values[-1] == 0, f"cycle {self.cycle}: {channel}resp is {values[-1]}"
            self.lite[channel].append((self.cycle, values))

    def _before(self, channel: str) -> int:
        """Transfers of earlier cycles."""
        transfers = self.lite[channel]
        return len(transfers) - bool(transfers and transfers[-1][0] == self.cycle)

    def _stands(self, name: str, offered: object, *, taken: int) -> None:
        if name in self._standing:
            assert offered == self._standing[name], f"cycle {self.cycle}: what {name} offered did not stand"
        self._standing.pop(name, None)
        if offered is not None and not taken:
            self._standing[name] = offered

    def _values(self, names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(int(getattr(self._dut, f"s_axilite_{name}").value) for name in names)

    def _bit(self, name: str) -> int:
        return int(getattr(self._dut, name).value)
