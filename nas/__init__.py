"""The search for bit-widths, to come."""
