"""A workspace in which each text is the same one, such as a word of 255 letters, and the paths of the pages that show it."""

import re
from typing import Any
from urllib.parse import urlencode

import requests
from playwright._impl._api_structures import SetCookieParam

from tests.console.conftest import Demo
from tests.console.people import FORM_TOKEN_FIELD

_KEY = re.compile(r"sk-apik_[\w.]+")


class Extreme:
    """A person who makes objects of all kinds with one text.

    `short` is the text where a label has less room, and `shown` where it must have no marks. `name` is in what must be unique.
    """

    def __init__(self, demo: Demo, cookies: list[SetCookieParam], text: str, shown: str, name: str) -> None:
        self._url = demo.url
        self.text = text
        self.short = text[:100]
        self.shown = shown
        self._name = name
        self._session = requests.Session()
        for each in cookies:
            self._session.cookies[each.get("name", "")] = each.get("value", "")
        self._session.headers["Origin"] = demo.url
        made = self.form("/console/keys/new", name=self.shown, scope="workspace:admin")
        key = _KEY.search(made)
        assert key is not None, made
        self._key = key[0]

    def form(self, path: str, **fields: Any) -> str:
        """Send a form of the console, and return the page that answers."""
        page = self._session.get(f"{self._url}/console/account", timeout=90).text
        token = FORM_TOKEN_FIELD.search(page)
        assert token is not None, page
        answer = self._session.post(self._url + path, {"form_token": token[1], **fields}, timeout=90)
        assert answer.status_code == 200, answer.text
        return answer.text

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Carry out an operation of the API, and return its answer."""
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = requests.request(method, f"{self._url}/api{path}", json=body, headers=headers, timeout=90)
        assert answer.ok, (path, answer.text)
        return answer.json()

    def make(self) -> list[str]:
        """Make an object of each kind, with a history, and return the paths of the pages that show them."""
        text = self.text
        tag = self.api("POST", "/v2/tags", {"name": text, "description": text})["id"]
        fields = {kind: self._fields(kind) for kind in ("contact", "company")}
        companies = [self._record("companies", fields["company"], number, {"name": text}) for number in (1, 2)]
        names = {"first_name": text, "last_name": text, "company_id": companies[0], "tag_ids": [tag]}
        contacts = [self._record("contacts", fields["contact"], number, names) for number in (1, 2)]
        gone = self._record("contacts", fields["contact"], 3, names)
        self.api("DELETE", f"/v2/contacts/{gone}")
        engagement = self._engagement()
        user = self._user()
        view = self._view()
        webhook = self._webhook()
        client = self._client()
        self.form(f"/console/contacts/{contacts[0]}/notes", text=text)
        [contact, other], [company, other_company] = contacts, companies
        field = fields["contact"][f"{self._name}_list"]
        note = re.search(r'id="note-(\w+)"', self._session.get(f"{self._url}/console/contacts/{contact}", timeout=90).text)
        assert note is not None, "the page has the note"
        return [
            *self._of_record("contacts", contact, other, fields["contact"]),
            *self._of_record("companies", company, other_company, fields["company"]),
            *(f"/console/contacts/{contact}{each}" for each in ("/erase", f"?note={note[1]}#notes", "/engagements")),
            f"/console/contacts/{gone}",
            *(f"/console/engagements/{engagement}{each}" for each in ("", "?line=0", "/history")),
            *(f"/console/tags/{tag}{each}" for each in ("", "/history")),
            f"/console/users/{user}",
            *(f"/console/fields/{field}{each}" for each in ("", "/history", "/kind", "/kind?kind=integer")),
            *(f"/console/fields?type={each}" for each in ("contact", "company")),
            *(f"/console/webhooks/{webhook}{each}" for each in ("", "/edit", "/secret")),
            view,
            *client,
            f"/console/find?{urlencode({'search': text[:200]})}",
            "/console/bin?type=contacts",
        ]

    def _fields(self, object_type: str) -> dict[str, str]:
        """Define fields of a kind of object, and return their ids by their keys."""
        options = [{"id": f"option_{number}", "label": self.short[:-1] + "xyz"[number]} for number in (1, 2)]
        made: dict[str, str] = {}
        for kind in ("text", "long_text", "one_of", "several_of", "link", "address"):
            key = f"{self._name}_list" if kind == "one_of" else f"{self._name}_{kind}"
            field = {"object_type": object_type, "key": key, "label": self.short, "kind": kind, "help": self.text}
            more = {"options": options} if kind in ("one_of", "several_of") else {}
            made[key] = self.api("POST", "/herdbook/fields", field | more)["id"]
        return made

    def _record(self, plural: str, fields: dict[str, str], number: int, members: dict[str, Any]) -> str:
        """Make a contact or a company, change it so that it has a history, and return its id."""
        text = self.text
        address = {"domains": [{"domain": f"{'d' * 50}{self._name}{number}.{'e' * 60}.{'f' * 60}.test"}]}
        if plural == "contacts":
            emails = [{"email": f"{'m' * 50}{self._name}{number}@{'d' * 60}.{'e' * 60}.test", "label": text[:50]}]
            phones = [{"phone_number": text, "label": text[:50]}]
            address = {"emails": emails, "phone_numbers": phones, "external_ids": [f"{text[:250]}{chr(96 + number)}"]}
        values = {
            f"{self._name}_text": text,
            f"{self._name}_long_text": text,
            f"{self._name}_list": "option_1",
            f"{self._name}_several_of": ["option_1", "option_2"],
            f"{self._name}_link": f"https://a.test/{'p' * 255}",
            f"{self._name}_address": {"city": text, "street": text},
        }
        assert len(values) == len(fields)
        name = "contact" if plural == "contacts" else "company"
        more = {**members, **address, "description": text, "fields": values}
        made = self.api("POST", f"/herdbook/{plural}", more)["id"]
        self.api(
            "PATCH",
            f"/herdbook/{plural}/{made}/record",
            {"description": f"{text[:-1]}x", "fields": {f"{self._name}_list": "option_2"}},
        )
        self.api(
            "PUT", f"/v2/{plural}/{made}/crm_association", {"source": text[:100], "crm_object_id": text, "object_type": name}
        )
        return made

    def _of_record(self, plural: str, record: str, other: str, fields: dict[str, str]) -> list[str]:
        members = ["description", "crm_association", *(f"fields.{key}" for key in fields)]
        own = ["company_id", "tag_ids", "emails", "phone_numbers", "external_ids", "first_name"]
        members += own if plural == "contacts" else ["name", "domains", "tag_ids"]
        path = f"/console/{plural}/{record}"
        columns = ",".join([*members, "updated_at"])
        search = urlencode({"search": self.text[:200]})
        return [
            path,
            f"{path}/history",
            f"{path}/then",
            f"{path}/merge",
            f"{path}/merge?from={other}",
            *(f"{path}?edit={each}" for each in members),
            f"/console/{plural}?columns={columns}",
            f"/console/{plural}?{urlencode({'filter': f'description:contains:{self.text}'})}",
            *(f"/console/{plural}?add={each}" for each in members),
            f"/console/{plural}?{search}",
            f"/console/{plural}/selected?id={record}&id={other}",
            f"/console/duplicates/compare?type={plural}&id={record}&id={other}",
            f"/console/{plural}/{record}/engagements",
        ]

    def _engagement(self) -> str:
        text = self.text
        body = {
            "type": "CALL",
            "title": text,
            "source_system": text[:100],
            "external_id": text,
            "start_at": "2026-11-01T12:00:00Z",
            "participants": [{"name": text, "email": f"m@{self._name}.test"}],
            "transcript_timeline": {
                "speakers": [{"name": text}],
                "entries": [{"speaker_index": 0, "start_seconds": 0, "end_seconds": 2, "text": text}],
            },
        }
        made = self.api("POST", "/v2/engagements", body)
        engagement = made.get("engagement", made)["id"]
        comment = {"body": text, "anchor": {"entry_index": 0}}
        self.api("POST", f"/v2/engagements/{engagement}/transcript_comments", comment)
        return engagement

    def _user(self) -> str:
        names = {"first_name": self.text, "last_name": self.text, "email": f"{self._name}@team.example"}
        self.form("/console/users/new", **names, role="MEMBER")
        users = self.api("GET", "/v2/users?limit=100")["data"]
        return next(each["id"] for each in users if each["first_name"] == self.text)

    def _view(self) -> str:
        where = {"field": "description", "op": "contains", "value": self.text}
        view = {"object_type": "contact", "name": self.text, "shared": True, "where": where, "sort": [], "columns": ["emails"]}
        return f"/console/contacts?view={self.api('POST', '/herdbook/views', view)['id']}"

    def _webhook(self) -> str:
        body = {"url": f"http://127.0.0.1:9000/{'w' * 255}", "description": self.text}
        return self.api("POST", "/herdbook/webhooks", body)["id"]

    def _client(self) -> list[str]:
        callback = f"https://app.example/{'c' * 255}"
        page = self.form("/console/clients/new", name=self.shown, redirect_uri=callback, kind="public", scope="contacts:read")
        found = [each for each in re.findall(r"/console/clients/([\w-]+)", page) if each != "new"]
        query = {
            "response_type": "code",
            "client_id": found[0],
            "redirect_uri": callback,
            "code_challenge": "x" * 43,
            "code_challenge_method": "S256",
        }
        return [f"/console/clients/{found[0]}", f"/oauth/authorize?{urlencode(query)}"]
