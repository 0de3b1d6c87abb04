"""The recipe's limits, once the report is written."""

from pathlib import Path

from kd_deploy.errors import GateError
from kd_deploy.report.model import Gate, Report


def require_gates(report: Report, folder: Path) -> None:
    """Fail where a limit of the recipe was missed; the report is written all the same.

    Raises:
        GateError: Naming every gate that said no, with its value and its limit.
    """
    missed = [gate for gate in report.gates if not gate.passed]
    if missed:
        told = "; ".join(_told(gate) for gate in missed)
        raise GateError(f"the gates say no: {told}", hint=f"the report is in {folder}")


def _told(gate: Gate) -> str:
    found = f"not known ({gate.reason})" if gate.value is None else f"{gate.value:.4g}"
    return f"{gate.target}: {gate.name} is {found}, the limit is {gate.limit:g}"
