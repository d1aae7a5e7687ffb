"""The management API, v1alpha1: operations over the store; REST, Connect and gRPC are shells around them."""
