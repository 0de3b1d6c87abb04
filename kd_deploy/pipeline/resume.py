"""Stages that are not run again while what they depend on stays the same."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kd_deploy import measurement_store, progress
from kd_deploy.bundle import Bundle, require_replaceable
from kd_deploy.errors import BenchmarkError, BundleError
from kd_deploy.files import sha256_text, write_text
from kd_deploy.pipeline.fingerprints import signature

STATE = ".kd-deploy"
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Stages:
    """The memory of a run folder: for each stage, the fingerprints of what it was finished with and of what it left.

    `outdate` removes from the folder what is of an earlier bundle, once another one stands in its place.
    """

    folder: Path
    outdate: Callable[[Path], None] = lambda _: None

    def forget(self) -> None:
        """Make every stage run again."""
        shutil.rmtree(self.folder / STATE, ignore_errors=True)

    def work(self, inputs: object) -> Path:
        """Where a stage with these inputs keeps what it may go on from."""
        return self.folder / STATE / "work" / fingerprint(inputs)[:16]

    @property
    def logs(self) -> Path:
        """Where trackers that write files do so."""
        return self.folder / "logs"

    @property
    def answers(self) -> Path:
        """Where the answers of models are kept, for as long as these are compared."""
        return self.folder / STATE / "answers"

    def once(
        self,
        name: str,
        inputs: object,
        *,
        make: Callable[[], Made],
        reuse: Callable[[], Made],
        left: Callable[[Made], object] = lambda _: None,
    ) -> Made:
        """Run a stage, or reuse what it left when its inputs are the same and its output is whole.

        Args:
            name: Of the stage.
            inputs: JSON values that its output depends on.
            make: Runs it.
            reuse: Opens its output; a BundleError says that it is gone or was changed.
            left: What tells this output from any other, as JSON values.
        """
        if self.holds(name, inputs):
            try:
                made = reuse()
                self._require_own(name, left(made))
            except BundleError as error:
                progress.say(f"{name}: made again ({error})")
            else:
                progress.say(f"{name}: nothing changed, reused")
                return made
        elif self._recorded(name, "inputs"):
            progress.say(f"{name}: made again (what it depends on has changed)")
        made = make()
        found = {"inputs": fingerprint(inputs), "left": fingerprint(left(made))}
        write_text(self._record(name), json.dumps(found) + "\n")
        return made

    def bundle(
        self, name: str, inputs: object, path: Path, *, make: Callable[[], Bundle], precisions: Sequence[str] = ()
    ) -> Bundle:
        """`once` of a stage that leaves a bundle.

        Args:
            name: Of the stage.
            inputs: As for `once`.
            path: Where the bundle goes.
            make: Makes it.
            precisions: What graphs it must have.

        Raises:
            UsageError: A bundle that is to be made again holds somebody else's file.
        """

        def reuse() -> Bundle:
            made = whole_bundle(path)
            for one in precisions:
                made.graphs(one)
            return made

        def replace() -> Bundle:
            require_replaceable(path)
            made = make()
            self.outdate(self.folder)
            return made

        def left(made: Bundle) -> object:
            return [signature(made), *(signature(made, precision=one) for one in precisions)]

        return self.once(name, inputs, make=replace, reuse=reuse, left=left)

    def holds(self, name: str, inputs: object) -> bool:
        """Whether a stage was finished with these inputs."""
        return self._recorded(name, "inputs") == fingerprint(inputs)

    def wrote(self, name: str) -> bool:
        """Whether a stage was ever finished here."""
        return self._record(name).is_file()

    def _require_own(self, name: str, found: object) -> None:
        known = self._recorded(name, "left")
        if known is not None and known != fingerprint(found):
            raise BundleError("another command has written there since")

    def _record(self, name: str) -> Path:
        return self.folder / STATE / f"{name}.json"

    def _recorded(self, name: str, what: str) -> str | None:
        try:
            return str(json.loads(self._record(name).read_text(encoding="utf-8"))[what])
        except (OSError, ValueError, KeyError):
            return None


def fingerprint(inputs: object) -> str:
    """The hash of JSON values."""
    return sha256_text(json.dumps(inputs, sort_keys=True, default=str))


def stored(path: Path, kind: type[measurement_store.Noun]) -> measurement_store.Noun:
    """What a stage wrote down as `measurement_store` does.

    Raises:
        BundleError: It is gone or was changed.
    """
    if not path.is_file():
        raise BundleError(f"{path} is gone")
    try:
        return measurement_store.load(path, kind)
    except BenchmarkError as error:
        raise BundleError(str(error)) from error


def whole_bundle(path: Path) -> Bundle:
    """A bundle all of whose files are as they were signed; there may be others beside them."""
    bundle = Bundle.open(path)
    bundle.verify_known()
    return bundle
