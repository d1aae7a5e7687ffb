"""Header names that our services, Envoy's routes and the model servers share.

Every header under ``INTERNAL_PREFIX`` is removed from a client's request before anything reads it.
"""

INTERNAL_PREFIX = "x-igw-"
PRINCIPAL = "x-igw-principal"
"""Who is calling; set by extauth, forwarded to the model server."""
ORGANIZATION = "x-igw-organization"
"""The organisation that the caller was admitted for; set by extauth, forwarded to the model server."""
POLICY = "x-igw-policy"
"""What to hold a request to (`policy.policy_text`); on Envoy's checks alone, set by Envoy."""
MODEL = "x-igw-model"
"""The model that the body asks for; set by extproc, matched by routes, not forwarded."""
