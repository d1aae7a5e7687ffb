"""Every error reply is an OpenAI error object (docs/inference-api.md, section 4)."""

import json

import pytest
from igw_model.openai import ApiError


def test_an_error_is_an_openai_error_object() -> None:
    """The body is `{"error": {message, type, param, code}}`, in UTF-8."""
    error = ApiError(404, "model_not_found", "The model 'größe' does not exist.", "model")
    assert json.loads(error.body()) == {
        "error": {
            "message": "The model 'größe' does not exist.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert "größe" in error.body().decode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    """OpenAI's classes of errors, by status."""
    assert ApiError(status, "code", "message").type == kind
