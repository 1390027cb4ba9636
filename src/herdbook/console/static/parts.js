// Replaces parts of a page in place. A link or form with `data-parts` loads its page, and the elements with those ids are taken
// from it; `*` means the whole content. Other attributes:
//   data-address       the address of the browser becomes that of the loaded page
//   data-live          a form is sent while somebody types in it
//   data-falls-back    the parts to replace if the answer is a refusal, such as a form with its errors
//   data-focus         the id of the element that has the focus afterwards, unless a replaced one has `autofocus`
let running = null;
let waiting;

async function load(request, parts, element) {
  clearTimeout(waiting);
  // A change is neither broken off nor sent twice. A page that is being read makes way.
  if (running?.isChange) return;
  running?.abort();
  const abort = (running = new AbortController());
  abort.isChange = request.method !== "GET";
  document.documentElement.classList.add("is-busy");
  let answer, text;
  try {
    answer = await fetch(request, { signal: abort.signal, credentials: "same-origin" });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") return;
    say("The server cannot be reached. What you typed is still here; try again shortly.");
    return;
  } finally {
    if (running === abort) {
      running = null;
      document.documentElement.classList.remove("is-busy");
    }
  }
  if (answer.ok && abort.isChange) element.dispatchEvent(new CustomEvent("parts:saved", { bubbles: true }));
  const page = new DOMParser().parseFromString(text, "text/html");
  const named = answer.ok ? parts : (element.dataset.fallsBack ?? parts);
  const ids = named === "*" ? ["main"] : named.split(" ");
  const pairs = ids.map((id) => [document.getElementById(id), page.getElementById(id)]);
  if (pairs.some(([there, here]) => !there || !here)) {
    // It is another page, such as the one that says why nothing was done.
    if (!answer.ok && page.querySelector("h1")) {
      const wayOn = answer.status === 401 ? page.querySelector("main a.button") : null;
      say(page.querySelector("main p:not(.brand)")?.textContent ?? page.querySelector("h1").textContent, wayOn);
    } else {
      location.assign(answer.url);
    }
    return;
  }
  replace(pairs, element);
  if (named === "*") document.title = page.title;
  if (element.hasAttribute("data-address")) history.replaceState(null, "", answer.url);
}

function replace(pairs, element) {
  const focused = document.activeElement;
  const focusedId = focused?.id;
  const wanted = element.dataset.focus ?? (element.closest(".member")?.id.replace("member-", "edit-") || focusedId);
  let autofocus = null;
  for (const [there, here] of pairs) {
    const fresh = document.importNode(here, true);
    // A choice stays chosen while somebody looks for others.
    if (element.hasAttribute("data-live")) keepChoices(there, fresh);
    there.replaceWith(fresh);
    autofocus ??= fresh.querySelector("[autofocus]");
    fresh.dispatchEvent(new CustomEvent("parts:replaced", { bubbles: true }));
  }
  if (focused?.isConnected && focused !== document.body) return;
  const next = autofocus ?? document.getElementById(wanted) ?? document.getElementById("main");
  next.focus({ preventScroll: next.id === "main" });
  if (next.matches?.("input:not([type=radio], [type=checkbox]), textarea")) next.select();
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
  load(new Request(link.href), link.dataset.parts, link);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-parts]");
  if (!form) return;
  event.preventDefault();
  const request =
    form.method === "get"
      ? new Request(address(form, event.submitter))
      : new Request(form.action, { method: "post", body: new URLSearchParams(new FormData(form, event.submitter)) });
  load(request, form.dataset.parts, form);
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-live]");
  if (!form || event.isComposing) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => load(new Request(address(form)), form.dataset.parts, form), 120);
});

// An open list closes when somebody clicks or moves elsewhere.
for (const kind of ["click", "focusin"]) {
  document.addEventListener(kind, (event) => {
    for (const open of document.querySelectorAll("details.popover[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });
}
