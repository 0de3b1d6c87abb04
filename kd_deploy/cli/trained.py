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
    }
    scores = ", ".join(f"{name} {score:.4f}" for name, score in manifest.metrics.items())
    lines = [str(bundle.path), f"{manifest.parameters / 1e6:.1f} M parameters; on validation: {scores}"]
    emit(value, as_json=as_json, lines=lines)
