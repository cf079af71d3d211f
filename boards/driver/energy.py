"""Energy of a run, from the power sensors that a board's supplies have: ZCU102, ZCU104, Ultra96."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias

Sensor: TypeAlias = "Callable[[], float]"


def power_rails() -> dict[str, Sensor]:
    """Name of each supply whose power PYNQ can read -> a function that reads it, in watts; empty where none is.

    A rail may feed others of the list ("12V" the whole board): their sum says nothing.
    """
    try:
        import pynq

        rails = pynq.get_rails()
    except (ImportError, AttributeError, OSError, RuntimeError):
        return {}  # no PYNQ, or a board or an image without sensors
    readers = {str(name): _reader(rail) for name, rail in rails.items()}
    return {name: read for name, read in readers.items() if read is not None}


def _reader(rail: Any) -> Sensor | None:
    """Of the power, or of voltage times current where there is no sensor of its own for it."""
    if rail.power is not None:
        return lambda: float(rail.power.value)
    if rail.voltage is not None and rail.current is not None:
        return lambda: float(rail.voltage.value * rail.current.value)
    return None


class PowerMeter:
    """Reads sensors while a ``with`` block runs, and sums up the energy, trapezoid by trapezoid.

    Parameters: ``sensors``, watts by name, as :func:`power_rails` gives them; ``interval``, seconds between readings.

    Members: ``joules``, by name, None without sensors or before the block has ended; ``seconds`` of the block.

    Raises: what a sensor raises, at the end of the block.
    """

    def __init__(self, sensors: Mapping[str, Sensor], *, interval: float = 0.02) -> None:
        self._sensors, self._interval = dict(sensors), interval
        self._readings: list[tuple[float, list[float]]] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.joules: dict[str, float] | None = None
        self.seconds = 0.0

    def __enter__(self) -> PowerMeter:
        self._readings.clear()
        self._ended.clear()
        self._started = time.monotonic()
        if self._sensors:
            self._read()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        if self._error is not None:
            raise self._error
        self._read()
        self.joules = {
            name: sum(
                (after - before) * (last[place] + first[place]) / 2
                for (before, first), (after, last) in zip(self._readings, self._readings[1:])
            )
            for place, name in enumerate(self._sensors)
        }

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._interval):
                self._read()
        except Exception as error:  # of whatever kind: the sensors are others' code
            self._error = error

    def _read(self) -> None:
        watts = [read() for read in self._sensors.values()]
        self._readings.append((time.monotonic(), watts))
