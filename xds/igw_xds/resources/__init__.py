"""The plan as Envoy's messages: one module per Envoy type. Pure; every message is made from its input alone."""
