"""The search for bit-widths: its space, the supernet that holds all widths at once, and what it is penalised by."""
