"""A workspace with something in every table, its neighbour, and what archives of it have."""

import asyncio
import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import requests

from herdbook import ids
from tests.backups.farm import rows
from tests.cli.programs import Running, herdbook
from tests.erasure.planting import plant
from tests.subject_access.test_subject_access import made, plant_former, plant_links, url_of

PASSPHRASE: Final = "a herd of ninety cows"  # noqa: S105  # of these tests alone
NEIGHBOUR: Final = "Neighbourly"
SECRET: Final = "Zwischenruf"  # noqa: S105  # as above


@dataclass(frozen=True)
class Original:
    """A data folder, and the full workspace in it."""

    data_dir: Path
    workspace: str

    @property
    def uuid(self) -> str:
        """The id of the workspace, as the database spells it."""
        return uuid_of(self.workspace)


def uuid_of(workspace: str) -> str:
    """Return the id of a workspace, as the database spells it."""
    decoded = ids.decoded(ids.WORKSPACE, workspace)
    assert decoded is not None
    return str(decoded)


def furnish(server: Running, receiver: str) -> Original:
    """Write something into every table, and another workspace beside it."""
    workspace = server.get("/api/herdbook/workspace").json()["id"]
    plant_former(server)
    plant_links(server, plant(server, receiver))
    gone = made(server, "/api/v2/contacts", {"first_name": "Gone", "emails": [{"email": "gone@marker.test"}]})
    made(server, "/api/herdbook/webhooks", {"url": receiver, "headers": [{"name": "X-Token", "value": SECRET}]})
    neighbour = herdbook("workspaces", "create", NEIGHBOUR, folder=server.folder).said.strip()
    key = herdbook("keys", "create", NEIGHBOUR, "--scope=workspace:admin", f"--workspace={neighbour}", folder=server.folder)
    other = Running(server.process, server.folder, server.url, key.said.strip(), first=False)
    plant_links(other, made(other, "/api/v2/contacts", {"first_name": NEIGHBOUR, "emails": [{"email": "n@marker.test"}]})["id"])
    for each in (server, other):
        company = made(each, "/api/v2/companies", {"domains": [{"domain": "gone.test"}]})
        url = f"{each.url}/api/v2/companies/{company['id']}"
        assert requests.delete(url, headers={"Authorization": each.key}, timeout=90).status_code == 200
    erased = herdbook("erase", gone["id"], f"--workspace={workspace}", folder=server.folder)
    assert erased.status == 0, erased.complained
    asyncio.run(_plant_rows(url_of(server), uuid_of(workspace), uuid_of(neighbour)))
    return Original(server.folder / "herdbook-data", workspace)


async def _plant_rows(url: str, workspace: str, neighbour: str) -> None:
    """Write beside the server, once in each workspace, what needs a browser, a program or months."""
    connection = await asyncpg.connect(url)
    try:
        for number, each in enumerate((workspace, neighbour)):
            values = {"w": each, "n": str(number), "s": f"{SECRET}{number}", "name": ("Ours", NEIGHBOUR)[number]}
            planting = "select set_config('planting.' || key, value, false) from json_each_text($1)"
            await connection.execute(planting, json.dumps(values))
            await connection.execute(_ROWS)
    finally:
        await connection.close()


_ROWS: Final = """
do $$
declare
    w uuid := current_setting('planting.w');
    n text := current_setting('planting.n');
    s text := current_setting('planting.s');
    name text := current_setting('planting.name');
    u uuid := (select id from workspace_user where workspace_id = w order by id limit 1);
    p uuid := gen_random_uuid();
    c uuid := gen_random_uuid();
    o uuid := gen_random_uuid();
    g uuid := gen_random_uuid();
begin
    insert into person (id, address, password_hash) values (p, 'owner' || n || '@marker.test', s);
    insert into credential (id, workspace_id, name, scopes, secret_hash, user_id) values (c, w, 'Console', '{}', '', u);
    insert into person_user values (w, u, p, c);
    insert into passkey (id, person_id, credential_id, public_key, sign_count, name)
        values (gen_random_uuid(), p, s::bytea, s::bytea, 1, name);
    insert into person_openid (issuer, subject, person_id) values ('https://id.test', s, p);
    insert into sign_in_link values (gen_random_uuid(), w, u, s::bytea, now(), true);
    insert into console_session (id, person_id, workspace_id, user_id, secret_hash, is_by_link, address, browser)
        values (gen_random_uuid(), p, w, u, s::bytea, false, '127.0.0.1', name);
    insert into oauth_client (id, workspace_id, name, scopes, redirect_uris, secret_hash)
        values (o, w, name, '{}', '{}', s::bytea);
    insert into oauth_client (id, workspace_id, name, scopes, redirect_uris, secret_hash)
        values (gen_random_uuid(), w, 'Public', '{}', '{}', '');
    insert into oauth_grant (id, client_id, user_id, scopes, redirect_uri, code_challenge, secret_hash, ends_at)
        values (g, o, u, '{}', '', '', s::bytea, now());
    insert into oauth_refresh_token (id, grant_id, secret_hash, expires_at) values (gen_random_uuid(), g, s::bytea, now());
    insert into oauth_access_token (id, client_id, grant_id, scopes, secret_hash, expires_at)
        values (gen_random_uuid(), o, g, '{}', s::bytea, now());
    insert into user_handle values (w, name || '@handle.test', u);
    insert into undone_request values (w, gen_random_uuid(), gen_random_uuid());
    insert into change_trimmed (workspace_id, seq) values (w, 0) on conflict do nothing;
    insert into change_mark values (w, '2024-01-01', 0) on conflict do nothing;
    insert into unfinished (workspace_id, task, object_id) values (w, name, gen_random_uuid());
    insert into erasure_task values (w, gen_random_uuid(), 1, E'{"a": 1,  "b":\\t[null]}');
    insert into import_mapping (workspace_id, name, columns, mapping) values (w, E'tab\\tline\\nback\\\\' || name, '[]', '{}');
    insert into company_field values (w, 'size:' || name, gen_random_uuid());
    insert into company_field_value values (w, 'size:' || name, gen_random_uuid());
    insert into company_note values (w, gen_random_uuid(), gen_random_uuid());
    insert into card values (w, gen_random_uuid(), gen_random_uuid(), E'FN:' || name || E'\nX-A;B="\\t":\\n', '{notes}');
    insert into company_tag values (w, name, gen_random_uuid());
    insert into engagement_external_id values (w, name, gen_random_uuid()) on conflict do nothing;
    update webhook_reader set lease_holder = o, leased_until = now(), sends_as = 1 where workspace_id = w;
    update webhook_endpoint set former_secret = s, former_secret_until = now() where workspace_id = w;
    update credential set last_used_at = now() where workspace_id = w;
end $$
"""


def contents(archive: Path) -> dict[str, bytes]:
    """Return the parts of an archive without secrets."""
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def manifest_of(archive: Path) -> dict[str, Any]:
    """Return the manifest of an archive without secrets."""
    return json.loads(contents(archive)["archive.json"])


def rewritten(archive: Path, target: Path, parts: Mapping[str, bytes]) -> Path:
    """Write an archive anew with some other parts, whose checksums are right unless the manifest is one of them."""
    new = contents(archive) | dict(parts)
    if "archive.json" not in parts:
        manifest = json.loads(new.pop("archive.json"))
        for name, content in new.items():
            manifest["parts"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        new["archive.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in new.items():
            file.writestr(name, content)
    return target


def with_manifest(archive: Path, target: Path, **members: Any) -> Path:
    """Write an archive anew with other members of the manifest."""
    return rewritten(archive, target, {"archive.json": json.dumps(manifest_of(archive) | members).encode()})


def rows_of(url: str, workspace: str, tables: list[str]) -> dict[str, list[bytes]]:
    """Return the rows of a workspace in tables that have its id."""
    found: dict[str, list[bytes]] = {}
    for table in tables:
        column = "id" if table == "workspace" else "workspace_id"
        found[table] = rows(url, f"select * from {table} where {column} = '{workspace}'")
    return found
