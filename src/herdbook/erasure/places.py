"""The places that have personal data of contacts: which tables, and how their rows are found.

An erasure empties each place, and `herdbook erase` counts by it. A new table that may have such data is declared here; a test
walks over all tables of the schema, and one over the places after an erasure. `steps.py` says how the rows of a place go, and
how the fields of other contacts and of companies lose what they say of the person.
"""

from dataclasses import dataclass
from typing import Final, LiteralString

from herdbook.ledger.changes import PREVIOUS_ENTRY

# The parameters of every statement here: $1 the workspace; $2 the contacts' ids; $3 the ids of the engagements that they take
# part in; $4 the contacts' ids as the API shows them and their addresses, in lower case.
_CONTACTS: Final[LiteralString] = "select c.id, c.version from contact c where c.workspace_id = $1 and c.id = any($2)"
_NOTES: Final[LiteralString] = "select n.id, n.version from note n where n.workspace_id = $1 and n.contact_id = any($2)"
_ENGAGEMENTS: Final[LiteralString] = "select e.id, e.version from engagement e where e.workspace_id = $1 and e.id = any($3)"
_ENTRIES: Final[LiteralString] = (
    """
    with recursive start as ($start), chain as (
        select c.* from start join change c on c.workspace_id = $1 and c.seq = start.version and c.object_id = start.id
        union all
        select e.* from chain
    """
    + PREVIOUS_ENTRY
    + """
    )
    """
)
_OF_ALL: Final = _ENTRIES.replace("$start", _CONTACTS + " union all " + _ENGAGEMENTS + " union all " + _NOTES)
_OF_TRANSCRIPTS: Final = _ENTRIES.replace(
    "$start",
    """
    select t.id, t.version from transcript t where t.workspace_id = $1 and t.id = any($3)
    union all
    select n.id, n.version from transcript_comment n where n.workspace_id = $1 and n.engagement_id = any($3)
    """,
)
_ENTRIES_OF: Final[LiteralString] = "select to_json(chain) from chain"
_DELIVERIES_OF: Final[LiteralString] = """
    select to_json(d) from chain join webhook_reader r on r.workspace_id = $1
    join webhook_delivery d on d.workspace_id = $1 and d.endpoint_id = r.endpoint_id and d.seq = chain.seq
"""


def searched(text: LiteralString) -> LiteralString:
    """Return the expression for a text in which the spellings of addresses are searched: in lower case, by Unicode's rules.

    The rules of the database's own locale may keep `İ`, or make it an `i`. The Greek sigma has two lower-case forms.
    """
    return "replace(lower((" + text + ") collate pg_unicode_fast), '\u03c2', '\u03c3')"


def _mentioned(text: LiteralString) -> LiteralString:
    """Return the condition that a text mentions the contacts by an id or an address."""
    found: LiteralString = "exists (select from unnest($4::text[]) as term(text) where strpos($said, term.text) > 0)"
    return found.replace("$said", searched(text))


# All that an import `t` says of its file, beside the rows.
_IMPORT_TEXT: Final[LiteralString] = "t.content::text"
# All that a saved view `t` says.
VIEW_TEXT: Final[LiteralString] = "t.name || ' ' || t.content::text"
# All that a saved mapping of imports `t` says.
MAPPING_TEXT: Final[LiteralString] = "t.name || ' ' || t.columns::text || ' ' || t.mapping::text"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Rows of a table with personal data of contacts.

    `found` is a statement that selects each as JSON: by the contacts and their addresses, or by the engagements. It never asks
    for both at once, so that the engagements can be read in slices. `goes_with_engagements` if an erasure empties the
    place only when the engagements of the person are erased, too. `is_own` if the rows say nothing of others. `is_of_imports`
    if the statement reads some outcomes of one import: $5 is the import, $6 whether they are of its dry run, and $7 and $8 are
    the numbers of the rows before the first and of the last.
    """

    table: LiteralString
    found: LiteralString
    goes_with_engagements: bool = False
    is_own: bool = False
    is_of_imports: bool = False

    @property
    def is_of_engagements(self) -> bool:
        """Whether some of the rows are found by the engagements."""
        return "$3" in self.found

    @property
    def rows(self) -> LiteralString:
        """The statement that returns the rows, one JSON object each; it takes the first four parameters at least."""
        return (
            "select found.row from ("
            + self.found
            + ") as found(row) where $2::uuid[] is not null and $3::uuid[] is not null and $4::text[] is not null"
        )


_OF_CONTACTS: Final[LiteralString] = "select to_json(t) from $table t where t.workspace_id = $1 and t.$id = any($2)"
_OF_ENGAGEMENTS: Final[LiteralString] = "select to_json(t) from $table t where t.workspace_id = $1 and t.$id = any($3)"


def _of_contacts(table: LiteralString, contact_id: LiteralString = "contact_id", *, is_own: bool = True) -> Place:
    return Place(table=table, found=_OF_CONTACTS.replace("$table", table).replace("$id", contact_id), is_own=is_own)


def _of_engagements(
    table: LiteralString, engagement_id: LiteralString = "engagement_id", *, goes_with_engagements: bool = True
) -> Place:
    found = _OF_ENGAGEMENTS.replace("$table", table).replace("$id", engagement_id)
    return Place(table=table, found=found, goes_with_engagements=goes_with_engagements)


# The other object of a pair is somebody else's.
_PAIRS_OF: Final[LiteralString] = """
    select json_build_object('contact_id', asked.id, $members)
    from unnest($2::uuid[]) as asked(id) cross join lateral (
        select * from $table t where t.workspace_id = $1 and t.one_id = asked.id
        union all
        select * from $table t where t.workspace_id = $1 and t.other_id = asked.id
    ) as t
"""


def _of_pairs(table: LiteralString, members: LiteralString) -> Place:
    return Place(table=table, found=_PAIRS_OF.replace("$table", table).replace("$members", members), is_own=True)


PLACES: Final = (
    _of_contacts("contact", "id"),
    _of_contacts("contact_email"),
    _of_contacts("contact_former_email"),
    _of_contacts("contact_external_id"),
    _of_contacts("contact_former_external_id"),
    _of_contacts("contact_field"),
    _of_contacts("contact_field_value"),
    _of_contacts("contact_word"),
    _of_contacts("contact_tag"),
    _of_contacts("company_contact"),
    _of_contacts("duplicate_object", "id"),
    Place(
        table="duplicate_key",
        found="""
        select to_json(k) from duplicate_object o join duplicate_key k on k.workspace_id = $1 and k.key = any(o.keys)
            and k.object_id = o.id
        where o.workspace_id = $1 and o.id = any($2)
        """,
        is_own=True,
    ),
    _of_pairs("duplicate_pair", "'score', t.score"),
    _of_pairs("distinct_pair", "'at', t.at"),
    _of_contacts("card"),
    _of_contacts("note", is_own=False),
    _of_contacts("contact_note", is_own=False),
    _of_contacts("engagement_contact", is_own=False),
    _of_engagements("engagement", "id", goes_with_engagements=False),
    Place(table="change", found=_OF_ALL + _ENTRIES_OF),
    Place(table="webhook_delivery", found=_OF_ALL + _DELIVERIES_OF),
    Place(
        table="idempotency_record",
        found="""
        select to_json(t) from idempotency_record t where t.workspace_id = $1 and $mentioned
        """.replace("$mentioned", _mentioned("t.key || ' ' || t.answer::text")),
    ),
    Place(
        table="saved_view",
        found="""
        select to_json(t) from saved_view t where t.workspace_id = $1 and $mentioned
        """.replace("$mentioned", _mentioned(VIEW_TEXT)),
    ),
    # The rows of its file may have the person, too. An erasure therefore removes all imports of the workspace, and counts them.
    Place(
        table="import_job",
        found="""
        select json_build_object(
            'workspace_id', t.workspace_id, 'id', t.id, 'state', t.state, 'created_at', t.created_at,
            'expires_at', t.expires_at, 'file', json_build_object('name', t.content -> 'file' ->> 'name')
        )
        from import_job t where t.workspace_id = $1 and $mentioned
        """.replace("$mentioned", _mentioned(_IMPORT_TEXT)),
    ),
    Place(
        table="import_slice",
        found="""
        select json_build_object(
            'workspace_id', t.workspace_id, 'job_id', t.job_id, 'is_check', t.is_check, 'last_row', t.last_row, 'row', row.value
        )
        from import_slice t cross join lateral json_array_elements(t.rows) as row(value)
        where t.workspace_id = $1 and t.job_id = $5 and t.is_check = $6 and t.last_row > $7 and t.last_row <= $8 and $mentioned
        """.replace("$mentioned", _mentioned("row.value::text")),
        is_of_imports=True,
    ),
    Place(
        table="import_mapping",
        found="""
        select to_json(t) from import_mapping t where t.workspace_id = $1 and $mentioned
        """.replace("$mentioned", _mentioned(MAPPING_TEXT)),
    ),
    _of_contacts("erasure_task", "id", is_own=False),
    _of_engagements("transcript", "id"),
    _of_engagements("transcript_comment"),
    Place(table="change", found=_OF_TRANSCRIPTS + _ENTRIES_OF, goes_with_engagements=True),
    Place(table="webhook_delivery", found=_OF_TRANSCRIPTS + _DELIVERIES_OF, goes_with_engagements=True),
    _of_engagements("engagement_word"),
    _of_engagements("engagement_company"),
    _of_engagements("engagement_tag"),
    _of_engagements("engagement_external_id"),
)

# The tables of imports, all of which go with any erasure.
OF_IMPORTS: Final = frozenset({"import_job", "import_slice"})

# The tables without personal data of contacts, and why.
WITHOUT: Final[dict[LiteralString, LiteralString]] = {
    "setting": "secrets and settings",
    "migration": "names of migrations",
    "workspace": "names of teams",
    "credential": "names of keys",
    "credential_change": "names of keys and programs",
    "change_trimmed": "numbers and times",
    "change_mark": "numbers and times",
    "undone_request": "ids alone",
    "unfinished": "ids alone",
    "erasure": "keyed hashes",
    "company": "companies, whose fields are cleared of persons",
    "company_word": "companies, not persons",
    "company_domain": "companies, not persons",
    "company_former_domain": "companies, not persons",
    "company_note": "companies, not persons",
    "company_tag": "companies, not persons",
    "company_field": "companies, whose fields are cleared of persons",
    "company_field_value": "companies, whose fields are cleared of persons",
    "duplicate_search": "numbers, and values that more than a hundred contacts have",
    "field": "definitions",
    "field_key": "definitions",
    "workspace_user": "users, not contacts",
    "user_word": "users, not contacts",
    "user_handle": "users, not contacts",
    "tag": "names of tags",
    "tag_name": "names of tags",
    "oauth_client": "names of programs",
    "oauth_grant": "users, not contacts",
    "oauth_refresh_token": "hashes of secrets",
    "oauth_access_token": "hashes of secrets",
    "person": "users, not contacts",
    "person_user": "users, not contacts",
    "sign_in_link": "hashes of secrets",
    "console_session": "users, not contacts",
    "passkey": "users, not contacts",
    "person_openid": "users, not contacts",
    "sign_in_challenge": "hashes of secrets",
    "webhook_endpoint": "addresses of programs",
    "request_log": "paths with ids, and names of parameters",
    "webhook_reader": "numbers and times",
}

# All tables. An erasure may change any of them: it also clears what others, such as companies, say of the person.
TABLES: Final[tuple[LiteralString, ...]] = (*dict.fromkeys(place.table for place in PLACES), *WITHOUT)
