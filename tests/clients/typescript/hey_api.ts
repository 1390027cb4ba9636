// With the client that @hey-api/openapi-ts makes. Takes the address of the API and a key.
import assert from "node:assert/strict";
import { client } from "./hey_api/client.gen";
import { createContact, listContacts, listEngagements, setContactCrmAssociation, updateContact } from "./hey_api/sdk.gen";

const [baseUrl, key] = process.argv.slice(2);
client.setConfig({ baseUrl, auth: key });

const emails = [{ email: "ada@hey-api.test" }];
const created = await createContact({ body: { first_name: "Ada", emails } });
assert(created.data);
const path = { contact_id: created.data.id };
await setContactCrmAssociation({ path, body: { object_type: "contact", crm_object_id: "hey-api", source: "hubspot" } });
const records = JSON.stringify([{ id: "hey-api", object_type: "contact" }]);
const found = await listContacts({ query: { "filter[crm_associations][eq]": records } });
assert.deepEqual(found.data?.data.map((contact) => contact.id), [created.data.id]);

const headers = { "If-Match": created.response?.headers.get("ETag") ?? "" };
const stale = await updateContact({ path, headers, body: { last_name: "King" } });
assert.equal(stale.error?.status, 412);
const updated = await updateContact({ path, body: { last_name: "King" } });
assert.deepEqual([updated.data?.first_name, updated.data?.last_name], ["Ada", "King"]);
const taken = await createContact({ body: { emails } });
assert.equal(taken.error?.errors?.[0]?.code, "already_in_use");

const engagements = await listEngagements({ query: { expand: ["contacts", "owner"], "filter[contact_ids][in]": [path.contact_id] } });
assert.deepEqual(engagements.data?.data, []);
await createContact({ body: { first_name: "Grace", emails: [{ email: "grace@hey-api.test" }] } });
const names: unknown[] = [];
let page = await listContacts({ query: { limit: 1, search: "hey-api.test", order_by: "updated_at:asc" } });
while (page.data) {
  names.push(...page.data.data.map((contact) => contact.first_name));
  if (page.data.next_cursor === null) break;
  page = await listContacts({ query: { cursor: page.data.next_cursor } });
}
assert.deepEqual(names, ["Ada", "Grace"]);
console.log("done");
