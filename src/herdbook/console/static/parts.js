// Replaces parts of a page in place. A link or form with `data-parts` loads its page, and the elements with those ids are taken
// from it; `*` means the whole content. Other attributes:
//   data-address       the address of the browser becomes that of the loaded page
//   data-live          a form is sent while somebody types in it; a field with its own `data-parts` sends the form that it is in
//   data-falls-back    the parts to replace if the answer is a refusal, such as a form with its errors
//   data-focus         the id of the element that has the focus afterwards, unless a replaced one has `autofocus`
// Without it, the element with the id of the focused one has the focus again, or else the first part, so that nobody begins again
// at the top of the page.
// A page that somebody looks at is read anew at most once at a time. Changes wait for each other, so that none is lost.
const SLOW_MILLISECONDS = 300;
const ENTIRE_PAGE = ["main", "notice"];
// Buttons that only look: at a preview, at other rows of a form, at what a search finds.
const LOOKS = "[data-looks]";
// Forms that are not answered with a page, or ask for something else first.
const APART = "[data-downloads], [data-passkey], [data-signs-out], :has([type=file])";
const SEARCHES = "[data-live]";
// Readers that speak tell the changed content of an element that stays.
const TELLS = "[role=status]";
let running = null;
let waiting;
let changes = Promise.resolve();
let pending = 0;
const sending = new WeakSet();
// The search whose parts do not yet show what it says.
let behind = null;

async function change(request, parts, form, submitter) {
  // A second click on the same button is no second change.
  if (sending.has(form)) return;
  clearTimeout(waiting);
  running?.abort();
  sending.add(form);
  pending += 1;
  const stop = tellIfSlow(form, submitter);
  const before = changes;
  const done = (changes = before.catch(() => {}).then(() => load(request, parts, form)));
  try {
    await done;
  } finally {
    pending -= 1;
    sending.delete(form);
    stop();
  }
}

// Returns whether the parts are those that were asked for.
async function read(request, parts, element) {
  clearTimeout(waiting);
  running?.abort();
  const abort = (running = new AbortController());
  if (pending) await changes;
  if (abort.signal.aborted) return false;
  return load(request, parts, element, abort);
}

async function load(request, parts, element, abort = null) {
  document.documentElement.classList.add("is-busy");
  let answer, text;
  try {
    answer = await fetch(request, { signal: abort?.signal, credentials: "same-origin" });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") return false;
    say("The server cannot be reached. What you typed is still here; try again shortly.");
    return false;
  } finally {
    if (running === abort) running = null;
    if (!running && pending < (abort ? 1 : 2)) document.documentElement.classList.remove("is-busy");
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const isSaved = !abort && answer.ok && (answer.redirected || !sameForm(element, page));
  // An earlier answer may have replaced the form, from which no event would come here.
  if (isSaved) document.dispatchEvent(new CustomEvent("parts:saved", { detail: element }));
  const named = answer.ok ? parts : (element.dataset.fallsBack ?? parts);
  const ids = named === "*" ? ENTIRE_PAGE : named.split(" ");
  const pairs = ids.map((id) => [document.getElementById(id), page.getElementById(id)]);
  if (pairs.some(([there, here]) => !there || !here)) {
    // It is another page, such as the one that says why nothing was done.
    if (!answer.ok && page.querySelector("h1")) {
      const wayOn = answer.status === 401 ? page.querySelector("main a.button") : null;
      say(page.querySelector("main p:not(.brand)")?.textContent ?? page.querySelector("h1").textContent, wayOn);
    } else {
      location.assign(answer.url);
    }
    return false;
  }
  replace(pairs, element, !answer.ok);
  if (!abort && answer.ok && !isSaved) document.dispatchEvent(new CustomEvent("parts:shown-again", { detail: sameForm(element, document) }));
  document.title = page.title;
  if (element.hasAttribute("data-address")) history.replaceState(null, "", withoutNotice(answer.url));
  return answer.ok;
}

// A form that is shown again, filled in, was not saved.
export function sameForm(form, page) {
  return [...page.querySelectorAll("main form[method=post]")].find((each) => each.getAttribute("action") === form.getAttribute("action"));
}

// A line about what was done is said once, and not again by a reload or a bookmark.
function withoutNotice(address) {
  const url = new URL(address, location.href);
  url.searchParams.delete("notice");
  return url;
}

function tellIfSlow(form, submitter) {
  form.setAttribute("aria-busy", "true");
  const timer = setTimeout(() => {
    const line = document.createElement("div");
    line.className = "notice is-slow";
    line.append(submitter?.matches(LOOKS) ? "Loading…" : "Saving…");
    document.getElementById("notice")?.replaceChildren(line);
  }, SLOW_MILLISECONDS);
  return () => {
    clearTimeout(timer);
    form.removeAttribute("aria-busy");
    if (!pending) document.querySelector("#notice .is-slow")?.remove();
  };
}

async function follow(live) {
  const isShown = await read(live.request(), live.parts, live.element);
  if (isShown && behind === live) behind = null;
  return isShown;
}

// Returns whether the page shows what the search of an element finds; asks for it, if it does not yet.
export async function caughtUp(element) {
  return behind?.element === element ? Boolean(await follow(behind)) : true;
}

export function replace(pairs, element, isRefused = false) {
  const focused = document.activeElement;
  const focusedId = focused?.id;
  const wanted = element.dataset.focus ?? (element.closest(".member")?.id.replace("member-", "edit-") || focusedId);
  let autofocus = null;
  for (const [there, here] of pairs) {
    let fresh = document.importNode(here, true);
    // A choice stays chosen while somebody looks for others.
    if (element.matches(SEARCHES)) keepChoices(there, fresh);
    if (there.matches(TELLS)) {
      there.replaceChildren(...fresh.childNodes);
      fresh = there;
    } else {
      there.replaceWith(fresh);
    }
    autofocus ??= (isRefused ? faultIn(fresh) : null) ?? fresh.querySelector("[autofocus]");
    fresh.dispatchEvent(new CustomEvent("parts:replaced", { bubbles: true }));
  }
  if (focused?.isConnected && focused !== document.body) return;
  const next = autofocus ?? sameChoice(focused) ?? document.getElementById(wanted) ?? document.getElementById(pairs[0][1].id);
  if (next.id === pairs[0][1].id && next.id !== "main") next.tabIndex = -1;
  next.focus({ preventScroll: next.id === "main" });
  if (next.matches?.("input:not([type=radio], [type=checkbox]), textarea")) next.select();
}

// Returns where somebody goes on who has sent a form that was refused: at the first field with a fault, or where it says what is wrong.
export function faultIn(place) {
  const fields = [...place.querySelectorAll("[aria-invalid=true]")];
  const field = fields.map((each) => (each.matches("fieldset") ? each.querySelector("input") : each)).find((each) => each?.checkVisibility());
  const summary = field ? null : place.querySelector("main .errors, .errors, main .error-line:not(:empty)");
  if (summary) summary.tabIndex = -1;
  return field ?? summary;
}

function sameChoice(old) {
  if (!old?.matches("input:is([type=radio], [type=checkbox])")) return null;
  const same = [...document.getElementsByName(old.name)].find((each) => each.value === old.value && each.type === old.type);
  return same?.checkVisibility() ? same : null;
}

function keepChoices(there, fresh) {
  for (const old of there.querySelectorAll("input:is([type=radio], [type=checkbox])")) {
    const input = [...fresh.querySelectorAll(`input[name="${CSS.escape(old.name)}"]`)].find((each) => each.value === old.value);
    if (input) {
      // A radio button is unchecked by another one.
      if (old.checked || old.type === "checkbox") input.checked = old.checked;
    } else if (old.checked && old.type === "checkbox") {
      fresh.querySelector("fieldset")?.append(document.importNode(old.closest("label"), true));
    }
  }
}

function say(text, link = null) {
  const place = document.getElementById("notice");
  const line = document.createElement("div");
  line.className = "notice is-bad";
  line.append(text, ...(link ? [document.importNode(link, true)] : []));
  place?.replaceChildren(line);
}

function address(form, submitter) {
  const url = new URL(form.action);
  const fields = [...new FormData(form, submitter)].filter(([, value]) => value !== "");
  url.search = new URLSearchParams(fields);
  return url;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-parts]");
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  read(new Request(link.href), link.dataset.parts, link);
});

function isBehind(form) {
  const { element } = behind ?? {};
  if (!element?.isConnected || form === element) return false;
  return behind.parts.split(" ").some((id) => form.querySelector(`#${CSS.escape(id)}`));
}

function posted(form, submitter) {
  return new Request(form.action, { method: "post", body: new URLSearchParams(new FormData(form, submitter)) });
}

// A form with parts that are about to be replaced would send what somebody chose before. It first gets the parts.
document.addEventListener(
  "submit",
  async (event) => {
    const { target: form, submitter } = event;
    if (!isBehind(form)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (await follow(behind)) form.requestSubmit(submitter?.isConnected ? submitter : null);
  },
  true,
);

document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented) return;
  if (!form.dataset.parts) {
    if (form.method === "post" && !form.matches(APART)) addEventListener("pagehide", tellIfSlow(form, submitter), { once: true });
    return;
  }
  event.preventDefault();
  if (form.method === "get") read(new Request(address(form, submitter)), form.dataset.parts, form);
  else change(posted(form, submitter), form.dataset.parts, form, submitter);
});

// A search runs while somebody types: a form of its own with `data-live`, or the field of a larger form, which sends that form
// by the button that searches.
function searchOf(target) {
  const form = target.closest("form[data-live]");
  if (form) return { element: form, parts: form.dataset.parts, request: () => new Request(address(form)) };
  if (!target.matches("input[data-live]")) return null;
  const submitter = target.parentElement.querySelector("button");
  return { element: target, parts: target.dataset.parts, request: () => posted(target.form, submitter) };
}

document.addEventListener("input", (event) => {
  const live = searchOf(event.target);
  if (!live || event.isComposing) return;
  clearTimeout(waiting);
  behind = live;
  waiting = setTimeout(() => follow(live), 120);
});

// An open list closes when somebody clicks or moves elsewhere.
for (const kind of ["click", "focusin"]) {
  document.addEventListener(kind, (event) => {
    for (const open of document.querySelectorAll("details.popover[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });
}

if (new URL(location.href).searchParams.has("notice")) history.replaceState(history.state, "", withoutNotice(location.href));
