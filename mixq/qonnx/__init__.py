"""QONNX files: quantised networks as ONNX with quantiser nodes, read into integer graphs and written from them."""

from mixq.qonnx.reader import read_qonnx
from mixq.qonnx.writer import write_qonnx

__all__ = ["read_qonnx", "write_qonnx"]
