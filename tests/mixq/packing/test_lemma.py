"""The proof by SMT: it holds for what is exact, and fails for whatever is changed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mixq.errors import UserError
from mixq.packing import Product, arithmetic, candidates, lemma, solve
from mixq.packing.lemma import Lemma, control_fault, lane_fault, load_solver, operand_fault, readings
from mixq.packing.operand import Operand
from tests.mixq.packing.cases import changed, every_product, small

TWELVE: dict[str, Any] = {"pixels": 4, "stride": 7, "act_on_wide": True, "residue_bits": 2}


def pair() -> Product:
    """Two DSPs with 8-bit activations and weights."""
    return next(p.product for p in candidates(8, 8, 3) if not p.split and p.product.pair)


def some() -> list[Product]:
    """One of each sort."""
    pairs = [solve(4, 8, 3, 1).product, pair(), solve(4, 4, 3, 1).product]
    dense = [solve(4, 4, 1).product, solve(1, 1, 3, 2).product]
    return [small(), small(**TWELVE), small(**TWELVE, tracked=True), small(pixels=1, taps=1, stride=0), *pairs, *dense]


# -- operands --------------------------------------------------------------------------------------


def test_operands_of_every_product_are_right() -> None:
    for product in every_product():
        assert operand_fault(product) is None, product


def test_operands_beyond_their_port_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Operand, "fits", lambda self, bits: True)
    assert operand_fault(small(act_bits=7)) == "activations reach from -131136 to 129087 on a port of 18 bits"
    beyond = small(act_on_wide=True)
    assert operand_fault(beyond) == "weights reach from -29374471 to 29374471 on a port of 18 bits"


def test_pre_adders_of_a_pair_must_hold_what_they_add() -> None:
    # Even and odd fields apart fit the wide port, and so must their sum and difference.
    product = pair()
    plus, minus = ([1 << 9 * k for k in range(3)], [(-1) ** k << 9 * k for k in range(3)])
    assert list(lemma._pre_adder([plus, minus])) == [[1, 0, 1 << 18], [0, 1 << 9, 0]]
    assert lemma._factors(product) == ([[1, 1 << 9], [1, -1 << 9]], [plus, minus])


@pytest.mark.parametrize("product", [small(), pair()], ids=["single", "pair"])
def test_a_lane_elsewhere_than_its_products_is_told(product: Product) -> None:
    lanes = product.lanes
    moved = (lanes[0], *(lane.__class__(**vars(lane) | {"offset": lane.offset + 1}) for lane in lanes[1:]))
    fault = operand_fault(changed(product, lanes=moved))
    assert fault is not None and fault.endswith(", elsewhere than its lane")


def test_a_wrong_number_of_terms_is_told() -> None:
    lanes = small().lanes
    fewer = (lanes[0].__class__(**vars(lanes[0]) | {"terms": 2}), *lanes[1:])
    fault = operand_fault(changed(small(), lanes=fewer))
    assert fault is not None and fault.startswith("the lift of DSP 0 is not")
    right = small().lift
    fault = operand_fault(changed(small(), lanes=fewer, lift=lambda self, low: right(low)))
    assert fault == f"not so many products lie in {fewer[0]!r}"


@pytest.mark.parametrize("dsp", [0, 1])
def test_a_wrong_lift_is_told(dsp: int) -> None:
    def lift(self: Product, low: int) -> tuple[int, ...]:
        right = pair().lift(low)
        return tuple(value + (i == dsp) for i, value in enumerate(right))

    fault = operand_fault(changed(pair(), lift=lift))
    assert fault == f"the lift of DSP {dsp} is not {pair().lift(pair().product_bounds[0])[dsp]}"


def test_wrong_bounds_are_told() -> None:
    product = small()
    fault = operand_fault(changed(product, product_bounds=(-57, 56)))
    assert fault == "products are from -56 to 56"


# -- lanes -----------------------------------------------------------------------------------------


def test_readings_are_every_number_of_known_bits_up_to_the_limit() -> None:
    for product in every_product()[::7]:
        found = list(readings(product))
        spans = [span for span, _ in found]
        assert spans == sorted(spans, reverse=True) and len(set(found)) == len(found)
        low, high = product.sum_bounds(1 if product.tracked else product.accumulate_max)
        assert spans[0] >= high - low and product.residues(0, spans[0] + 1) is None
        for (span, known), (less, _) in zip(found, [*found[1:], (0, ())], strict=True):
            assert product.residues(0, span) == product.residues(0, less + 1) == known


@pytest.mark.parametrize("product", some(), ids=range(len(some())))
def test_lanes_are_read_right(product: Product) -> None:
    assert lane_fault(product) is None


@pytest.mark.parametrize("product", some()[1:3], ids=["single", "tracked"])
def test_one_known_bit_fewer_is_too_few(product: Product) -> None:
    right = product.residues

    def residues(self: Product, low: int, high: int) -> tuple[int, ...] | None:
        known = right(low, high)
        return None if known is None else tuple(max(0, bits - (i == 3)) for i, bits in enumerate(known))

    fault = lane_fault(changed(product, residues=residues))
    assert fault is not None and ": wrong for [" in fault


@pytest.mark.parametrize("product", [small(), pair()], ids=["single", "pair"])
def test_larger_sums_than_lanes_hold_are_read_wrong(product: Product) -> None:
    right = product.residues

    def residues(self: Product, low: int, high: int) -> tuple[int, ...] | None:
        return right(0, max(0, high - low - 1))

    fault = lane_fault(changed(product, residues=residues))
    assert fault is not None and ": wrong for [" in fault


@pytest.mark.parametrize("product", some(), ids=range(len(some())))
def test_other_ways_of_reading_are_wrong(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    def lane_values(found: Product, words: Any, residues: Any, known: tuple[int, ...]) -> list[Any]:
        return [(words[lane.word] >> lane.offset) & ((1 << lane.width) - 1) for lane in found.lanes[:-1]] + [
            residues[-1]
        ]

    def tracked_values(found: Product, accumulator: Any, counts: Any) -> list[Any]:
        return [(accumulator >> lane.offset) & ((1 << lane.width) - 1) for lane in found.lanes]

    monkeypatch.setattr(lemma, "lane_values", lane_values)
    monkeypatch.setattr(lemma, "tracked_values", tracked_values)
    fault = lane_fault(product)
    assert fault is not None and ": wrong for [" in fault


def test_a_top_lane_that_wraps_unseen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    product = small(**TWELVE, tracked=True)
    right = arithmetic.carries
    monkeypatch.setattr(lemma, "carries", lambda *arguments: [*right(*arguments)[:-1], 0])
    fault = lane_fault(product)
    assert fault is not None and ": wrong for [" in fault


def test_halves_must_be_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemma, "halved", lambda product, accumulators: accumulators)
    assert lane_fault(small()) is None
    assert lane_fault(pair()) is not None


def test_lemmas_are_shared_by_products_with_equal_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    proved: set[Lemma] = set()
    assert lane_fault(small(), proved) is None and len(proved) == 1
    monkeypatch.setattr(lemma, "_reading_fault", lambda *arguments: "asked again")
    assert lane_fault(small(weights=(-3, 3)), proved) is None
    assert lane_fault(small(**TWELVE), proved) is not None


def test_an_undecided_lemma_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemma, "_TIMEOUT_MS", 1)
    fault = lane_fault(solve(1, 1, 3, 2).product)
    assert fault is not None and fault.endswith("not decided in 0 s")


def test_a_missing_solver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(UserError) as error:
        load_solver()
    assert str(error.value) == "proofs need Z3; install it with: python -m pip install 'mixq[prove]'"


# -- controls --------------------------------------------------------------------------------------


def test_limits_of_every_product_are_tight() -> None:
    for product in every_product():
        assert control_fault(product) is None, product


def test_a_limit_that_is_not_tight_is_told() -> None:
    fault = control_fault(changed(small(), accumulate_max=8))
    assert fault == "9 products are allowed, more than accumulate_max"

    def residues(self: Product, low: int, high: int) -> None:
        return None

    fault = control_fault(changed(small(), accumulate_max=8, residues=residues))
    assert fault == "9 products are read right as well, though no more than 8 should be"
    product = small(**TWELVE, tracked=True)
    fault = control_fault(changed(product, residues=lambda self, low, high: (0, 1, 2, 3, 2, 2)))
    assert fault == "known bits (0, 1, 2, 2, 2, 2) are enough, fewer than (0, 1, 2, 3, 2, 2)"
