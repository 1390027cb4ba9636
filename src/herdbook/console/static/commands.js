// The command menu, and other pages in a dialog. A link with `data-dialog` shows the element of its page with that id in a dialog.
// Ctrl-K opens the page that finds things, `/find`: what is typed is searched, arrow keys choose, Enter goes there.
import { acts, showLetters } from "./keys.js";

const FIND = "found";
const TYPED_MILLISECONDS = 80;
let opened = null;

async function part(address, id, signal) {
  const answer = await fetch(address, { credentials: "same-origin", signal });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = answer.ok ? page.getElementById(id) : null;
  // It is another page, such as the sign-in.
  if (!found) location.assign(address);
  return { found: found && document.importNode(found, true), title: page.querySelector("h1")?.textContent ?? "" };
}

function made(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function dialogOf(title, ...children) {
  const close = made("button", { type: "button", className: "button quiet", textContent: "Close" });
  const heading = made("h2", { id: "dialog-title", textContent: title });
  const dialog = made("dialog", { className: "dialog" }, made("div", { className: "dialog-head" }, heading, close), ...children);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    opened = null;
  });
  document.body.append(dialog);
  opened = dialog;
  dialog.showModal();
  return dialog;
}

async function showPart(link) {
  const { found, title } = await part(link.href, link.dataset.dialog);
  if (!found || opened) return;
  found.removeAttribute("id");
  showLetters(found);
  dialogOf(title, found);
}

function showMenu(link) {
  const input = made("input", { className: "input", type: "text", maxLength: 200, autocomplete: "off", spellcheck: false });
  const list = made("div", { id: "commands" });
  const said = made("p", { className: "visually-hidden" });
  input.placeholder = "A page, an action, or a record";
  const roles = { role: "combobox", "aria-label": input.placeholder, "aria-controls": "commands", "aria-expanded": "true" };
  for (const [name, value] of Object.entries({ ...roles, "aria-autocomplete": "list" })) input.setAttribute(name, value);
  list.role = "listbox";
  list.ariaLabel = "Found";
  said.role = "status";
  const dialog = dialogOf("Find", input, list, said);
  input.focus();
  let abort = null;
  let waiting = 0;
  let isLoading = true;
  let goes = null;

  const options = () => [...list.querySelectorAll("[role=option]")];
  const chosen = () => list.querySelector("[aria-selected=true]");

  function choose(option) {
    chosen()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option?.id ?? "");
  }

  async function search() {
    abort?.abort();
    abort = new AbortController();
    const { signal } = abort;
    let found;
    try {
      ({ found } = await part(`${link.href}?${new URLSearchParams({ search: input.value })}`, FIND, signal));
    } catch (error) {
      if (error.name === "AbortError") return;
      said.textContent = "The server cannot be reached.";
      said.classList.remove("visually-hidden");
      return;
    }
    if (!found) return;
    show(found);
    isLoading = false;
    if (goes) go(goes);
  }

  // The lists of the page become the groups and options of one list, because the focus stays in the field.
  function show(found) {
    for (const group of found.querySelectorAll("section")) group.role = "group";
    for (const element of found.querySelectorAll("h2, ul, li")) element.role = "presentation";
    for (const [index, option] of found.querySelectorAll("a").entries()) {
      option.role = "option";
      option.id = `command-${index}`;
      option.tabIndex = -1;
      option.setAttribute("aria-selected", "false");
    }
    list.replaceChildren(...found.childNodes);
    const count = options().length;
    said.textContent = count === 1 ? "1 found" : `${count || "Nothing"} found`;
    said.classList.add("visually-hidden");
    choose(options()[0]);
  }

  function go(event) {
    if (isLoading) {
      goes = event;
      return;
    }
    const option = chosen();
    goes = null;
    if (option) option.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ...event }));
  }

  input.addEventListener("input", () => {
    // An answer that is under way is for another text.
    abort?.abort();
    isLoading = true;
    clearTimeout(waiting);
    waiting = setTimeout(search, TYPED_MILLISECONDS);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const all = options();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && all.length) {
      event.preventDefault();
      choose(all[(all.indexOf(chosen()) + step + all.length) % all.length]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      go({ ctrlKey: event.ctrlKey, metaKey: event.metaKey, shiftKey: event.shiftKey });
    }
  });
  dialog.addEventListener("close", () => {
    clearTimeout(waiting);
    abort?.abort();
  });
  search();
}

function open(link) {
  if (opened) return;
  if (link.dataset.dialog === FIND) showMenu(link);
  else showPart(link);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  open(link);
});

acts.find = (event) => {
  const link = document.querySelector(`a[data-dialog=${FIND}]`);
  if (!link) return;
  event.preventDefault();
  if (opened) opened.close();
  else open(link);
};
