from __future__ import annotations

from sim.hierarchy import modules, size_below

TEXT = r"""// a comment: module nothing
module top (a, b);
  \top.acc  acc (
    .a(a)
  );
  leaf #(
    .FILE("x(1).mem"), .WIDTH(32'd7)
  ) \leaf$2 (
    .a(a)
  );
  other_library_cell c (.a(a));
  assign b = (a);
endmodule

module \top.acc (a);
  leaf one (.a(a));
  leaf two (.a(a));
endmodule
module leaf #(parameter FILE = "") (input a);
endmodule
"""


def test_instances_of_the_modules_of_a_text() -> None:
    found = modules(TEXT)
    assert list(found) == ["top", "top.acc", "leaf"]
    assert found["top"].instances == {"acc": "top.acc", "leaf$2": "leaf"}
    assert found["top.acc"].instances == {"one": "leaf", "two": "leaf"}
    assert found["leaf"].instances == {}


def test_size_counts_what_is_below_as_often_as_it_is_there() -> None:
    found = modules(TEXT)
    assert size_below(found, "top.acc") == found["top.acc"].size + 2 * found["leaf"].size
    assert sum(module.size for module in found.values()) == len(TEXT) - TEXT.index("module top")
