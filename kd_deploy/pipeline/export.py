"""A bundle, or any checkpoint, to a bundle with ONNX files."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kd_deploy.bundle import MANIFEST, Bundle, require_place
from kd_deploy.distill.adopt import adopt_checkpoint
from kd_deploy.distill.checkpoints import find_model, load_model
from kd_deploy.distill.tokenizer_files import default_max_length
from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.errors import UsageError
from kd_deploy.export.bundle import export_bundle
from kd_deploy.export.graph import Backend
from kd_deploy.export.settings import ExportSettings
from kd_deploy.files import locked
from kd_deploy.pipeline.targets import DEFAULT_MAX_LENGTH
from kd_deploy.runtime.loading import heads_of, label_space, open_encoder
from kd_deploy.tasks.registry import writes
from kd_deploy.tasks.task import Examples


def export_model(
    reference: str,
    output: Path | None,
    *,
    precisions: Sequence[str],
    opset: int,
    backend: Backend,
    max_accuracy_drop: float | None,
    examples: Examples | None,
) -> Bundle:
    """Write the ONNX files of a bundle, in place or to `output`; or make a bundle of any checkpoint.

    In place, graphs in precisions that are not asked for stay as they are.

    Raises:
        UsageError: A checkpoint that is not ours was given without `output`.
        ExportError: The graph does not export, or does not answer like the model.
        GateError: int8 costs more than is allowed.
    """
    folder = Path(reference)
    if (folder / MANIFEST).is_file():
        bundle, target = Bundle.open(folder), output or folder
    elif output is None:
        find_model(reference)
        raise UsageError(f"{reference} is a checkpoint, not a bundle", hint="say where the bundle goes: --output DIR")
    else:
        bundle, target = None, output
    require_place(target)
    with locked(target), tempfile.TemporaryDirectory(prefix="kd-deploy-") as aside:
        source = bundle or _adopted(reference, Path(aside) / target.name)
        settings = ExportSettings(
            precisions=precisions,
            opset=opset,
            backend=backend,
            max_accuracy_drop=max_accuracy_drop,
            examples=examples,
            keep=bundle is not None and target.resolve() == folder.resolve(),
        )
        return export_made(source, target, settings=settings)


def export_made(source: Bundle, output: Path, *, settings: ExportSettings) -> Bundle:
    """Write a bundle with fresh ONNX files to `output`, which may be the bundle itself."""
    source.verify()
    model = load_model(source.path)
    runner = TorchRunner(model, heads=heads_of(source))
    decoder = torch_decoder(model, open_encoder(source)) if writes(label_space(source)) else None
    return export_bundle(source, output, model=model, runner=runner, settings=settings, decoder=decoder)


def _adopted(reference: str, output: Path) -> Bundle:
    folder = find_model(reference)
    limit = default_max_length(folder, limit=DEFAULT_MAX_LENGTH)
    return adopt_checkpoint(folder, output, max_length=limit, name=reference)
