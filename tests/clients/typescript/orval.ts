// With the functions that orval makes. Takes the address of the API, which they contain already, and a key.
import assert from "node:assert/strict";
import { createContact, listContacts, listEngagements, setContactCrmAssociation, updateContact } from "./orval/client";

const key = process.argv[3];
const headers = { Authorization: `Bearer ${key}` };

const emails = [{ email: "ada@orval.test" }];
const created = await createContact({ first_name: "Ada", emails }, { headers });
assert(created.status === 201);
const { id } = created.data;
await setContactCrmAssociation(id, { object_type: "contact", crm_object_id: "orval", source: "hubspot" }, { headers });
const records = JSON.stringify([{ id: "orval", object_type: "contact" }]);
const found = await listContacts({ "filter[crm_associations][eq]": records }, { headers });
assert(found.status === 200);
assert.deepEqual(found.data.data.map((contact) => contact.id), [id]);

const ifMatch = { "If-Match": created.headers.get("ETag") ?? "" };
const stale = await updateContact(id, { last_name: "King" }, { headers: { ...headers, ...ifMatch } });
assert.equal(stale.status, 412);
const updated = await updateContact(id, { last_name: "King" }, { headers });
assert(updated.status === 200);
assert.deepEqual([updated.data.first_name, updated.data.last_name], ["Ada", "King"]);
const taken = await createContact({ emails }, { headers });
assert(taken.status === 409);
assert.equal(taken.data.errors?.[0]?.code, "already_in_use");

const engagements = await listEngagements({ expand: ["contacts", "owner"], "filter[contact_ids][in]": [id] }, { headers });
assert(engagements.status === 200);
await createContact({ first_name: "Grace", emails: [{ email: "grace@orval.test" }] }, { headers });
const names: unknown[] = [];
let page = await listContacts({ limit: 1, search: "orval.test", order_by: "updated_at:asc" }, { headers });
while (page.status === 200) {
  names.push(...page.data.data.map((contact) => contact.first_name));
  if (page.data.next_cursor === null) break;
  page = await listContacts({ cursor: page.data.next_cursor }, { headers });
}
assert.deepEqual(names, ["Ada", "Grace"]);
console.log("done");
