// Read-only memory whose contents come from a file of hexadecimal words ($readmemh).
//
// data follows addr after 1 enabled clock cycle, after 2 when OUTPUT_REGISTER is 1. STYLE is "auto",
// "distributed" or "block". An address of DEPTH or more reads an undefined word.
module mixq_rom #(
    parameter WIDTH = 1,
    parameter DEPTH = 1,
    parameter ADDR_WIDTH = 1,
    parameter FILE = "",
    parameter STYLE = "auto",
    parameter OUTPUT_REGISTER = 0
) (
    input wire clk,
    input wire en,
    input wire [ADDR_WIDTH-1:0] addr,
    output wire [WIDTH-1:0] data
);
    reg [WIDTH-1:0] word;

    // An attribute takes no parameter in every tool, so each style has its own declaration.
    generate
        if (STYLE == "block") begin : g_block
            (* rom_style = "block" *)
            reg [WIDTH-1:0] words [0:DEPTH-1];
            if (FILE != "") begin : g_contents
                initial $readmemh(FILE, words);
            end
            always @(posedge clk) if (en) word <= words[addr];
        end else if (STYLE == "distributed") begin : g_distributed
`ifdef YOSYS
            // Yosys takes "distributed" for LUT RAM, which cannot be read-only; logic is a ROM in LUTs.
            (* rom_style = "logic" *)
`else
            (* rom_style = "distributed" *)
`endif
            reg [WIDTH-1:0] words [0:DEPTH-1];
            if (FILE != "") begin : g_contents
                initial $readmemh(FILE, words);
            end
            always @(posedge clk) if (en) word <= words[addr];
        end else begin : g_auto
            reg [WIDTH-1:0] words [0:DEPTH-1];
            if (FILE != "") begin : g_contents
                initial $readmemh(FILE, words);
            end
            always @(posedge clk) if (en) word <= words[addr];
        end
        if (OUTPUT_REGISTER != 0) begin : g_register
            reg [WIDTH-1:0] registered;
            always @(posedge clk) if (en) registered <= word;
            assign data = registered;
        end else begin : g_no_register
            assign data = word;
        end
    endgenerate
endmodule
