// Block RAM for counting: the cells of Yosys's memory mapping as RAMB18E2 and RAMB36E2, without their contents.
//
// Yosys's own map copies the contents into 144 parameters of each block, at three seconds a block. They change no
// count: what is read is not known to the logic around a block either way. For the same reason the order of the data
// bits is of no account here; every used input and output is connected once.

(* techmap_celltype = "$__XILINX_BLOCKRAM_SDP_" *)
module block_ram_simple (...);
    parameter INIT = 0;
    parameter OPTION_MODE = "FULL";
    parameter OPTION_WRITE_MODE = "READ_FIRST";
    parameter PORT_W_WIDTH = 1;
    parameter PORT_W_WR_EN_WIDTH = 1;
    parameter PORT_W_USED = 1;
    parameter PORT_R_WIDTH = 1;
    parameter PORT_R_USED = 0;
    parameter PORT_R_RD_INIT_VALUE = 0;
    parameter PORT_R_RD_SRST_VALUE = 0;
    input PORT_W_CLK, PORT_W_CLK_EN, PORT_R_CLK, PORT_R_CLK_EN, PORT_R_RD_SRST;
    input [15:0] PORT_W_ADDR, PORT_R_ADDR;
    input [PORT_W_WIDTH-1:0] PORT_W_WR_DATA;
    input [PORT_W_WR_EN_WIDTH-1:0] PORT_W_WR_EN;
    output [PORT_R_WIDTH-1:0] PORT_R_RD_DATA;

    wire [71:0] data_in = PORT_W_WR_DATA, data_out;
    wire [7:0] write_enable = PORT_W_WR_EN;
    assign PORT_R_RD_DATA = data_out;
    generate
        if (OPTION_MODE == "HALF")
            RAMB18E2 _TECHMAP_REPLACE_ (
                .CLKARDCLK(PORT_R_CLK), .ENARDEN(PORT_R_CLK_EN), .RSTRAMARSTRAM(PORT_R_RD_SRST),
                .ADDRARDADDR(PORT_R_ADDR[13:0]), .CLKBWRCLK(PORT_W_CLK), .ENBWREN(PORT_W_CLK_EN),
                .ADDRBWRADDR(PORT_W_ADDR[13:0]), .WEBWE(write_enable[3:0]),
                .DINADIN(data_in[15:0]), .DINBDIN(data_in[31:16]),
                .DINPADINP(data_in[33:32]), .DINPBDINP(data_in[35:34]),
                .DOUTADOUT(data_out[15:0]), .DOUTBDOUT(data_out[31:16]),
                .DOUTPADOUTP(data_out[33:32]), .DOUTPBDOUTP(data_out[35:34])
            );
        else
            RAMB36E2 _TECHMAP_REPLACE_ (
                .CLKARDCLK(PORT_R_CLK), .ENARDEN(PORT_R_CLK_EN), .RSTRAMARSTRAM(PORT_R_RD_SRST),
                .ADDRARDADDR(PORT_R_ADDR[14:0]), .CLKBWRCLK(PORT_W_CLK), .ENBWREN(PORT_W_CLK_EN),
                .ADDRBWRADDR(PORT_W_ADDR[14:0]), .WEBWE(write_enable),
                .DINADIN(data_in[31:0]), .DINBDIN(data_in[63:32]),
                .DINPADINP(data_in[67:64]), .DINPBDINP(data_in[71:68]),
                .DOUTADOUT(data_out[31:0]), .DOUTBDOUT(data_out[63:32]),
                .DOUTPADOUTP(data_out[67:64]), .DOUTPBDOUTP(data_out[71:68])
            );
    endgenerate
endmodule

(* techmap_celltype = "$__XILINX_BLOCKRAM_TDP_" *)
module block_ram_true_dual (...);
    parameter INIT = 0;
    parameter OPTION_MODE = "FULL";
    parameter OPTION_HAS_RDFIRST = 0;
    parameter PORT_A_RD_WIDTH = 1;
    parameter PORT_A_WR_WIDTH = 1;
    parameter PORT_A_WR_EN_WIDTH = 1;
    parameter PORT_A_RD_USED = 1;
    parameter PORT_A_WR_USED = 1;
    parameter PORT_A_OPTION_WRITE_MODE = "NO_CHANGE";
    parameter PORT_A_RD_INIT_VALUE = 0;
    parameter PORT_A_RD_SRST_VALUE = 1;
    parameter PORT_B_RD_WIDTH = 1;
    parameter PORT_B_WR_WIDTH = 1;
    parameter PORT_B_WR_EN_WIDTH = 1;
    parameter PORT_B_RD_USED = 0;
    parameter PORT_B_WR_USED = 0;
    parameter PORT_B_OPTION_WRITE_MODE = "NO_CHANGE";
    parameter PORT_B_RD_INIT_VALUE = 0;
    parameter PORT_B_RD_SRST_VALUE = 0;
    input PORT_A_CLK, PORT_A_CLK_EN, PORT_A_RD_SRST, PORT_B_CLK, PORT_B_CLK_EN, PORT_B_RD_SRST;
    input [15:0] PORT_A_ADDR, PORT_B_ADDR;
    input [PORT_A_WR_WIDTH-1:0] PORT_A_WR_DATA;
    input [PORT_A_WR_EN_WIDTH-1:0] PORT_A_WR_EN;
    output [PORT_A_RD_WIDTH-1:0] PORT_A_RD_DATA;
    input [PORT_B_WR_WIDTH-1:0] PORT_B_WR_DATA;
    input [PORT_B_WR_EN_WIDTH-1:0] PORT_B_WR_EN;
    output [PORT_B_RD_WIDTH-1:0] PORT_B_RD_DATA;

    wire [35:0] in_a = PORT_A_WR_DATA, in_b = PORT_B_WR_DATA, out_a, out_b;
    wire [3:0] enable_a = PORT_A_WR_EN, enable_b = PORT_B_WR_EN;
    assign PORT_A_RD_DATA = out_a;
    assign PORT_B_RD_DATA = out_b;
    generate
        if (OPTION_MODE == "HALF")
            RAMB18E2 _TECHMAP_REPLACE_ (
                .CLKARDCLK(PORT_A_CLK), .ENARDEN(PORT_A_CLK_EN), .RSTRAMARSTRAM(PORT_A_RD_SRST),
                .ADDRARDADDR(PORT_A_ADDR[13:0]), .WEA(enable_a[1:0]),
                .CLKBWRCLK(PORT_B_CLK), .ENBWREN(PORT_B_CLK_EN), .RSTRAMB(PORT_B_RD_SRST),
                .ADDRBWRADDR(PORT_B_ADDR[13:0]), .WEBWE(enable_b),
                .DINADIN(in_a[15:0]), .DINPADINP(in_a[17:16]), .DINBDIN(in_b[15:0]), .DINPBDINP(in_b[17:16]),
                .DOUTADOUT(out_a[15:0]), .DOUTPADOUTP(out_a[17:16]),
                .DOUTBDOUT(out_b[15:0]), .DOUTPBDOUTP(out_b[17:16])
            );
        else
            RAMB36E2 _TECHMAP_REPLACE_ (
                .CLKARDCLK(PORT_A_CLK), .ENARDEN(PORT_A_CLK_EN), .RSTRAMARSTRAM(PORT_A_RD_SRST),
                .ADDRARDADDR(PORT_A_ADDR[14:0]), .WEA(enable_a),
                .CLKBWRCLK(PORT_B_CLK), .ENBWREN(PORT_B_CLK_EN), .RSTRAMB(PORT_B_RD_SRST),
                .ADDRBWRADDR(PORT_B_ADDR[14:0]), .WEBWE({4'b0, enable_b}),
                .DINADIN(in_a[31:0]), .DINPADINP(in_a[35:32]), .DINBDIN(in_b[31:0]), .DINPBDINP(in_b[35:32]),
                .DOUTADOUT(out_a[31:0]), .DOUTPADOUTP(out_a[35:32]),
                .DOUTBDOUT(out_b[31:0]), .DOUTPBDOUTP(out_b[35:32])
            );
    endgenerate
endmodule
