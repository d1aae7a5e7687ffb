"""A program that calls `xds:///TARGET` once for each line of standard input and prints the answer.

gRPC reads GRPC_XDS_BOOTSTRAP once in a process, so its client has a process of its own.
"""

import sys

import grpc

CALL_SECONDS = 10


def main(target: str) -> None:
    """Call, and print what was answered, or the status that came instead."""
    with grpc.insecure_channel(f"xds:///{target}") as channel:
        call = channel.unary_unary("/demo.Model/Name")
        for _ in sys.stdin:
            try:
                answer = call(b"", timeout=CALL_SECONDS, wait_for_ready=True).decode()
            except grpc.RpcError as error:
                answer = error.code().name
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
