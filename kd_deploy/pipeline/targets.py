"""MODEL as a user names it, and how to open it: a bundle, a checkpoint, a hub id, an .onnx file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kd_deploy.benchmark.targets import JSON, Factory, TargetSpec
from kd_deploy.bundle import MANIFEST, PRECISIONS, Bundle
from kd_deploy.errors import BenchmarkError, BundleError, UsageError
from kd_deploy.files import absolute
from kd_deploy.measurement import Role, TargetName
from kd_deploy.pipeline.fingerprints import signature
from kd_deploy.runtime.loading import load
from kd_deploy.runtime.open import files_of, open_onnx
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.runtime.session import find_provider
from kd_deploy.tasks.heads import MAIN

TORCH = "torch"
FORMS = (*PRECISIONS, TORCH)
DEFAULT_MAX_LENGTH = 512
# What the names of graphs say of them, ours and those of other exporters.
NAMED = {"int8": ("quant", "int8"), "int4": ("q4", "int4", "bnb4"), "fp16": ("fp16",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One model in one form, not opened yet."""

    name: TargetName
    path: Path
    kind: Literal["bundle", "checkpoint", "onnx"]
    max_length: int
    size_bytes: int
    parameters: int | None = None
    task: str = MAIN

    def open(self) -> Predictor:
        """A predictor of its task in this process, to be judged on its answers."""
        if self.name.runtime == TORCH:
            from kd_deploy.distill.opening import open_predictor

            return open_predictor(self.path, max_length=self.max_length).task(self.task)
        if self.kind == "onnx":
            return open_onnx(str(self.path), self.max_length, "cpu", None).task(self.task)
        return load(self.path, precision=self.name.precision, task=self.task)

    def spec(self, *, provider: str, threads: int, must_run: bool) -> TargetSpec:
        """What a benchmark measures.

        Args:
            provider: cpu, cuda, or any other that onnxruntime has here.
            threads: Threads of one run.
            must_run: Whether a missing provider, or a process that dies, is an error; else the target is reported as
                not measured.
        """
        return TargetSpec(
            target=self.name,
            provider=provider,
            threads=threads,
            factory=self._factory(provider, threads),
            size_bytes=self.size_bytes,
            parameters=self.parameters,
            reason=self._missing(provider, must_run=must_run),
            must_run=must_run,
        )

    def signature(self) -> list[object]:
        """What its answers depend on, and how long they take."""
        return signature(Bundle.open(self.path), precision=None if self.name.runtime == TORCH else self.name.precision)

    def _factory(self, provider: str, threads: int) -> Factory:
        path = str(absolute(self.path))  # a hub's links lead to files without suffix or company
        how: dict[str, JSON] = {"provider": provider, "threads": threads}
        arguments: dict[str, JSON]
        if self.name.runtime == TORCH:
            arguments = {"checkpoint": path, "max_length": self.max_length, **how}
            return Factory(function="kd_deploy.distill.opening:open_torch", arguments=arguments)
        if self.kind == "onnx":
            arguments = {"graph": path, "max_length": self.max_length, **how}
            return Factory(function="kd_deploy.runtime.open:open_onnx", arguments=arguments)
        arguments = {"bundle": path, "precision": self.name.precision, **how}
        return Factory(function="kd_deploy.runtime.open:open_bundle", arguments=arguments)

    def _missing(self, provider: str, *, must_run: bool) -> str | None:
        find = find_provider if self.name.runtime == "onnxruntime" else _find_torch_provider
        try:
            find(provider)
        except BenchmarkError as error:
            if must_run:
                raise
            return str(error)
        return None


def resolve(reference: str, *, role: Role = "student", name: str | None = None) -> Target:
    """The model that a user names: BUNDLE, BUNDLE:int8, a checkpoint folder, a hub id, an .onnx file.

    Raises:
        BundleError: There is no such model, or it does not have the form.
    """
    path, form = _split(reference)
    if Path(path).suffix == ".onnx":
        return _onnx_file(Path(path), role=role, name=name)
    folder = Path(path)
    if (folder / MANIFEST).is_file():
        return bundle_target(Bundle.open(folder), form=form, role=role, name=name)
    if form not in (None, TORCH):
        raise BundleError(
            f"{path} is not a bundle: it has no {form} form", hint=f"kd-deploy export {path} --output DIR makes one"
        )
    from kd_deploy.distill.checkpoints import find_model
    from kd_deploy.distill.tokenizer_files import default_max_length

    found = find_model(path)
    return Target(
        name=TargetName(name=name or found.name, role=role, runtime="torch", precision="fp32"),
        path=found,
        kind="checkpoint",
        max_length=default_max_length(found, limit=DEFAULT_MAX_LENGTH),
        size_bytes=sum(one.stat().st_size for one in (*found.glob("*.safetensors"), *found.glob("tokenizer.json"))),
    )


def on_task(target: Target, task: str) -> Target:
    """A model that another is compared with, on the same of its tasks; one that has no such task is for its own."""
    held = Bundle.open(target.path).manifest.tasks if target.kind == "bundle" else {}
    return replace(target, task=task) if task in held else target


def bundle_target(bundle: Bundle, *, form: str | None = None, role: Role, name: str | None = None) -> Target:
    """One form of a bundle: an ONNX precision, or its torch half. None: the one that answers.

    Raises:
        BundleError: The bundle does not have the form.
    """
    chosen = form or bundle.usual_precision or TORCH
    if chosen != TORCH:
        bundle.graphs(chosen)
    shown = name or f"{bundle.path.name}-{chosen}"
    runtime: Literal["torch", "onnxruntime"] = "torch" if chosen == TORCH else "onnxruntime"
    return Target(
        name=TargetName(name=shown, role=role, runtime=runtime, precision="fp32" if chosen == TORCH else chosen),
        path=bundle.path,
        kind="bundle",
        max_length=bundle.manifest.max_length,
        size_bytes=bundle.size_bytes(chosen),
        parameters=bundle.manifest.parameters,
    )


def bundle_form(reference: str, precision: str | None) -> tuple[str, str | None]:
    """The folder and the ONNX precision that `BUNDLE:int8`, or BUNDLE and --precision, name.

    Raises:
        UsageError: No such precision, or one that is no ONNX form.
    """
    path, form = _split(reference)
    chosen = precision or form
    if chosen is not None and chosen not in PRECISIONS:
        raise UsageError(f"there is no precision {chosen!r}", hint=f"choose of: {', '.join(PRECISIONS)}")
    return path, chosen


def _split(reference: str) -> tuple[str, str | None]:
    path, colon, form = reference.rpartition(":")
    if colon and form in FORMS:
        return path, form
    if colon and Path(path).is_dir():
        raise BundleError(f"{reference}: there is no form {form!r}", hint=f"write one of: {', '.join(FORMS)}")
    return reference, None


def _onnx_file(path: Path, *, role: Role, name: str | None) -> Target:
    if not path.is_file():
        raise BundleError(f"there is no file {path}", hint="check the path")
    precision = next((one for one, parts in NAMED.items() if any(part in path.stem for part in parts)), "fp32")
    return Target(
        name=TargetName(name=name or path.stem, role=role, runtime="onnxruntime", precision=precision),
        path=path,
        kind="onnx",
        max_length=DEFAULT_MAX_LENGTH,
        size_bytes=sum(one.stat().st_size for one in files_of(path)),
    )


def _find_torch_provider(name: str) -> None:
    if name not in ("cpu", "cuda"):
        raise BenchmarkError(
            f"torch has no provider {name!r}", hint="it has cpu and cuda; name an ONNX form of the model"
        )
    if name == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise BenchmarkError("this torch has no CUDA device", hint="kd-deploy doctor shows what is here")
