// With the client that openapi-generator makes for TypeScript. Takes the address of the API and a key.
import assert from "node:assert/strict";
import { Configuration, ListContactsOrderByEnum, ResponseError, SubpackageContactsApi, SubpackageEngagementsApi } from "./typescript_fetch/index";

const [basePath, key] = process.argv.slice(2);
const configuration = new Configuration({ basePath, accessToken: key });
const contacts = new SubpackageContactsApi(configuration);
const status = (error: unknown) => (error instanceof ResponseError ? error.response.status : error);

const emails = [{ email: "ada@typescript-fetch.test" }];
const answer = await contacts.createContactRaw({ contactCreateRequest: { firstName: "Ada", emails } });
const contactId = (await answer.value()).id;
const association = { objectType: "contact", crmObjectId: "typescript-fetch", source: "hubspot" } as const;
await contacts.setContactCrmAssociation({ contactId, contactCrmAssociationRequest: association });
const filterCrmAssociationsEq = JSON.stringify([{ id: "typescript-fetch", object_type: "contact" }]);
const found = await contacts.listContacts({ filterCrmAssociationsEq });
assert.deepEqual(found.data.map((contact) => contact.id), [contactId]);

const ifMatch = answer.raw.headers.get("ETag") ?? "";
const contactUpdateRequest = { lastName: "King" };
assert.equal(await contacts.updateContact({ contactId, ifMatch, contactUpdateRequest }).catch(status), 412);
const updated = await contacts.updateContact({ contactId, contactUpdateRequest });
assert.deepEqual([updated.firstName, updated.lastName], ["Ada", "King"]);
assert.equal(await contacts.createContact({ contactCreateRequest: { emails } }).catch(status), 409);

const engagements = await new SubpackageEngagementsApi(configuration).listEngagements({ filterContactIdsIn: [contactId] });
assert.deepEqual(engagements.data, []);
const grace = { firstName: "Grace", emails: [{ email: "grace@typescript-fetch.test" }] };
await contacts.createContact({ contactCreateRequest: grace });
const names: unknown[] = [];
let page = await contacts.listContacts({ limit: 1, search: "typescript-fetch.test", orderBy: ListContactsOrderByEnum.UpdatedAtAsc });
for (;;) {
  names.push(...page.data.map((contact) => contact.firstName));
  if (page.nextCursor === null) break;
  page = await contacts.listContacts({ cursor: page.nextCursor });
}
assert.deepEqual(names, ["Ada", "Grace"]);
console.log("done");
