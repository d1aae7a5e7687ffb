"""OpenAI error objects: the one shape of every reply that the gateway makes itself.

Source: https://platform.openai.com/docs/guides/error-codes and docs/inference-api.md, section 4.
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error reply: HTTP status, machine-readable code, text for people, and the parameter at fault."""

    status: int
    code: str
    message: str
    param: str | None = None

    @property
    def type(self) -> str:
        """Give OpenAI's error class for the status."""
        match self.status:
            case 401:
                return "authentication_error"
            case 402:
                return "insufficient_quota"
            case 429:
                return "rate_limit_error"
            case 403:
                return "permission_error"
            case status if status >= 500:
                return "server_error"
            case _:
                return "invalid_request_error"

    def document(self) -> dict[str, dict[str, str | None]]:
        """Give the JSON object ``{"error": {message, type, param, code}}``."""
        return {
            "error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code},
        }

    def body(self) -> bytes:
        """Give the reply's body."""
        return json.dumps(self.document(), ensure_ascii=False).encode()


MISSING_MODEL = ApiError(400, "missing_model", "you must provide a model parameter", "model")
"""The body names no model; whoever finds that out, extproc, Envoy's script or a route, answers in the same bytes."""
