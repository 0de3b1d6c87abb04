"""Numbers as people write them in settings: true is none of them."""

from typing import Annotated, Any

from pydantic import BeforeValidator


def no_switch(value: Any) -> Any:
    """What was written for a number; pydantic takes true for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what pydantic shows as a fault
    return value


Int = Annotated[int, BeforeValidator(no_switch)]
Float = Annotated[float, BeforeValidator(no_switch)]
