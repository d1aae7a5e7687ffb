"""The plan as a snapshot: every resource of every type, encoded once."""

from igw_xds import names
from igw_xds.plan import Plan
from igw_xds.resources.clusters import clusters
from igw_xds.resources.endpoints import endpoints
from igw_xds.resources.listener import listener
from igw_xds.resources.routes import routes
from igw_xds.resources.scopes import scopes
from igw_xds.settings import DataPlane
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot, resource, snapshot


def snapshot_of(plan: Plan, data_plane: DataPlane) -> Snapshot:
    """Give the snapshot that serves a plan."""
    return snapshot(
        {
            CLUSTER: [resource(message.name, message) for message in clusters(plan, data_plane)],
            ENDPOINTS: [resource(message.cluster_name, message) for message in endpoints(plan)],
            LISTENER: [resource(names.LISTENER, listener(data_plane))],
            SCOPE: [resource(message.name, message) for message in scopes(plan)],
            ROUTES: [resource(message.name, message) for message in routes(plan, data_plane)],
        }
    )
