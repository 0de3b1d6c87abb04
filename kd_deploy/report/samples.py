"""What targets that write wrote for a few inputs, side by side."""

from collections.abc import Iterator

from kd_deploy.measurement import Evaluation
from kd_deploy.report import cells
from kd_deploy.report.model import Report, Sample
from kd_deploy.report.table import Table


def samples_of(evaluation: Evaluation) -> Iterator[Sample]:
    """A sample for each input that the evaluation shows."""
    for place, given in enumerate(evaluation.samples):
        reference = evaluation.references[place]
        written = {one.target.name: one.samples[place] for one in evaluation.targets if place < len(one.samples)}
        if isinstance(reference, str):
            yield Sample(input=given, reference=reference, written=written)
        else:
            yield Sample(input=given, reference=None, written=written, reason="any text may follow a prompt")


def samples_table(report: Report) -> Table:
    """For each input a row for what the data has, and one for each target."""
    rows = []
    for one in report.samples:
        said = {**({"reference": one.reference} if one.reference is not None else {}), **one.written}
        first = [one.input, *[""] * (len(said) - 1)]
        rows += [tuple(map(cells.words, row)) for row in zip(first, said, said.values(), strict=True)]
    return Table(title="What they write", columns=("input", "by", "text"), rows=tuple(rows))
