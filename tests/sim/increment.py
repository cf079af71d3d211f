"""A hand-written ``mixq_top`` that adds a constant from a memory image to every byte, and ways to break it."""

from __future__ import annotations

from pathlib import Path

#: Bytes of a frame, in and out; no whole number of 4-byte beats, so that TKEEP matters.
FRAME_BYTES = 22

_TOP = """
// A register of full throughput: loads when it is empty or being emptied.
module mixq_top (
    input wire ap_clk,
    input wire ap_rst_n,
    input wire [31:0] s_axis_0_tdata,
    input wire s_axis_0_tvalid,
    output wire s_axis_0_tready,
    input wire s_axis_0_tlast,
    input wire [3:0] s_axis_0_tkeep,
    input wire [2:0] unused,
    output reg [31:0] m_axis_0_tdata,
    output wire m_axis_0_tvalid,
    input wire m_axis_0_tready,
    output wire m_axis_0_tlast,
    output wire [3:0] m_axis_0_tkeep
);
    reg [7:0] addends [0:0];
    initial $readmemh("addends.mem", addends);
    reg [7:0] faults [0:0];
    initial $readmemh("fault.mem", faults);
    wire [7:0] fault = faults[0];
    reg valid, last;
    reg [3:0] keep;
    wire load = !valid || m_axis_0_tready;
    wire move = load || (fault == 4 && s_axis_0_tvalid);
    assign s_axis_0_tready = fault == 8 ? 1'b0 : load;
    assign m_axis_0_tvalid = fault == 6 ? valid && m_axis_0_tready : valid;
    assign m_axis_0_tlast = fault == 1 ? 1'b0 : fault == 2 ? 1'b1 : last;
    assign m_axis_0_tkeep = fault == 3 ? 4'hf : keep;
    wire [7:0] second = s_axis_0_tdata[15:8];
    always @(posedge ap_clk) begin
        if (move) begin
            last <= s_axis_0_tlast;
            keep <= s_axis_0_tkeep;
            m_axis_0_tdata[7:0] <= s_axis_0_tdata[7:0] + addends[0] + {5'd0, unused};
            m_axis_0_tdata[15:8] <= fault == 11 ? second ^ addends[0] : second + addends[0];
            m_axis_0_tdata[23:16] <= s_axis_0_tdata[23:16] + addends[0];
            m_axis_0_tdata[31:24] <= s_axis_0_tdata[31:24] + addends[0];
        end
        if (load && fault != 8) valid <= s_axis_0_tvalid && !(fault == 9 && valid && last);
        if (fault == 5 && !load) valid <= 1'b0;
        if (fault == 10 && load && valid && last) valid <= 1'b1;
        if (!ap_rst_n) valid <= fault == 7;
    end
endmodule
"""

#: Name of a fault -> what the second memory image says. One compiled model serves for all.
FAULTS = {
    name: number
    for number, name in enumerate(
        (
            "none",
            "no tlast",
            "early tlast",
            "full tkeep",
            "changes while stalled",
            "valid falls",
            "valid follows ready",
            "valid in reset",
            "never ready",
            "loses beats",
            "repeats beats",
            "wrong sum",
        )
    )
}


def write_increment(folder: Path, *, fault: str = "none", addend: int = 1) -> Path:
    """Write the design, whole or with one of :data:`FAULTS`, as a folder ``rtl``; returns that."""
    rtl = folder / "rtl"
    rtl.mkdir(parents=True, exist_ok=True)
    (rtl / "mixq_top.v").write_text(_TOP)
    (rtl / "files.f").write_text("mixq_top.v\n")
    (rtl / "addends.mem").write_text(f"{addend:02x}\n")
    (rtl / "fault.mem").write_text(f"{FAULTS[fault]:02x}\n")
    return rtl


def increment(frame: bytes, addend: int = 1) -> bytes:
    """What the whole design makes of a frame."""
    return bytes((byte + addend) % 256 for byte in frame)
