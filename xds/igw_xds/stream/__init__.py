"""One Envoy's ADS stream as a pure object: requests and snapshots in, responses out; no gRPC, no clock.

`DeltaStream` and `SotwStream` share one order (order.py) and one memory per type (track.py); how far a client is says
progress.py.
"""

from igw_xds.stream.delta import DeltaStream
from igw_xds.stream.node import Node, node_of
from igw_xds.stream.order import Stream
from igw_xds.stream.overlay import Differences
from igw_xds.stream.response import DeltaResponse, Response, SotwResponse, encoded
from igw_xds.stream.sotw import SotwStream
from igw_xds.stream.track import Accepted, Answer, Holds, Lacks, Refusal, Refuses, Rejected, Standing

__all__ = [
    "Accepted",
    "Answer",
    "DeltaResponse",
    "DeltaStream",
    "Differences",
    "Holds",
    "Lacks",
    "Node",
    "Refusal",
    "Refuses",
    "Rejected",
    "Response",
    "SotwResponse",
    "SotwStream",
    "Standing",
    "Stream",
    "encoded",
    "node_of",
]
