// With the types of openapi-typescript and the client of openapi-fetch. Takes the address of the API and a key.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./openapi_typescript/schema";

const [baseUrl, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

const emails = [{ email: "ada@openapi-fetch.test" }];
const created = await client.POST("/v2/contacts", { body: { first_name: "Ada", emails } });
assert(created.data);
const path = { contact_id: created.data.id };
const association = { object_type: "contact", crm_object_id: "openapi-fetch", source: "hubspot" } as const;
await client.PUT("/v2/contacts/{contact_id}/crm_association", { params: { path }, body: association });
const records = JSON.stringify([{ id: "openapi-fetch", object_type: "contact" }]);
const found = await client.GET("/v2/contacts", { params: { query: { "filter[crm_associations][eq]": records } } });
assert.deepEqual(found.data?.data.map((contact) => contact.id), [created.data.id]);

const header = { "If-Match": created.response.headers.get("ETag") ?? "" };
const stale = await client.PATCH("/v2/contacts/{contact_id}", { params: { path, header }, body: { last_name: "King" } });
assert.equal(stale.error?.status, 412);
const updated = await client.PATCH("/v2/contacts/{contact_id}", { params: { path }, body: { last_name: "King" } });
assert.deepEqual([updated.data?.first_name, updated.data?.last_name], ["Ada", "King"]);
const taken = await client.POST("/v2/contacts", { body: { emails } });
assert.equal(taken.error?.errors?.[0]?.code, "already_in_use");

const types = ["v1.contact.created", "v1.contact.updated"] as const;
await client.GET("/v2/engagements", { params: { query: { expand: ["contacts", "owner"], "filter[contact_ids][in]": [path.contact_id] } } }).then(
  (answer) => assert.equal(answer.response.status, 200),
);
assert.equal((await client.POST("/herdbook/webhooks", { body: { url: "http://127.0.0.1:2/", event_types: [...types] } })).response.status, 201);
const names: unknown[] = [];
const search = "openapi-fetch.test";
await client.POST("/v2/contacts", { body: { first_name: "Grace", emails: [{ email: "grace@openapi-fetch.test" }] } });
let page = await client.GET("/v2/contacts", { params: { query: { limit: 1, search, order_by: "updated_at:asc" } } });
while (page.data) {
  names.push(...page.data.data.map((contact) => contact.first_name));
  if (page.data.next_cursor === null) break;
  page = await client.GET("/v2/contacts", { params: { query: { cursor: page.data.next_cursor } } });
}
assert.deepEqual(names, ["Ada", "Grace"]);
console.log("done");
