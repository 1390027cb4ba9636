// Verifies requests as an integrator would: reads a JSON array of them, and prints an array of the libraries' verdicts.
import { readFileSync } from "node:fs";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

const libraries = { svix: Svix, standardwebhooks: Standard };

function verified({ library, secret, headers, body }) {
  try {
    return new libraries[library](secret).verify(body, headers);
  } catch (error) {
    return `refused: ${error.message}`;
  }
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(verified)));
