"""Models that write, as ONNX files: graphs with a cache or a state, int8, int4 and parity."""
