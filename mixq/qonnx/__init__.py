"""QONNX files: quantised networks as ONNX with quantiser nodes. :func:`read_qonnx` makes an integer graph of one."""

from mixq.qonnx.reader import read_qonnx

__all__ = ["read_qonnx"]
