"""The tables that an archive of a workspace has, in the order in which they are brought back, and those that it has not.

A test walks over all tables of the schema, so that none can be forgotten.
"""

from dataclasses import dataclass, field
from typing import Final, LiteralString

# The rows `t` of the workspace, whose id takes the place of the mark in `store.py`: by a setting, a distributed database would
# not find the node that has it.
_OF_WORKSPACE: Final = "t.workspace_id = $workspace"
_OF_PEOPLE: Final = "exists (select from person_user m where m.workspace_id = $workspace and m.person_id = t.$id)"
_OF_GRANTS: Final = "exists (select from oauth_client c where c.workspace_id = $workspace and c.id = $client_id)"
# No secret has this hash, and unlike an empty one it does not say that there never was a secret.
_NO_HASH: Final[LiteralString] = r"case when t.secret_hash = '' then t.secret_hash else '\x00' end"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A table with rows of the workspace.

    The rows are those that `belongs` is true of. `workspace_column` has the workspace's id, which no archive has.
    `instead` are expressions for columns that no archive has, `without_secrets` for those that are secret. `is_secret` if
    all rows are.
    """

    table: LiteralString
    belongs: LiteralString = _OF_WORKSPACE
    workspace_column: LiteralString | None = "workspace_id"
    instead: dict[LiteralString, LiteralString] = field(default_factory=dict[LiteralString, LiteralString])
    without_secrets: dict[LiteralString, LiteralString] = field(default_factory=dict[LiteralString, LiteralString])
    is_secret: bool = False

    def columns_instead(self, *, with_secrets: bool) -> dict[LiteralString, LiteralString]:
        """Return the expressions for columns that an archive with or without secrets has not."""
        return self.instead if with_secrets else self.instead | self.without_secrets


def _all(*tables: LiteralString) -> tuple[Place, ...]:
    return tuple(Place(table=table) for table in tables)


# People sign in on a server, not in a workspace: only those are brought who are not there yet.
PERSON: Final = Place(
    table="person",
    belongs=_OF_PEOPLE.replace("$id", "id"),
    workspace_column=None,
    # The address is only what another server says: whoever proves it there takes the account over.
    instead={"is_vouched": "false", "last_workspace_id": "null::uuid"},
    is_secret=True,
)
PERSON_USER: Final = Place(table="person_user", is_secret=True)
PASSKEY: Final = Place(table="passkey", belongs=_OF_PEOPLE.replace("$id", "person_id"), workspace_column=None, is_secret=True)
PERSON_OPENID: Final = Place(
    table="person_openid", belongs=_OF_PEOPLE.replace("$id", "person_id"), workspace_column=None, is_secret=True
)
OF_PEOPLE: Final = (PERSON, PERSON_USER, PASSKEY, PERSON_OPENID)

PLACES: Final = (
    Place(table="workspace", belongs="t.id = $workspace", workspace_column="id"),
    Place(table="credential", without_secrets={"secret_hash": _NO_HASH, "last_used_at": "null::timestamptz"}),
    *_all(
        "credential_change",
        "change",
        "undone_request",
        "change_trimmed",
        "change_mark",
        "unfinished",
        "erasure",
        "erasure_task",
    ),
    # The answers that are kept for retries may have a secret that is shown once.
    Place(table="idempotency_record", is_secret=True),
    *_all(
        "company",
        "company_word",
        "company_domain",
        "company_former_domain",
        "company_field",
        "company_field_value",
        "company_note",
        "company_tag",
    ),
    *_all("contact", "contact_word", "contact_email", "contact_former_email", "contact_external_id"),
    *_all(
        "contact_former_external_id", "contact_field", "contact_field_value", "contact_note", "contact_tag", "company_contact"
    ),
    *_all("workspace_user", "user_word", "user_handle"),
    *_all("tag", "tag_name", "field", "field_key", "note", "card", "saved_view", "import_mapping", "distinct_pair"),
    *_all("engagement", "engagement_word", "engagement_contact", "engagement_company", "engagement_tag"),
    *_all("engagement_external_id", "transcript", "transcript_comment"),
    Place(
        table="webhook_endpoint",
        without_secrets={
            "secret": "''",
            "former_secret": "null::text",
            "former_secret_until": "null::timestamptz",
            "own_headers": "null::text",
        },
    ),
    Place(
        table="webhook_reader",
        instead={"lease_holder": "null::uuid", "leased_until": "null::timestamptz", "sends_as": "null::bigint"},
        # Without its secret, an endpoint is sent nothing: a copy of a workspace must not tell the receivers of the original.
        without_secrets={"is_enabled": "false"},
    ),
    *_all("webhook_delivery"),
    Place(table="oauth_client", without_secrets={"secret_hash": _NO_HASH, "last_used_at": "null::timestamptz"}),
    Place(table="oauth_grant", belongs=_OF_GRANTS.replace("$client_id", "t.client_id"), workspace_column=None, is_secret=True),
    Place(
        table="oauth_refresh_token",
        belongs="exists (select from oauth_grant g where g.id = t.grant_id and "
        + _OF_GRANTS.replace("$client_id", "g.client_id")
        + ")",
        workspace_column=None,
        is_secret=True,
    ),
    *OF_PEOPLE,
)

# The tables of which an archive has nothing, and why.
LEFT_OUT: Final = {
    "setting": "it is of the server",
    "migration": "the manifest names the migrations",
    "duplicate_search": "it follows from the contacts and companies, and is made anew",
    "duplicate_object": "it follows from the contacts and companies, and is made anew",
    "duplicate_key": "it follows from the contacts and companies, and is made anew",
    "duplicate_pair": "it follows from the contacts and companies, and is made anew",
    "import_job": "its file is in the data folder for some days",
    "import_slice": "its file is in the data folder for some days",
    "request_log": "it tells of requests to the server, for some days",
    "oauth_access_token": "programs get another one after an hour",
    "sign_in_link": "it leads to the server, for some minutes or days",
    "sign_in_challenge": "it is answered within minutes, or never",
    "console_session": "it is of a browser at the server",
}
