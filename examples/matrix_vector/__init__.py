"""A unit that multiplies vectors by a matrix which it holds."""
