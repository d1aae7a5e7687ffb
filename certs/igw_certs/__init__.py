"""Certificates: key pairs of clients' host names, the identities of our own processes, and an authority for both."""
