"""Tells Envoy which model a request's body asks for (`envoy.service.ext_proc.v3.ExternalProcessor`)."""
