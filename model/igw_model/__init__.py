"""The vocabulary: gateways, deployments, and the names that Envoy and our services share. Pure."""
