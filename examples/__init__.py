"""Small designs on packed multipliers, each with its Verilog, a cocotb bench and a page that explains it."""
