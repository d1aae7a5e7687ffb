"""What we write beside Envoy's resources for logs and checks to read: text under our own namespace."""

from envoy.config.core.v3 import base_pb2

NAMESPACE = "igw"
POLICY = "policy"
"""Of a virtual host: what to hold its requests to."""
GATEWAY = "gateway"
"""Of a virtual host: the gateway's id."""
REPORTS = "reports"
"""Of a virtual host: `true` when what is used there is reported to W&B."""
MODEL = "model"
"""Of a route: the model's name."""
DEPLOYMENT = "deployment"
"""Of an endpoint: whose replica it is. A cluster that falls back on others is named in none of its requests."""


def metadata(**texts: str) -> base_pb2.Metadata:
    """Give metadata that says this."""
    message = base_pb2.Metadata()
    message.filter_metadata[NAMESPACE].update(texts)
    return message
