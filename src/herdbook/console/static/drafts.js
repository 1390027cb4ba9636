// Keeps text that is not saved yet, in this browser alone, and offers it again: after a reload, or when a session was over before
// the form was sent. A draft belongs to a user and a form, and to what that is about, as `data-about` says. It goes when the form is
// saved, given up by a link with `data-gives-up`, or discarded, when the user signs out, and after a week. Forms with a password are left out, those of choices alone, and those with `data-undrafted`: what is
// typed there confirms something. A page offers one draft at a time, the latest first.
const PREFIX = "herdbook-draft ";
const SENT = "herdbook-sent";
const USED = "herdbook-used";
const MOST_CHARACTERS = 200_000;
const DAYS = 7;
const NEVER = ["form_token"];
const TEXTS = "textarea, input:not([type=checkbox], [type=radio], [type=search])";
const initial = new WeakMap();
const offered = new WeakSet();

const user = () => document.querySelector("[data-user]")?.dataset.user;
const keyOf = (form) => `${PREFIX}${user()} ${new URL(form.action).pathname}${form.dataset.about ? ` ${form.dataset.about}` : ""}`;

function isKept(form) {
  const isLeftOut = !form?.closest("main") || form.matches("[data-undrafted]") || form.querySelector("[type=password], [type=file]");
  return !isLeftOut && form.method === "post" && texts(form).some((each) => each.matches(TEXTS));
}

function texts(form) {
  return [...(form.elements ?? [])].filter((each) => each.matches("textarea, select, input:not([type=hidden], [type=submit])") && each.name && !each.readOnly);
}

// The hidden fields go along, because they say with which version of the object the text began.
const fieldsOf = (form) => [...new FormData(form)].filter(([name]) => !NEVER.includes(name));
const shownOf = (form) => JSON.stringify(texts(form).map((each) => (each.matches("[type=checkbox], [type=radio]") ? each.checked : each.value)));

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function keysOf(beginning) {
  return Object.keys(localStorage).filter((key) => key.startsWith(beginning));
}

function keep(form) {
  const key = keyOf(form);
  if (shownOf(form) === initial.get(form)) {
    localStorage.removeItem(key);
    return;
  }
  const label = form.closest(".member")?.querySelector("dt")?.textContent ?? texts(form)[0].ariaLabel ?? document.querySelector("h1")?.textContent;
  const at = new URL(form.dataset.at ?? location.pathname, location.href);
  const draft = JSON.stringify({ label: label.trim(), at: at.pathname + at.search + at.hash, time: Date.now(), fields: fieldsOf(form) });
  if (draft.length > MOST_CHARACTERS) return;
  try {
    localStorage.setItem(key, draft);
  } catch {
    // The browser has no room for it.
  }
}

function use(form, draft) {
  const values = new Map();
  for (const [name, value] of draft.fields) values.set(name, [...(values.get(name) ?? []), value]);
  for (const element of form.elements) {
    if (!element.name || NEVER.includes(element.name) || element.readOnly) continue;
    const sent = values.get(element.name) ?? [];
    if (element.matches("[type=checkbox], [type=radio]")) element.checked = sent.includes(element.value);
    else if (sent.length) element.value = sent.shift();
  }
}

// Gives a form as many rows as a draft has.
function matchRows(form, draft) {
  const rows = [...form.querySelectorAll(".item-row")];
  const many = rowsOf(form, draft);
  for (const row of rows.slice(many)) row.remove();
  for (let place = rows.length; place < many; place += 1) {
    const row = form.querySelectorAll(".item-row")[place - 1];
    const fresh = row.cloneNode(true);
    for (const each of fresh.querySelectorAll("[aria-label]")) each.ariaLabel = each.ariaLabel.replace(/\d+/, place + 1);
    for (const each of fresh.querySelectorAll("button, [type=radio]")) each.value = each.value.replace(/\d+/, place);
    for (const each of fresh.querySelectorAll("input:not([type=radio])")) each.value = "";
    fresh.querySelector("[id]")?.removeAttribute("id");
    row.after(fresh);
  }
}

// Returns how many rows a draft of a form has; none if the form has no rows.
function rowsOf(form, draft) {
  const name = form.querySelector(".item-row input:not([type=hidden])")?.name;
  return draft.fields.filter(([each]) => each === name).length;
}

function take(form, draft) {
  matchRows(form, draft);
  use(form, draft);
  offered.delete(form);
  look();
  texts(form)[0].focus();
}

function ago(time) {
  const minutes = Math.round((Date.now() - time) / 60_000);
  const [count, unit] = minutes < 60 ? [minutes, "minute"] : minutes < 1440 ? [Math.round(minutes / 60), "hour"] : [Math.round(minutes / 1440), "day"];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-count, unit).replace("this minute", "just now");
}

function button(text, act) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", className: "button", textContent: text });
  element.addEventListener("click", act);
  return element;
}

function offer(place, text, key, use) {
  const line = document.createElement("div");
  const said = document.createElement("span");
  line.className = "draft";
  line.role = "status";
  said.textContent = text;
  const discard = button("Discard", () => {
    localStorage.removeItem(key);
    look();
    (document.querySelector("main .draft button") ?? texts(place)[0] ?? place).focus();
  });
  line.append(said, use, discard);
  place.prepend(line);
}

// A form that is new on the page takes the draft that somebody goes on with. Returns whether it would show another text with it.
function begin(form, key, draft) {
  const before = shownOf(form);
  const begun = fieldsOf(form);
  use(form, draft);
  const isSame = shownOf(form) === before && form.querySelectorAll(".item-row").length === rowsOf(form, draft);
  // A form that shows the draft was not saved: no text of it is the one that is stored.
  initial.set(form, isSame ? null : before);
  if (sessionStorage.getItem(USED) === key) {
    sessionStorage.removeItem(USED);
    matchRows(form, draft);
    use(form, draft);
    texts(form)[0].focus();
    return false;
  }
  // A form that was refused shows the text by itself, with the version that its answer is about.
  use(form, { fields: begun });
  return !isSame;
}

function look() {
  if (!user()) return;
  const forms = new Map([...document.querySelectorAll("main form[method=post]")].filter(isKept).map((form) => [keyOf(form), form]));
  for (const [key, form] of forms) {
    if (initial.has(form)) continue;
    initial.set(form, shownOf(form));
    const draft = read(key);
    if (draft && begin(form, key, draft)) offered.add(form);
  }
  const drafts = keysOf(`${PREFIX}${user()} `)
    .map((key) => ({ key, form: forms.get(key), draft: read(key) }))
    .filter(({ form, draft }) => draft && (form ? offered.has(form) : new URL(draft.at, location.href).pathname === location.pathname))
    .sort((one, other) => other.draft.time - one.draft.time);
  const line = document.querySelector("main .draft");
  const asked = drafts.length ? `${drafts[0].key} ${drafts.length}` : "";
  if (line && line.dataset.asked === asked) return;
  line?.remove();
  if (!drafts.length) return;
  show(drafts[0], drafts.length > 1 ? ` (and ${drafts.length - 1} more)` : "");
  document.querySelector("main .draft").dataset.asked = asked;
}

function show({ key, form, draft }, more) {
  if (form) {
    offer(form, `Unsaved text from ${ago(draft.time)}${more}`, key, button("Use", () => take(form, draft)));
    return;
  }
  const goOn = button("Go on", () => {
    sessionStorage.setItem(USED, key);
    const link = [...document.querySelectorAll("a[data-parts]")].find((each) => each.getAttribute("href") === draft.at);
    if (link) link.click();
    else location.assign(draft.at);
  });
  offer(document.getElementById("main"), `Unsaved text in ${draft.label} from ${ago(draft.time)}${more}`, key, goOn);
}

function forgetSent() {
  const key = sessionStorage.getItem(SENT);
  sessionStorage.removeItem(SENT);
  const [navigation] = performance.getEntriesByType("navigation");
  const status = navigation?.responseStatus;
  if (key && status && status < 400 && (navigation.redirectCount || ![...document.querySelectorAll("main form")].some((form) => keyOf(form) === key))) localStorage.removeItem(key);
}

function forgetOld() {
  for (const key of keysOf(PREFIX)) {
    if (!(Date.now() - read(key)?.time < DAYS * 86_400_000)) localStorage.removeItem(key);
  }
}

document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!user() || !isKept(form)) return;
  keep(form);
  if (offered.delete(form)) look();
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("[data-signs-out]")) {
    for (const key of keysOf(`${PREFIX}${user()} `)) localStorage.removeItem(key);
  } else if (isKept(form) && !form.dataset.parts) {
    sessionStorage.setItem(SENT, keyOf(form));
  }
});

document.addEventListener("parts:saved", (event) => localStorage.removeItem(keyOf(event.detail)));

// A preview, or another row, leaves a form unsaved: its draft becomes what it has now.
document.addEventListener("parts:shown-again", ({ detail: form }) => {
  if (!user() || !isKept(form)) return;
  initial.set(form, null);
  keep(form);
  if (offered.delete(form)) look();
});

document.addEventListener("click", (event) => {
  const form = event.target.closest("form a[data-gives-up]")?.closest("form");
  if (isKept(form)) localStorage.removeItem(keyOf(form));
});

document.addEventListener("parts:replaced", look);
forgetSent();
forgetOld();
look();
