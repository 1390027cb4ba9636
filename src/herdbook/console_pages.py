"""The list of the pages of the console. Only the console imports it, because programs need no page."""

from typing import Final

from herdbook.api_keys import pages as api_keys_pages
from herdbook.companies import pages as companies_pages
from herdbook.console import openid_pages, passkey_pages
from herdbook.console import pages as console_pages
from herdbook.console.page import Page
from herdbook.contacts import pages as contacts_pages
from herdbook.custom_fields import definition_pages
from herdbook.duplicates import pages as duplicates_pages
from herdbook.engagements import pages as engagements_pages
from herdbook.erasure import pages as erasure_pages
from herdbook.exports import pages as exports_pages
from herdbook.feed import pages as feed_pages
from herdbook.finding import pages as finding_pages
from herdbook.history import pages as history_pages
from herdbook.importing import pages as importing_pages
from herdbook.merging import pages as merging_pages
from herdbook.notes import pages as notes_pages
from herdbook.oauth import client_pages as oauth_client_pages
from herdbook.oauth import pages as oauth_pages
from herdbook.request_log import pages as request_log_pages
from herdbook.status import pages as status_pages
from herdbook.subject_access import pages as subject_access_pages
from herdbook.tags import pages as tags_pages
from herdbook.users import pages as users_pages
from herdbook.users import team_pages
from herdbook.views import pages as views_pages
from herdbook.webhooks import pages as webhooks_pages

# The pages of the console; those in its menu are there in this order.
PAGES: Final[tuple[Page, ...]] = (
    *contacts_pages.PAGES,
    *companies_pages.PAGES,
    *notes_pages.PAGES,
    *views_pages.PAGES,
    *duplicates_pages.PAGES,
    *importing_pages.PAGES,
    *exports_pages.PAGES,
    *merging_pages.PAGES,
    *erasure_pages.PAGES,
    *subject_access_pages.PAGES,
    *engagements_pages.PAGES,
    *tags_pages.PAGES,
    *users_pages.PAGES,
    *history_pages.PAGES,
    *definition_pages.PAGES,
    *team_pages.PAGES,
    *api_keys_pages.PAGES,
    *webhooks_pages.PAGES,
    *feed_pages.PAGES,
    *finding_pages.PAGES,
    *request_log_pages.PAGES,
    *status_pages.PAGES,
    *oauth_client_pages.PAGES,
    *oauth_pages.PAGES,
    *console_pages.PAGES,
    *passkey_pages.PAGES,
    *openid_pages.PAGES,
)
