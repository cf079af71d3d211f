"""A FIR filter that takes two samples in every cycle."""
