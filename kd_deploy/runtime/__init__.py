"""Answers from a bundle: numpy, onnxruntime and tokenizers, nothing else."""

from kd_deploy.runtime.predictor import Predictor, load

__all__ = ["Predictor", "load"]
