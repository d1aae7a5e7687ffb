"""gRPC as a server of ours speaks it, for long streams: its bytes and one connection (pure), and the asyncio shell."""
