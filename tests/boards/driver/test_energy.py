from __future__ import annotations

import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from boards.driver.energy import PowerMeter, power_rails


def test_constant_power_is_power_times_time() -> None:
    meter = PowerMeter({"12V": lambda: 5.0, "core": lambda: 0.5}, interval=0.005)
    with meter:
        time.sleep(0.05)
    assert meter.joules is not None and set(meter.joules) == {"12V", "core"}
    assert meter.seconds >= 0.05
    assert meter.joules["12V"] == pytest.approx(10 * meter.joules["core"])
    # The readings cover the block, and the moments around it.
    assert 5 * 0.05 <= meter.joules["12V"] <= 5 * 5


def test_a_ramp_is_summed_by_trapezoids(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 2.0, 2.0])
    monkeypatch.setattr("boards.driver.energy.time.monotonic", lambda: next(clock))
    watts = iter([1.0, 3.0])
    meter = PowerMeter({"rail": lambda: next(watts)}, interval=60)
    with meter:
        pass
    assert meter.joules == {"rail": 4.0}


def test_without_sensors_there_is_no_energy() -> None:
    meter = PowerMeter({})
    with meter:
        pass
    assert meter.joules is None and meter.seconds >= 0


def test_a_sensor_that_fails_is_told() -> None:
    readings = iter([1.0])
    meter = PowerMeter({"rail": lambda: next(readings)}, interval=0.001)
    with pytest.raises(StopIteration), meter:
        time.sleep(0.05)


def test_rails_are_those_with_power(monkeypatch: pytest.MonkeyPatch) -> None:
    assert power_rails() == {}
    library: Any = ModuleType("pynq")
    library.get_rails = lambda: {
        "12V": SimpleNamespace(power=SimpleNamespace(value=6.5), voltage=None, current=None),
        "vccint": SimpleNamespace(power=None, voltage=SimpleNamespace(value=0.75), current=SimpleNamespace(value=4)),
        "vccaux": SimpleNamespace(power=None, voltage=SimpleNamespace(value=1.8), current=None),
    }
    monkeypatch.setitem(sys.modules, "pynq", library)
    rails = power_rails()
    assert {name: read() for name, read in rails.items()} == {"12V": 6.5, "vccint": 3.0}

    library.get_rails = dict
    assert power_rails() == {}
