"""Answers from a bundle: numpy, onnxruntime and tokenizers, no torch."""

from kd_deploy.runtime.loading import load
from kd_deploy.runtime.predictor import Predictor

__all__ = ["Predictor", "load"]
