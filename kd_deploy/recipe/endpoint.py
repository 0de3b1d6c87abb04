"""A teacher on a server: where it answers, how it is asked, and what of its answers may be kept."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from kd_deploy.numbers import Int
from kd_deploy.recipe.section import PositiveFloat, PositiveInt, Section

A_DAY_S = 86_400
READ_BY_ONE = {
    "oip": ("batch_size", "input", "input_pair", "output", "scores", "labels"),
    "openai": ("prompt",),
}


class Endpoint(Section):
    """A teacher that gives its soft labels over HTTP, one label a text."""

    url: str = Field(description="Where the server is, as http://host:8000; the paths of the protocol come after it.")
    protocol: Literal["oip", "openai"] = Field(
        description="oip: Open Inference Protocol v2 (KServe, Triton, MLServer). openai: chat with log-probabilities."
    )
    model: Annotated[str, Field(min_length=1)] = Field(description="Its name on the server.")
    batch_size: PositiveInt = Field(16, description="Texts in a request (oip; openai takes one).")
    timeout_s: Annotated[PositiveFloat, Field(le=A_DAY_S)] = Field(
        30.0, description="Most that the server may be silent."
    )
    retries: Annotated[Int, Field(ge=0)] = Field(4, description="Further tries of a request that a busy server failed.")
    concurrency: PositiveInt = Field(4, description="Requests under way at a time.")
    input: str | None = Field(
        None, description="Tensor of the texts (oip). Left out: the model's only BYTES input, else text."
    )
    input_pair: str = Field("text_pair", description="Tensor of the second texts (oip).")
    output: str | None = Field(None, description="Tensor of the scores (oip). Left out: the first of floats.")
    scores: Literal["logits", "probabilities"] = Field("logits", description="What that tensor holds (oip).")
    labels: tuple[str, ...] | None = Field(
        None, description="The classes in the order of that tensor (oip). Left out: as the server names them."
    )
    prompt: str | None = Field(
        None,
        description="What is asked (openai), with {labels}, {text} and, for pairs, {text_pair}. {labels} becomes one "
        "line a label, as `A: name`; the answer wanted is the letter alone. Left out: a plain question.",
    )
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the bearer token. The token itself stays out of recipes."
    )
    top_k: PositiveInt | None = Field(
        None, description="Keep only so many classes of an answer, the likeliest; the others share the rest evenly."
    )
    decimals: Annotated[Int, Field(ge=1, le=6)] | None = Field(
        None, description="Keep probabilities rounded to so many decimals."
    )

    # After the fields, not on them: a fault of a field is shown with its value, which may be a secret here.
    @model_validator(mode="after")
    def _plain_url(self) -> Self:
        try:
            parts = urlsplit(self.url)
            plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            plain = False
        if not plain:
            raise ValueError("url must be http://host or https://host, with a port and a path where needed")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("url must hold no user, no query and no fragment; a token goes into api_key_env")
        return self

    @model_validator(mode="after")
    def _name_of_a_variable(self) -> Self:
        if self.api_key_env is not None and not (self.api_key_env.isascii() and self.api_key_env.isidentifier()):
            raise ValueError("api_key_env must be the name of an environment variable, not the token itself")
        return self

    @model_validator(mode="after")
    def _nothing_unread(self) -> Self:
        for protocol, names in READ_BY_ONE.items():
            for name in names:
                if protocol != self.protocol and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is read by protocol {protocol} alone")
        return self

    @model_validator(mode="after")
    def _whole_prompt(self) -> Self:
        for part in ("{text}", "{labels}"):
            if self.prompt is not None and part not in self.prompt:
                raise ValueError(f"prompt has no {part}")
        return self
