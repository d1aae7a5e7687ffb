"""A small agent between one Envoy and the control plane: it passes configuration on, and keeps what Envoy accepted."""
