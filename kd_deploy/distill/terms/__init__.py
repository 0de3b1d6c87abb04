"""The terms of an objective: losses fitted to two models, weighted, scheduled and summed."""

from kd_deploy.distill.terms.build import MakeTerm, build_objective, labels_alone
from kd_deploy.distill.terms.ground import Ground
from kd_deploy.distill.terms.objective import Objective
from kd_deploy.distill.terms.term import Seen, Term

__all__ = ["Ground", "MakeTerm", "Objective", "Seen", "Term", "build_objective", "labels_alone"]
