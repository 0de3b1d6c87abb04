"""Every fault that is the user's to mend, as one tree; each family carries its exit code.

KDDeployError            1  (never raised itself)
├── UsageError           2  a command line, or an output folder, that cannot work
├── RecipeError          3  a recipe with faults; all of them are listed
├── DataError            4  a data file, a column, a row, a label
├── TrainingError        5  training that cannot go on
├── ExportError          6  a graph that does not export, or does not answer like its model
├── BenchmarkError       7  a target that cannot be measured, a provider that is missing
├── BundleError          8  a bundle or checkpoint that cannot be trusted or opened
├── MissingExtraError    9  an optional dependency that is not installed
└── GateError           10  a limit of the recipe that was not met
"""


class KDDeployWarning(UserWarning):
    """What a user should know and can work without."""


class KDDeployError(Exception):
    """A fault that the user can mend: one sentence, and a hint with the next thing to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(KDDeployError):
    """A command line, or an output folder, that cannot work."""

    exit_code = 2


class RecipeError(KDDeployError):
    """A recipe with faults; the message lists all of them, each with its path."""

    exit_code = 3


class DataError(KDDeployError):
    """A data file, column, row or label that cannot be used."""

    exit_code = 4


class TrainingError(KDDeployError):
    """Training that cannot start or cannot go on."""

    exit_code = 5


class ShapeError(TrainingError):
    """Two tensors whose shapes do not fit an objective."""


class ExportError(KDDeployError):
    """A graph that does not export, or does not answer like the model it came from."""

    exit_code = 6


class BenchmarkError(KDDeployError):
    """A target that cannot be measured, or a provider that this machine does not have."""

    exit_code = 7


class BundleError(KDDeployError):
    """A bundle or checkpoint that cannot be opened or cannot be trusted."""

    exit_code = 8


class MissingExtraError(KDDeployError):
    """An optional dependency that is not installed."""

    exit_code = 9

    def __init__(self, what: str, *, extra: str = "", package: str = "") -> None:
        """Name what needs it, and either our extra or the foreign package to install."""
        wanted = f"'kd-deploy[{extra}]'" if extra else package
        super().__init__(f"{what} needs packages that are not installed", hint=f"pip install {wanted}")


class GateError(KDDeployError):
    """A limit that the recipe sets and the result does not meet."""

    exit_code = 10


EXTRAS = {
    "torch": "distill",
    "transformers": "distill",
    "accelerate": "distill",
    "datasets": "distill",
    "safetensors": "distill",
    "onnx": "export",
    "jinja2": "report",
    "matplotlib": "report",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """What to install where a package of one of our extras is missing; None: it is of none."""
    one: BaseException | None = error
    while one is not None:  # transformers hides what it lacks behind an error of its own
        package = (getattr(one, "name", None) or "").split(".")[0]
        if package in EXTRAS:
            return MissingExtraError(f"this command (without {package})", extra=EXTRAS[package])
        one = one.__cause__ or one.__context__
    return None
