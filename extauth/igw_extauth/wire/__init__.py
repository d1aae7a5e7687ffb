"""How checks come and are answered: HTTP/1.1, HTTP/2, gRPC; and Envoy's access log."""
