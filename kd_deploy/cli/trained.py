"""What a training command prints of the bundle it wrote."""

from kd_deploy.bundle import Bundle
from kd_deploy.cli.output import emit


def show_trained(bundle: Bundle, *, as_json: bool) -> None:
    """Where the bundle is, how large, and its scores on validation."""
    manifest = bundle.manifest
    value = {
        "path": str(bundle.path),
        "parameters": manifest.parameters,
        "labels": list(manifest.labels),
        "validation": manifest.metrics,
        "tasks": {
            name: {"labels": list(one.labels), "validation": one.metrics} for name, one in manifest.tasks.items()
        },
    }
    lines = [
        str(bundle.path),
        f"{manifest.parameters / 1e6:.1f} M parameters; on validation: {_told(manifest.metrics)}",
    ]
    lines += [f"task {name}, on validation: {_told(one.metrics)}" for name, one in manifest.tasks.items()]
    emit(value, as_json=as_json, lines=lines)


def _told(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {score:.4f}" for name, score in metrics.items())
