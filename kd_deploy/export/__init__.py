"""Student to ONNX files: graph, fusion, quantisation, parity, gate."""
