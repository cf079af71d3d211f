"""What the terms of :mod:`mixq.plan.layer_features` and :mod:`mixq.plan.stage_features` cost, fitted to Yosys's counts.

``data/cost_model.yaml`` has a coefficient for each term, written by ``python -m scripts.fit_costs fit``: non-negative
ones, by least squares of relative errors over samples of the generator's own components, each component apart.
``docs/estimates.md`` has the errors on layers that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import mul
from pathlib import Path
from typing import Any

from mixq.files import load_yaml
from mixq.plan import layer_features, spatial_features, stage_features
from mixq.plan.layer_features import Terms

MODEL_FILE = Path(__file__).resolve().parent / "data" / "cost_model.yaml"

TERMS = layer_features.TERMS | stage_features.TERMS | spatial_features.TERMS
"""Names of the terms of look-up tables and of flip-flops of each component."""


@dataclass(frozen=True)
class Agreement:
    """Errors of an estimate on held-out samples, as shares of the count: the median, and the largest."""

    median: float
    worst: float


@dataclass(frozen=True)
class CostModel:
    """Coefficients by component, of look-up tables and of flip-flops, in the order of :data:`TERMS`.

    errors: of whole layers that the fit has not seen, by "lut" and "ff". layers: how many of them there are.
    """

    coefficients: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    errors: Mapping[str, Agreement]
    layers: int

    def cost(self, component: str, terms: Terms) -> tuple[int, int]:
        """Look-up tables and flip-flops of a component; whole ones, so that what stays the same costs the same."""
        lut, ff = self.coefficients[component]
        return round(sum(map(mul, lut, terms[0]))), round(sum(map(mul, ff, terms[1])))

    @property
    def sentence(self) -> str:
        """How far estimates are from counts, for reports."""
        lut, ff = self.errors["lut"], self.errors["ff"]
        return (
            f"Of {self.layers} layers that the estimates were not fitted to, DSPs and block RAM are exact; look-up "
            f"tables are off by {_percent(lut.median)} in the median and {_percent(lut.worst)} at worst, flip-flops by "
            f"{_percent(ff.median)} and {_percent(ff.worst)}."
        )

    def document(self) -> dict[str, Any]:
        """As the file has it."""
        components = {
            name: {
                kind: dict(zip(names, values, strict=True))
                for kind, names, values in zip(("lut", "ff"), TERMS[name], found, strict=True)
            }
            for name, found in self.coefficients.items()
        }
        errors = {kind: {"median": found.median, "worst": found.worst} for kind, found in self.errors.items()}
        return {"held_out": {"layers": self.layers, **errors}, "coefficients": components}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> CostModel:
        """From the file's contents; KeyError where a term has no coefficient."""
        components = document["coefficients"]
        found = {
            name: (
                tuple(float(components[name]["lut"][term]) for term in luts),
                tuple(float(components[name]["ff"][term]) for term in ffs),
            )
            for name, (luts, ffs) in TERMS.items()
        }
        held = document["held_out"]
        errors = {kind: Agreement(held[kind]["median"], held[kind]["worst"]) for kind in ("lut", "ff")}
        return cls(found, errors, held["layers"])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@cache
def cost_model() -> CostModel:
    """The model of the file."""
    return CostModel.of(load_yaml(MODEL_FILE))
