"""The operations of /herdbook/workspace."""

from typing import Final

import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.phone_numbers import region_named
from herdbook.workspaces.model import Workspace, WorkspaceUpdate
from herdbook.workspaces.store import region_of, set_region


async def get_workspace(call: Call) -> Answer:
    """Read the settings of the workspace."""
    workspace_id = call.caller.workspace_id
    region = await region_of(call.services.database.pool, workspace_id)
    shown = Workspace(object="workspace", id=ids.encoded(ids.WORKSPACE, workspace_id), region=region)
    return Answer(msgspec.json.encode(shown))


async def update_workspace(call: Call, asked: WorkspaceUpdate) -> Answer:
    """Change the settings of the workspace."""
    region = None if asked.region is None else region_named(asked.region)
    await set_region(call.services.database.pool, call.caller.workspace_id, region)
    return await get_workspace(call)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/workspace",
        id="get-workspace",
        summary="Get workspace",
        description="Reads the settings of the workspace.",
        tag="subpackage_workspace",
        scopes=(ADMIN,),
        handler=get_workspace,
        answer=Workspace,
        answer_description="Workspace response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="PATCH",
        path="/herdbook/workspace",
        id="update-workspace",
        summary="Update workspace",
        description="Changes the settings of the workspace: the country whose phone numbers need no country code.",
        tag="subpackage_workspace",
        scopes=(ADMIN,),
        handler=update_workspace,
        body=WorkspaceUpdate,
        answer=Workspace,
        answer_description="Updated workspace response.",
        bypasses_ledger=True,
    ),
)
