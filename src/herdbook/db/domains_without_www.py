"""The Python step of migration 0011: a domain with `www.` is the same as without.

Two companies may have had one form each. The domain then belongs to the one that had it without `www.`, otherwise to the older
one. The other keeps it in its list, and everything else about it works as before; only a search by domain no longer finds it.
"""

import logging
from typing import Final

from herdbook import ids
from herdbook.addresses import without_www
from herdbook.db.pool import Executor

_log: Final = logging.getLogger("herdbook.db")


async def claim_without_www(statements: Executor) -> None:
    """Replace the keys that begin with `www.`, and say which companies have the same domain now."""
    claimed = await statements.fetch("select workspace_id, domain, company_id from company_domain where domain like 'www.%'")
    # The ids ascend with time, so that the older of two companies comes first.
    changing = sorted((each for each in claimed if without_www(each["domain"]) != each["domain"]), key=lambda each: each[2])
    workspace_ids, domains, company_ids = ([each[column] for each in changing] for column in range(3))
    bare = [without_www(domain) for domain in domains]
    await statements.execute(
        """
        delete from company_domain d using unnest($1::uuid[], $2::text[]) as former(workspace_id, domain)
        where d.workspace_id = former.workspace_id and d.domain = former.domain
        """,
        *(workspace_ids, domains),
    )
    await statements.execute(
        """
        insert into company_domain (workspace_id, domain, company_id)
        select * from unnest($1::uuid[], $2::text[], $3::uuid[]) on conflict do nothing
        """,
        *(workspace_ids, bare, company_ids),
    )
    shared = await statements.fetch(
        """
        select d.workspace_id, d.company_id as holder_id, asked.company_id
        from unnest($1::uuid[], $2::text[], $3::uuid[]) as asked(workspace_id, domain, company_id)
        join company_domain d on d.workspace_id = asked.workspace_id and d.domain = asked.domain
        where d.company_id <> asked.company_id
        """,
        *(workspace_ids, bare, company_ids),
    )
    for workspace_id, holder_id, company_id in shared:
        holder, other = ids.encoded(ids.COMPANY, holder_id), ids.encoded(ids.COMPANY, company_id)
        _log.warning(
            "Two companies of workspace %s have the same domain, now that `www.` makes no difference. It belongs to %s; "
            "%s keeps it in its list. If they are one company, merge them: POST /api/herdbook/companies/%s/merge.",
            *(ids.encoded(ids.WORKSPACE, workspace_id), holder, other, holder),
        )
