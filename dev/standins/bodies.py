"""JSON bodies, refused with the words of the real server's framework (axum) when they do not fit."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class RefusedBody(Exception):
    """The body does not fit; ``response`` says how, as plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = web.Response(status=status, text=text)


async def read(request: web.Request, model: type[Model]) -> Model:
    """The request's body as ``model``. Raises RefusedBody: 415 no JSON content type, 400 no JSON, 422 misfit."""
    if request.content_type != "application/json":
        raise RefusedBody(415, "Expected request with `Content-Type: application/json`")
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise RefusedBody(400, f"Failed to parse the request body as JSON: {first['msg']}") from None
        name = ".".join(str(part) for part in first["loc"])
        said = f"missing field `{name}`" if first["type"] == "missing" else f"{name}: {first['msg']}"
        text = f"Failed to deserialize the JSON body into the target type: {said}"
        raise RefusedBody(422, text) from None


def error(status: int, code: str, message: str) -> web.Response:
    """An error body as Aeterna's API shapes it."""
    return web.json_response({"error": code, "message": message}, status=status)
