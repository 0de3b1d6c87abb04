"""Pure loss functions, one file per family, and the weighted sum that a recipe makes of them."""

from kd_deploy.distill.objectives.objective import Objective

__all__ = ["Objective"]
