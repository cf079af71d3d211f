"""Names that are safe everywhere a name ends up: Verilog, SystemVerilog, VHDL, Tcl and file names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mixq.graph.checks import GraphError

MAX_LENGTH = 63
_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")

# IEEE 1364-2005, annex B, and what IEEE 1800-2017 adds.
_VERILOG = """
    always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default
    defparam design disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive
    endspecify endtable endtask event for force forever fork function generate genvar highz0 highz1 if ifnone
    incdir include initial inout instance integer join large liblist library localparam macromodule
    medium module nand negedge nmos nor noshowcancelled not notif0 notif1 or parameter pmos posedge
    primitive pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent rcmos real realtime reg
    release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled signed small specify specparam
    strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
    unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor xor
    accept_on alias always_comb always_ff always_latch assert assume before bind bins binsof bit break byte
    chandle checker class clocking const constraint context continue cover covergroup coverpoint cross dist do
    endchecker endclass endclocking endgroup endinterface endpackage endprogram endproperty endsequence enum
    eventually expect export extends extern final first_match foreach forkjoin global iff ignore_bins
    illegal_bins implements implies import inside int interconnect interface intersect join_any join_none let
    local logic longint matches modport nettype new nexttime null package packed priority program property
    protected pure rand randc randcase randsequence ref reject_on restrict return s_always s_eventually
    s_nexttime s_until s_until_with sequence shortint shortreal soft solve static string strong struct super
    sync_accept_on sync_reject_on tagged this throughout timeprecision timeunit type typedef union unique
    unique0 until until_with untyped var virtual void wait_order weak wildcard with within
"""
# IEEE 1076-2008, clause 15.10.
_VHDL = """
    abs access after alias all and architecture array assert assume assume_guarantee attribute begin block
    body buffer bus case component configuration constant context cover default disconnect downto else elsif
    end entity exit fairness file for force function generate generic group guarded if impure in inertial
    inout is label library linkage literal loop map mod nand new next nor not null of on open or others out
    package parameter port postponed procedure process property protected pure range record register reject
    release rem report restrict restrict_guarantee return rol ror select sequence severity shared signal sla
    sll sra srl strong subtype then to transport type unaffected units until use variable vmode vprop vunit
    wait when while with xnor xor
"""
# Device names that some file systems do not take as the name of a file, whatever its ending.
_DEVICES = " ".join(["con prn aux nul", *(f"com{n} lpt{n}" for n in range(1, 10))])

# "input" and "output" are Verilog keywords but the names of roles in a graph (the node that truncates the
# pixels is "input"), so they are legal here; a writer of Verilog gives every instance a prefix or escapes it.
RESERVED = frozenset(f"{_VERILOG} {_VHDL} {_DEVICES}".split())


def is_legal_name(name: str) -> bool:
    """Whether ``name`` matches ``[A-Za-z][A-Za-z0-9_]{0,62}`` and is, in any case, no reserved word."""
    return _LEGAL.fullmatch(name) is not None and name.lower() not in RESERVED


def check_name(parameter: str, name: object) -> str:
    """Return ``name``; TypeError unless it is text, GraphError unless it is a legal name."""
    if not isinstance(name, str):
        raise TypeError(f"{parameter} must be a str, not {name!r}")
    if not is_legal_name(name):
        if name.lower() in RESERVED:
            raise GraphError(
                f"{parameter} must not be a word that Verilog, VHDL or a file system reserves, not {name!r}"
            )
        raise GraphError(
            f"{parameter} must be a letter and at most {MAX_LENGTH - 1} letters, digits or underscores, "
            f"not {_shortened(name)!r}"
        )
    return name


def _shortened(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."


def legal_name(text: str, taken: Iterable[str] = ()) -> str:
    """Return a legal name made from ``text`` that differs from all of ``taken``, in lower case too.

    Runs of other characters than letters, digits and underscores become one underscore; a reserved word or
    what does not begin with a letter gets ``n_`` in front; a clash gets ``_1``, ``_2`` ... behind. A legal
    name that is not taken is returned unchanged.

    >>> legal_name("features.0/conv")
    'features_0_conv'
    >>> legal_name("signal"), legal_name("7up"), legal_name("Conv", ["conv"])
    ('n_signal', 'n_7up', 'Conv_1')
    """
    used = {name.lower() for name in taken}
    base = text
    if not is_legal_name(base):
        base = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:MAX_LENGTH]
        if not is_legal_name(base):
            base = f"n_{base}"[:MAX_LENGTH] if base else "layer"
    name, count = base, 0
    while name.lower() in used:
        count += 1
        suffix = f"_{count}"
        name = base[: MAX_LENGTH - len(suffix)] + suffix
    return name
