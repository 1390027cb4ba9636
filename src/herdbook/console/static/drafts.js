// Keeps text that is not saved yet, in this browser alone, and offers it again: after a reload, or when a session was over before
// the form was sent. A draft belongs to a user and a form. It goes when the form is saved, given up or discarded, when the user
// signs out, and after a week. Forms with a password are left out.
const PREFIX = "herdbook-draft ";
const SENT = "herdbook-sent";
const USED = "herdbook-used";
const MOST_CHARACTERS = 200_000;
const DAYS = 7;
const NEVER = ["form_token"];
const initial = new WeakMap();

const user = () => document.querySelector("[data-user]")?.dataset.user;
const keyOf = (form) => `${PREFIX}${user()} ${new URL(form.action).pathname}`;

function isKept(form) {
  return form?.method === "post" && form.closest("main") && !form.querySelector("[type=password], [type=file]") && texts(form).length;
}

function texts(form) {
  return [...form.elements].filter((each) => each.matches("textarea, select, input:not([type=hidden], [type=submit])") && each.name && !each.readOnly);
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
  const draft = JSON.stringify({ label: label.trim(), at: at.pathname + at.search, time: Date.now(), fields: fieldsOf(form) });
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

function take(form, draft) {
  use(form, draft);
  form.querySelector(".draft")?.remove();
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

function offer(text, key, ...buttons) {
  const line = document.createElement("div");
  const said = document.createElement("span");
  line.className = "draft";
  line.role = "status";
  said.textContent = text;
  const discard = button("Discard", () => {
    localStorage.removeItem(key);
    line.remove();
  });
  line.append(said, ...buttons, discard);
  return line;
}

function look(root) {
  if (!user()) return;
  const forms = [...document.querySelectorAll("main form[method=post]")].filter(isKept);
  for (const form of forms) {
    if (initial.has(form) || !(root === document || root.contains(form))) continue;
    initial.set(form, shownOf(form));
    const key = keyOf(form);
    const draft = read(key);
    if (!draft) continue;
    const before = shownOf(form);
    const begun = fieldsOf(form);
    use(form, draft);
    const isSame = shownOf(form) === before;
    if (sessionStorage.getItem(USED) === key) {
      sessionStorage.removeItem(USED);
      texts(form)[0].focus();
    } else {
      // A form that was refused shows the text by itself, with the version that its answer is about.
      use(form, { fields: begun });
      if (!isSame) form.prepend(offer(`Unsaved text from ${ago(draft.time)}`, key, button("Use", () => take(form, draft))));
    }
  }
  const shown = new Set(forms.map(keyOf));
  for (const line of document.querySelectorAll("main > .draft")) line.remove();
  for (const key of keysOf(`${PREFIX}${user()} `)) {
    const draft = read(key);
    if (!draft || shown.has(key) || new URL(draft.at, location.href).pathname !== location.pathname) continue;
    const goOn = button("Go on", () => {
      sessionStorage.setItem(USED, key);
      const link = [...document.querySelectorAll("a[data-parts]")].find((each) => each.getAttribute("href") === draft.at);
      if (link) link.click();
      else location.assign(draft.at);
    });
    document.getElementById("main").prepend(offer(`Unsaved text in ${draft.label} from ${ago(draft.time)}`, key, goOn));
  }
}

function forgetSent() {
  const key = sessionStorage.getItem(SENT);
  sessionStorage.removeItem(SENT);
  const status = performance.getEntriesByType("navigation")[0]?.responseStatus;
  if (key && status && status < 400) localStorage.removeItem(key);
}

function forgetOld() {
  for (const key of keysOf(PREFIX)) {
    if (!(Date.now() - read(key)?.time < DAYS * 86_400_000)) localStorage.removeItem(key);
  }
}

document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (user() && isKept(form)) keep(form);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("[data-signs-out]")) {
    for (const key of keysOf(`${PREFIX}${user()} `)) localStorage.removeItem(key);
  } else if (isKept(form) && !form.dataset.parts) {
    sessionStorage.setItem(SENT, keyOf(form));
  }
});

document.addEventListener("parts:saved", (event) => isKept(event.target) && localStorage.removeItem(keyOf(event.target)));

document.addEventListener("click", (event) => {
  const form = event.target.closest("form .actions a")?.closest("form");
  if (isKept(form)) localStorage.removeItem(keyOf(form));
});

document.addEventListener("parts:replaced", (event) => look(event.target));
forgetSent();
forgetOld();
look(document);
