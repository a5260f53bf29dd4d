"""Experiments on finite networks: gradient descent of many at a time, beside what the kernel predicts."""

from ntkbook.training.moments import log_steps
from ntkbook.training.results import KernelHistory, LinearRun, Movement, TrainingRun
from ntkbook.training.train import train

__all__ = ["KernelHistory", "LinearRun", "Movement", "TrainingRun", "log_steps", "train"]
