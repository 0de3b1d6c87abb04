"""Texts written token by token: numpy, onnxruntime and tokenizers, no torch."""

from kd_deploy.runtime.generation.graphs import open_decoder
from kd_deploy.runtime.generation.writer import Writer

__all__ = ["Writer", "open_decoder"]
