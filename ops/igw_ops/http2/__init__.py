"""HTTP/2 as a server of ours speaks it to Envoy: frames and one connection (pure), and its asyncio shell."""
