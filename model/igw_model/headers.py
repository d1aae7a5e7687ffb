"""Header names that our services, Envoy's routes and the model servers share.

Every header under ``INTERNAL_PREFIX`` is removed from a client's request before anything reads it.
"""

INTERNAL_PREFIX = "x-igw-"
PRINCIPAL = "x-igw-principal"
"""Who is calling; set by extauth, forwarded to the model server."""
ORGANIZATION = "x-igw-organization"
"""The organisation that the caller was admitted for; set by extauth, forwarded to the model server."""
ENTITY = "x-igw-entity"
"""The W&B entity or team that a request is attributed to; set by extauth, forwarded to the model server."""
PROJECT = "x-igw-project"
"""The W&B project, ``<entity>/<project>``; set by extauth, forwarded to the model server."""
LEASE = "x-igw-lease"
"""Which of its project's slots a request holds; told to Envoy by extauth, and by Envoy's access log to extauth."""
TOKEN = "x-igw-token"  # noqa: S105 - a name
"""The first eight digits of a keyed hash of the token; told to Envoy by extauth, for its access log."""
OPENAI_PROJECT = "openai-project"
"""The project that a client names; OpenAI's SDKs send it. Forwarded as it came."""
POLICY = "x-igw-policy"
"""What to hold a request to (`policy.policy_text`); on Envoy's checks alone, set by Envoy."""
MODEL = "x-igw-model"
"""The model that the body asks for; set by extproc, matched by routes, not forwarded."""
MODEL_METADATA = "igw.extproc"
"""The namespace of Envoy's metadata where extproc puts the same: it can set no header where none were sent to it."""
