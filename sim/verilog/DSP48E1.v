// Cycle-exact behavioural model of the 7-series DSP slice, for simulation only.
//
// AMD documents the slice in UG479 (functions of INMODE, OPMODE and ALUMODE) and UG953 (ports and attributes).
// Ports, parameters and defaults are the primitive's own, so that an instance compiles unchanged against this model
// or against the vendor's.
//
//   AD = [D] +/- [A]                            25 bits, wraps                   INMODE[3:1]
//   M  = (USE_DPORT == "TRUE" ? AD : [A]) * B   25 x 18 bits, signed, 43-bit result
//   P  = (Z, X + Y + CARRYIN)                   48 bits, wraps                   OPMODE, ALUMODE
//
// Modelled: all pipeline registers of these paths with their clock enables and synchronous resets (a reset wins over
// a clock enable, a register starts at 0), A and B cascades, PCIN/PCOUT, C, the arithmetic ALUMODEs.
// Not modelled, and refused with an error and $finish (a parameter at time 0, a control input at the clock edge that
// would use it): SIMD, logic unit, pattern detector, carry cascade and the other carry sources, MACC extension,
// dynamic multiplier use, inverted pins.
// Attributes that matter only to those units (MASK, PATTERN, SEL_*) are not looked at.
// An unknown clock enable, reset or control input gives unknown results. CARRYOUT, CARRYCASCOUT and MULTSIGNOUT are
// not modelled and always unknown; pattern detector outputs are 0, as they are when not in use.

/* verilator lint_off WIDTH */
/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off UNUSEDPARAM */
module DSP48E1 #(
    parameter integer ACASCREG = 1,
    parameter integer ADREG = 1,
    parameter integer ALUMODEREG = 1,
    parameter integer AREG = 1,
    parameter AUTORESET_PATDET = "NO_RESET",
    parameter A_INPUT = "DIRECT",
    parameter integer BCASCREG = 1,
    parameter integer BREG = 1,
    parameter B_INPUT = "DIRECT",
    parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1,
    parameter integer CREG = 1,
    parameter integer DREG = 1,
    parameter integer INMODEREG = 1,
    parameter [3:0] IS_ALUMODE_INVERTED = 4'b0000,
    parameter [0:0] IS_CARRYIN_INVERTED = 1'b0,
    parameter [0:0] IS_CLK_INVERTED = 1'b0,
    parameter [4:0] IS_INMODE_INVERTED = 5'b00000,
    parameter [6:0] IS_OPMODE_INVERTED = 7'b0000000,
    parameter [47:0] MASK = 48'h3FFFFFFFFFFF,
    parameter integer MREG = 1,
    parameter integer OPMODEREG = 1,
    parameter [47:0] PATTERN = 48'h000000000000,
    parameter integer PREG = 1,
    parameter SEL_MASK = "MASK",
    parameter SEL_PATTERN = "PATTERN",
    parameter USE_DPORT = "FALSE",
    parameter USE_MULT = "MULTIPLY",
    parameter USE_PATTERN_DETECT = "NO_PATDET",
    parameter USE_SIMD = "ONE48"
) (
    output [29:0] ACOUT,
    output [17:0] BCOUT,
    output CARRYCASCOUT,
    output [3:0] CARRYOUT,
    output MULTSIGNOUT,
    output OVERFLOW,
    output [47:0] P,
    output PATTERNBDETECT,
    output PATTERNDETECT,
    output [47:0] PCOUT,
    output UNDERFLOW,
    input [29:0] A,
    input [29:0] ACIN,
    input [3:0] ALUMODE,
    input [17:0] B,
    input [17:0] BCIN,
    input [47:0] C,
    input CARRYCASCIN,
    input CARRYIN,
    input [2:0] CARRYINSEL,
    input CEA1,
    input CEA2,
    input CEAD,
    input CEALUMODE,
    input CEB1,
    input CEB2,
    input CEC,
    input CECARRYIN,
    input CECTRL,
    input CED,
    input CEINMODE,
    input CEM,
    input CEP,
    input CLK,
    input [24:0] D,
    input [4:0] INMODE,
    input MULTSIGNIN,
    input [6:0] OPMODE,
    input [47:0] PCIN,
    input RSTA,
    input RSTALLCARRYIN,
    input RSTALUMODE,
    input RSTB,
    input RSTC,
    input RSTCTRL,
    input RSTD,
    input RSTINMODE,
    input RSTM,
    input RSTP
);

    // Facts of the configuration, constant at elaboration.
    localparam PREADDER = USE_DPORT == "TRUE";
    localparam MULTIPLIER = USE_MULT == "MULTIPLY";

    // Registers. A conditional operator, not if/else, selects what is loaded: an unknown enable or reset
    // then spreads instead of reading as false.
    reg [29:0] a1_q;
    reg [29:0] a2_q;
    reg [17:0] b1_q;
    reg [17:0] b2_q;
    reg [47:0] c_q;
    reg [24:0] d_q;
    reg [24:0] ad_q;
    reg [42:0] m_q;
    reg [47:0] p_q;
    reg [4:0] inmode_q;
    reg [6:0] opmode_q;
    reg [3:0] alumode_q;
    reg carryin_q;
    reg [2:0] carryinsel_q;

    initial begin
        a1_q = 30'd0;
        a2_q = 30'd0;
        b1_q = 18'd0;
        b2_q = 18'd0;
        c_q = 48'd0;
        d_q = 25'd0;
        ad_q = 25'd0;
        m_q = 43'd0;
        p_q = 48'd0;
        inmode_q = 5'd0;
        opmode_q = 7'd0;
        alumode_q = 4'd0;
        carryin_q = 1'b0;
        carryinsel_q = 3'd0;
    end

    wire [29:0] a_in = A_INPUT == "CASCADE" ? ACIN : A;
    wire [17:0] b_in = B_INPUT == "CASCADE" ? BCIN : B;
    wire [29:0] a_out = AREG == 0 ? a_in : a2_q;
    wire [17:0] b_out = BREG == 0 ? b_in : b2_q;
    wire [47:0] c = CREG == 0 ? C : c_q;
    wire [24:0] d = DREG == 0 ? D : d_q;
    wire [4:0] inmode = INMODEREG == 0 ? INMODE : inmode_q;
    wire [6:0] opmode = OPMODEREG == 0 ? OPMODE : opmode_q;
    wire [3:0] alumode = ALUMODEREG == 0 ? ALUMODE : alumode_q;
    wire carryin = CARRYINREG == 0 ? CARRYIN : carryin_q;
    wire [2:0] carryinsel = CARRYINSELREG == 0 ? CARRYINSEL : carryinsel_q;

    // Pre-adder and multiplier. INMODE[0] and [4] tap the first of two input registers.
    wire [24:0] a_tap = AREG == 2 && inmode[0] ? a1_q[24:0] : a_out[24:0];
    wire [17:0] b_tap = BREG == 2 && inmode[4] ? b1_q : b_out;
    wire [24:0] a_gated = inmode[1] ? 25'd0 : a_tap;
    wire [24:0] d_gated = inmode[2] ? d : 25'd0;
    wire [24:0] ad_next = inmode[3] ? d_gated - a_gated : d_gated + a_gated;
    wire [24:0] ad = ADREG == 0 ? ad_next : ad_q;
    wire signed [24:0] multiplicand = PREADDER ? ad : a_gated;
    wire signed [17:0] multiplier = b_tap;
    wire signed [42:0] m_next = MULTIPLIER ? multiplicand * multiplier : 43'sd0;
    wire signed [42:0] m = MREG == 0 ? m_next : m_q;

    // The three multiplexers. M comes as two partial products, one each through X and Y, so that
    // it is legal only when both select it; here X carries all of it.
    wire [47:0] m_wide = {{5{m[42]}}, m};
    wire [47:0] ab = {a_out, b_out};
    wire [47:0] x = opmode[1] ? (opmode[0] ? ab : p_q) : (opmode[0] ? m_wide : 48'd0);
    wire [47:0] y = opmode[3] ? (opmode[2] ? c : {48{1'b1}}) : 48'd0;
    wire [47:0] z_unshifted = opmode[5] ? (opmode[4] ? c : p_q) : (opmode[4] ? PCIN : 48'd0);
    wire [47:0] z_shift_source = opmode[5] ? p_q : PCIN;
    wire [47:0] z = opmode[6] ? {{17{z_shift_source[47]}}, z_shift_source[47:17]} : z_unshifted;

    // ALUMODE[0] complements Z, ALUMODE[1] the sum: with -k = ~k + 1 that gives the four documented sums.
    wire [47:0] sum = (z ^ {48{alumode[0]}}) + (x + y + carryin);
    wire [47:0] p_next = sum ^ {48{alumode[1]}};

    always @(posedge CLK) begin
        if (AREG == 2) a1_q <= RSTA ? 30'd0 : CEA1 ? a_in : a1_q;
        if (AREG != 0) a2_q <= RSTA ? 30'd0 : CEA2 ? (AREG == 2 ? a1_q : a_in) : a2_q;
        if (BREG == 2) b1_q <= RSTB ? 18'd0 : CEB1 ? b_in : b1_q;
        if (BREG != 0) b2_q <= RSTB ? 18'd0 : CEB2 ? (BREG == 2 ? b1_q : b_in) : b2_q;
        if (CREG != 0) c_q <= RSTC ? 48'd0 : CEC ? C : c_q;
        if (DREG != 0) d_q <= RSTD ? 25'd0 : CED ? D : d_q;
        if (ADREG != 0) ad_q <= RSTD ? 25'd0 : CEAD ? ad_next : ad_q;
        if (MREG != 0) m_q <= RSTM ? 43'd0 : CEM ? m_next : m_q;
        if (PREG != 0) p_q <= RSTP ? 48'd0 : CEP ? p_next : p_q;
        if (INMODEREG != 0) inmode_q <= RSTINMODE ? 5'd0 : CEINMODE ? INMODE : inmode_q;
        if (OPMODEREG != 0) opmode_q <= RSTCTRL ? 7'd0 : CECTRL ? OPMODE : opmode_q;
        if (ALUMODEREG != 0) alumode_q <= RSTALUMODE ? 4'd0 : CEALUMODE ? ALUMODE : alumode_q;
        if (CARRYINREG != 0) carryin_q <= RSTALLCARRYIN ? 1'b0 : CECARRYIN ? CARRYIN : carryin_q;
        if (CARRYINSELREG != 0) carryinsel_q <= RSTCTRL ? 3'd0 : CECTRL ? CARRYINSEL : carryinsel_q;
    end

    assign P = PREG == 0 ? p_next : p_q;
    assign PCOUT = P;
    assign ACOUT = AREG == 2 && ACASCREG == 1 ? a1_q : a_out;
    assign BCOUT = BREG == 2 && BCASCREG == 1 ? b1_q : b_out;
    assign CARRYCASCOUT = 1'bx;
    assign CARRYOUT = 4'bxxxx;
    assign MULTSIGNOUT = 1'bx;
    assign OVERFLOW = 1'b0;
    assign UNDERFLOW = 1'b0;
    assign PATTERNDETECT = 1'b0;
    assign PATTERNBDETECT = 1'b0;

    // What is not modelled is refused. Selecting M in only one of X and Y, A:B beside a multiplier in use, and P
    // without its register are illegal in the slice too.
    wire opmode_refused = opmode[1:0] == 2'b01 && (opmode[3:2] != 2'b01 || !MULTIPLIER)
                       || opmode[3:2] == 2'b01 && opmode[1:0] != 2'b01
                       || opmode[1:0] == 2'b11 && MULTIPLIER
                       || opmode[6:4] == 3'b100 || opmode[6:4] == 3'b111
                       || PREG == 0 && (opmode[1:0] == 2'b10 || opmode[5:4] == 2'b10);
    wire inmode_refused = inmode[0] && AREG != 2 || inmode[4] && BREG != 2 || inmode[3:2] != 2'b00 && !PREADDER;

    always @(posedge CLK) begin
        if (opmode_refused || inmode_refused || alumode[3:2] != 2'b00 || carryinsel != 3'b000) begin
            $display("ERROR: DSP48E1 %m: OPMODE %b, INMODE %b, ALUMODE %b, CARRYINSEL %b: %0s is not modelled here",
                     opmode, inmode, alumode, carryinsel,
                     opmode_refused ? "OPMODE" : inmode_refused ? "INMODE" :
                     alumode[3:2] != 2'b00 ? "ALUMODE" : "CARRYINSEL");
            $finish;
        end
    end

    task refuse(input [8*32:1] name);
        begin
            $display("ERROR: DSP48E1 %m: this value of parameter %0s is not modelled", name);
            $finish;
        end
    endtask

    initial begin
        if (AREG < 0 || AREG > 2) refuse("AREG");
        if (ACASCREG != AREG && !(AREG == 2 && ACASCREG == 1)) refuse("ACASCREG");
        if (BREG < 0 || BREG > 2) refuse("BREG");
        if (BCASCREG != BREG && !(BREG == 2 && BCASCREG == 1)) refuse("BCASCREG");
        if (ADREG != 0 && ADREG != 1) refuse("ADREG");
        if (ALUMODEREG != 0 && ALUMODEREG != 1) refuse("ALUMODEREG");
        if (CARRYINREG != 0 && CARRYINREG != 1) refuse("CARRYINREG");
        if (CARRYINSELREG != 0 && CARRYINSELREG != 1) refuse("CARRYINSELREG");
        if (CREG != 0 && CREG != 1) refuse("CREG");
        if (DREG != 0 && DREG != 1) refuse("DREG");
        if (INMODEREG != 0 && INMODEREG != 1) refuse("INMODEREG");
        if (MREG != 0 && MREG != 1) refuse("MREG");
        if (OPMODEREG != 0 && OPMODEREG != 1) refuse("OPMODEREG");
        if (PREG != 0 && PREG != 1) refuse("PREG");
        if (A_INPUT != "DIRECT" && A_INPUT != "CASCADE") refuse("A_INPUT");
        if (B_INPUT != "DIRECT" && B_INPUT != "CASCADE") refuse("B_INPUT");
        if (USE_DPORT != "FALSE" && USE_DPORT != "TRUE") refuse("USE_DPORT");
        if (USE_MULT != "MULTIPLY" && USE_MULT != "NONE") refuse("USE_MULT");
        if (USE_SIMD != "ONE48") refuse("USE_SIMD");
        if (USE_PATTERN_DETECT != "NO_PATDET") refuse("USE_PATTERN_DETECT");
        if (AUTORESET_PATDET != "NO_RESET") refuse("AUTORESET_PATDET");
        if (IS_ALUMODE_INVERTED != 0) refuse("IS_ALUMODE_INVERTED");
        if (IS_CARRYIN_INVERTED != 0) refuse("IS_CARRYIN_INVERTED");
        if (IS_CLK_INVERTED != 0) refuse("IS_CLK_INVERTED");
        if (IS_INMODE_INVERTED != 0) refuse("IS_INMODE_INVERTED");
        if (IS_OPMODE_INVERTED != 0) refuse("IS_OPMODE_INVERTED");
    end
endmodule
/* verilator lint_on UNUSEDPARAM */
/* verilator lint_on UNUSEDSIGNAL */
/* verilator lint_on WIDTH */
