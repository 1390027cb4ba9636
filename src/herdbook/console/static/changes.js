// Tells an open page what others change. An element with `data-follow` names the request that waits for a change: of a record from
// its `version` on, of a list from a `position` on. The page of a record takes the new values, but not of what is being edited;
// a list only says that it is no longer the newest. Nothing is asked while the page is hidden.
const LEAST_MILLISECONDS = 1000;
const MOST_MILLISECONDS = 60_000;
const PARTS = ["title", "history"];
const EDITED = "You are editing it: when you save, you see both values.";
let abort = null;
let pause = LEAST_MILLISECONDS;
let timer = 0;
let address = null;
const shown = new Map();

const place = () => document.getElementById("changed");

// The rows that a line says are being edited.
let edited = [];

function say(text, act, label = "Show") {
  const line = document.createElement("p");
  const button = document.createElement("button");
  line.className = "changed";
  Object.assign(button, { type: "button", className: "button quiet", textContent: label });
  button.addEventListener("click", () => {
    line.remove();
    act();
  });
  line.append(text, " ", button);
  place()?.replaceChildren(line);
}

// Times are shown in the format of the reader, so they are compared as the server writes them.
function textOf(row) {
  const copy = row.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.textContent = time.dateTime;
  return copy.textContent;
}

// The forms of a row change with each page, so values are compared while no form is in it.
function note(root) {
  for (const row of root.querySelectorAll(".member")) {
    if (!row.querySelector("form")) shown.set(row.id, textOf(row));
  }
}

function replaced(there, here) {
  const fresh = document.importNode(here, true);
  there.replaceWith(fresh);
  fresh.dispatchEvent(new CustomEvent("parts:replaced", { bubbles: true }));
}

async function refresh(by) {
  const answer = await fetch(location.pathname, { credentials: "same-origin", signal: abort.signal });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const rows = [...page.querySelectorAll(".member")];
  if (!answer.ok || !rows.length) {
    say("This is no longer here as you see it.", () => location.reload());
    return;
  }
  const changed = [];
  for (const here of rows) {
    const there = document.getElementById(here.id);
    if (!there || !shown.has(here.id) || textOf(here) === shown.get(here.id)) continue;
    changed.push(here);
    shown.set(here.id, textOf(here));
    if (!there.querySelector("form")) keepFocus(there, here);
  }
  for (const id of PARTS) {
    const [there, here] = [document.getElementById(id), page.getElementById(id)];
    if (there && here && there.textContent !== here.textContent) keepFocus(there, here);
  }
  const [notes, newNotes] = [document.getElementById("notes"), page.getElementById("notes")];
  const isWriting = notes?.contains(document.activeElement) || notes?.querySelector("textarea")?.value;
  if (newNotes && notes.textContent !== newNotes.textContent && !isWriting) replaced(notes, newNotes);
  if (!changed.length) return;
  const names = changed.map((row) => row.querySelector("dt").textContent);
  const first = document.getElementById(changed[0].id);
  const told = `${by.join(", ") || "Somebody"} changed ${names.join(", ")}.`;
  edited = changed.map((row) => row.id).filter(isEdited);
  say(edited.length ? `${told} ${EDITED}` : told, () => {
    const row = document.getElementById(first.id);
    row.scrollIntoView({ block: "center" });
    (row.querySelector("input:not([type=hidden]), textarea, .edit, a") ?? row).focus();
  });
}

const isEdited = (id) => Boolean(document.getElementById(id)?.querySelector("form"));

// A line says that a field is being edited only as long as it is.
function forgetEdited() {
  if (!edited.length || edited.some(isEdited)) return;
  edited = [];
  const text = place()?.querySelector(".changed")?.firstChild;
  if (text) text.data = text.data.replace(` ${EDITED}`, "");
}

function keepFocus(there, here) {
  const id = there.contains(document.activeElement) ? document.activeElement.id : "";
  replaced(there, here);
  if (id) document.getElementById(id)?.focus({ preventScroll: true });
}

// Returns whether to go on.
async function told(answer) {
  const told = await answer.json();
  if (told.version !== undefined) {
    const before = address.searchParams.get("version");
    address.searchParams.set("version", told.version);
    if (before !== String(told.version)) await refresh(told.by);
    return true;
  }
  address.searchParams.set("position", told.position);
  if (!told.has_changed) return true;
  address.searchParams.delete("position");
  say("There are changes that this list does not show yet.", () => location.reload());
  return false;
}

async function follow() {
  clearTimeout(timer);
  abort?.abort();
  if (!address || document.hidden) return;
  const mine = (abort = new AbortController());
  let goesOn = true;
  try {
    const answer = await fetch(address, { credentials: "same-origin", signal: mine.signal });
    if (answer.redirected || answer.status === 401 || answer.status === 404) {
      say("This page is no longer as you see it.", () => location.reload());
      return;
    }
    if (!answer.ok) throw new Error(answer.status);
    goesOn = await told(answer);
    pause = LEAST_MILLISECONDS;
  } catch {
    if (mine.signal.aborted) return;
    address.searchParams.delete("position");
    pause = Math.min(pause * 2, MOST_MILLISECONDS);
  }
  if (goesOn && mine === abort) timer = setTimeout(follow, pause * (1 + Math.random() / 4));
}

function begin() {
  const element = document.querySelector("[data-follow]");
  address = element ? new URL(element.dataset.follow, location.href) : null;
  note(document);
  follow();
}

document.addEventListener("parts:replaced", (event) => {
  note(event.target.parentElement ?? document);
  forgetEdited();
  if (event.target.id === "main") begin();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) abort?.abort();
  else follow();
});
addEventListener("pagehide", () => abort?.abort());
begin();
