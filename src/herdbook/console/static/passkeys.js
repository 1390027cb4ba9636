// Passkeys. A form with `data-passkey` first asks the server for the options, then the browser for a passkey, and then is sent.
const MESSAGES = {
  NotAllowedError: "No passkey was chosen. Try again, or use your password.",
  InvalidStateError: "This device has a passkey of this account already.",
  SecurityError: "Passkeys need a host with a name, and TLS unless that is localhost. Open the console at such an address, and sign in there.",
};

async function asked(form) {
  const body = new URLSearchParams(new FormData(form));
  const answer = await fetch(form.dataset.options, { method: "post", body, credentials: "same-origin" });
  if (answer.ok && answer.headers.get("content-type") === "application/json") return answer.json();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  throw new Error(page.querySelector("main p:not(.brand)")?.textContent ?? "The server did not answer.");
}

async function send(form) {
  const { options, challenge } = await asked(form);
  const credential =
    form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  form.elements.challenge.value = challenge;
  form.elements.credential.value = JSON.stringify(credential);
  form.submit();
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-passkey]");
  if (!form) return;
  event.preventDefault();
  const said = form.querySelector("[data-said]");
  said.textContent = "";
  if (!globalThis.PublicKeyCredential?.parseCreationOptionsFromJSON) {
    said.textContent = "This browser has no passkeys, or herdbook is not opened by TLS.";
    return;
  }
  send(form).catch((error) => {
    said.textContent = MESSAGES[error.name] ?? error.message;
  });
});
