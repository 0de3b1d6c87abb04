"""A stage is taken up while what it depends on, and what it left, are as they were."""

import json
from pathlib import Path

from kd_deploy.pipeline.resume import Stages
from kd_deploy.progress import reporting_to
from tests.heard import Heard


def once(folder: Path, *, inputs: str = "data", lies_there: str = "mine") -> tuple[str, list[str]]:
    """What a stage gives, and what it says; `lies_there` is what a second run finds in its place."""
    with reporting_to(heard := Heard()):
        made = Stages(folder).once(
            "student", inputs, make=lambda: "mine", reuse=lambda: lies_there, left=lambda found: found
        )
    return made, heard.said


def test_what_another_command_wrote_is_not_taken_up(tmp_path: Path) -> None:
    assert once(tmp_path) == ("mine", [])
    assert once(tmp_path) == ("mine", ["student: nothing changed, reused"])
    assert once(tmp_path, lies_there="other") == (
        "mine",
        ["student: made again (another command has written there since)"],
    )


def test_other_inputs_are_told(tmp_path: Path) -> None:
    once(tmp_path)

    assert once(tmp_path, inputs="more") == ("mine", ["student: made again (what it depends on has changed)"])


def test_a_record_that_does_not_say_what_was_left_is_believed(tmp_path: Path) -> None:
    once(tmp_path)
    record = tmp_path / ".kd-deploy" / "student.json"
    record.write_text(json.dumps({"inputs": json.loads(record.read_text())["inputs"]}))

    assert once(tmp_path, lies_there="other") == ("other", ["student: nothing changed, reused"])
