"""What is made of a student and shown of it: export, benchmark, report."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from kd_deploy.numbers import Float, Int
from kd_deploy.recipe.section import PositiveInt, Section

Precision = Literal["fp32", "int8", "int4"]
# By its short name, which torch has too: CPUExecutionProvider is cpu.
Provider = Annotated[str, AfterValidator(lambda name: name.lower().removesuffix("executionprovider"))]


MOST_RETAINED = 2.0


class Export(Section):
    """Which ONNX files to write, and what they may cost."""

    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32", "int8")
    max_accuracy_drop: Annotated[Float, Field(ge=0, le=1)] | None = Field(
        0.01, description="Of the main metric on validation, absolute, against the torch model. null: no gate."
    )
    opset: Annotated[Int, Field(ge=14, le=18)] = 17


class Benchmark(Section):
    """What to measure."""

    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] = ("cpu",)
    threads: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1,)
    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 8)
    sequence_lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16, 128)
    rounds: PositiveInt = Field(5, description="Targets take turns, this many times.")
    texts: PositiveInt = Field(200, description="Texts of the data that each round answers one by one.")


def _share(value: float) -> float:
    if value > MOST_RETAINED:
        raise ValueError("is a share of what the teacher is worth, such as 0.95")
    return value


class Gates(Section):
    """Limits for the file that predict takes; a miss is exit code 10, the report is written all the same."""

    min_retained: Annotated[Float, Field(gt=0), AfterValidator(_share)] | None = None
    min_speedup: Annotated[Float, Field(gt=0)] | None = None
    max_size_mb: Annotated[Float, Field(gt=0)] | None = None


class ReportOptions(Section):
    """How the report is written, and what it must show."""

    formats: Annotated[tuple[Literal["html", "md", "json"], ...], Field(min_length=1)] = ("html", "md", "json")
    gates: Gates = Gates()
