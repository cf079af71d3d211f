"""Simulation: the simulators and Yosys, benches for single stages, the runner for whole networks."""
