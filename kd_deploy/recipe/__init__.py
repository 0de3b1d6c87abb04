"""What to do: the recipe as frozen sections, one file for each, read from YAML and checked whole."""

from kd_deploy.recipe.data import Data, TaskData
from kd_deploy.recipe.distill import Active, Augment, Distill, OnPolicy, Samples, Sequences
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.recipe.objective import HardLabels, LogitMse, SoftTargets, Term
from kd_deploy.recipe.outcome import Benchmark, Export, Gates, ReportOptions
from kd_deploy.recipe.student import BilstmStudent, LstmStudent, StaticStudent, Student, TransformerStudent, start_of
from kd_deploy.recipe.tasks import FurtherTask
from kd_deploy.recipe.teacher import OneTeacher, ScratchModel, Teacher
from kd_deploy.recipe.training import Training
from kd_deploy.recipe.whole import Recipe

__all__ = [
    "Active",
    "Augment",
    "Benchmark",
    "BilstmStudent",
    "Data",
    "Distill",
    "Endpoint",
    "Export",
    "FurtherTask",
    "Gates",
    "HardLabels",
    "LogitMse",
    "LstmStudent",
    "OnPolicy",
    "OneTeacher",
    "Recipe",
    "ReportOptions",
    "Samples",
    "ScratchModel",
    "Sequences",
    "SoftTargets",
    "StaticStudent",
    "Student",
    "TaskData",
    "Teacher",
    "Term",
    "Training",
    "TransformerStudent",
    "start_of",
]
