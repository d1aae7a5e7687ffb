"""The API as protobuf; modules below are made by grpcio-tools when the package is built."""
