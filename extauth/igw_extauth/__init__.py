"""Whose token is it, and may they? The service that Envoy's ext_authz asks before it forwards a request.

attempt → identity → decision → answer; the gRPC and the HTTP shell share all four.
"""
