// Keys. `shortcuts.js` is made of the table in `shortcuts.py`, and names the act of each key; a key that it does not have does
// nothing. The act `use` uses the element that names the key as `data-key`: a field gets the focus, a link or button is clicked. An
// element with `data-jump` is clicked by its letter after a `g`. Single letters do nothing while the focus is in a form, while a dialog
// is open, or once the person has turned them off by the box with `data-letters`.
import shortcuts from "./shortcuts.js";

const JUMP_MILLISECONDS = 1500;
// The fields that a person fills in. The boxes that select rows of a list are a part of their rows.
const CONTROL = "input:not([type=hidden], [form=selection], #select-page), textarea, select, [contenteditable]";
const CHOICE = "input:is([type=checkbox], [type=radio])";
// One field that is edited in place has two forms: what it is chosen from is searched by one, and saved by the other.
const EDITOR = ".member:has(form), .popover-body, form, dialog";
let jumpUntil = 0;

// Each takes the event of a key and the element in focus. Other modules add theirs.
export const acts = {
  use: (event, target) => use("key", event, target),
  jump: (event) => {
    jumpUntil = event.timeStamp + JUMP_MILLISECONDS;
  },
  send: (event, target) => {
    if (!target.matches("textarea")) return;
    event.preventDefault();
    target.form?.requestSubmit();
  },
  "next-row": (event, target) => moveRow(event, target, 1),
  "previous-row": (event, target) => moveRow(event, target, -1),
};

function isTyping(element) {
  return element.matches(CONTROL) && !element.matches(CHOICE);
}

// The form that an element is in, with all that belongs to it, if it has anything to fill in.
function editorOf(element) {
  let editor = element.closest(EDITOR);
  while (editor && !editor.querySelector(CONTROL)) editor = editor.parentElement.closest(EDITOR);
  return editor;
}

// The link of the row that an element is in, if it is in one.
export function rowOf(element) {
  return (element.closest("tr") ?? element.closest("li"))?.querySelector(".row-link") ?? null;
}

function nameOf(event) {
  if (!event.ctrlKey && !event.metaKey) return event.key;
  return `Mod+${event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key}`;
}

const lettersKey = () => `herdbook-no-letters ${document.querySelector("[data-user]")?.dataset.user}`;
const hasLetters = () => localStorage.getItem(lettersKey()) === null;

export function showLetters(root) {
  for (const box of root.querySelectorAll("[data-letters]")) box.checked = hasLetters();
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-letters]")) return;
  if (event.target.checked) localStorage.removeItem(lettersKey());
  else localStorage.setItem(lettersKey(), "");
});
showLetters(document);

// A form of boxes and buttons alone, such as that of two contacts side by side, has letters for its own buttons.
function isOwnLetter(event, target) {
  const wanted = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  return !isTyping(target) && Boolean(wanted?.form) && wanted.form === target.closest("form");
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.isComposing || event.defaultPrevented) return;
  // What has been closed keeps the focus until the next frame.
  const isShown = event.target instanceof Element && event.target.checkVisibility();
  const target = isShown ? event.target : document.body;
  const act = shortcuts[nameOf(event)];
  // The dialog of the command menu closes by the key that has opened it.
  if (document.querySelector("dialog[open]") && act !== "find") return;
  const isJump = event.timeStamp < jumpUntil;
  jumpUntil = 0;
  if (nameOf(event).length === 1) {
    const isOfForm = target.matches(CONTROL) || editorOf(target);
    if (!hasLetters() || (isOfForm && !isOwnLetter(event, target))) return;
  }
  if (isJump && event.key.length === 1) use("jump", event, target);
  else if (act) acts[act](event, target);
});

// Returns the element that names a key. What leaves one field is never used for another one.
function wantedBy(kind, event, target) {
  const selector = `[data-${kind}="${CSS.escape(event.key)}"]`;
  const all = [...document.querySelectorAll(selector)];
  if (event.key !== "Escape") return all[0];
  const editor = editorOf(target);
  const own = editor?.querySelector(selector);
  if (own) return own;
  const open = editor ? [] : all.filter(editorOf);
  return open.length > 1 ? null : (open[0] ?? all.find((each) => !editorOf(each)));
}

function use(kind, event, target) {
  if (event.key === "Escape" && closesWhatIsOpen()) return;
  const wanted = wantedBy(kind, event, target);
  if (!wanted) {
    if (event.key === "Escape" && isTyping(target)) target.blur();
    return;
  }
  event.preventDefault();
  if (wanted.matches("input, textarea")) {
    wanted.focus();
    wanted.select();
    return;
  }
  // A list that opens closes again when the focus is elsewhere.
  if (wanted.matches("summary")) wanted.focus();
  wanted.click();
  if (wanted.matches("summary") && wanted.parentElement.open) wanted.parentElement.querySelector(`:is(${CONTROL})`)?.focus();
}

function closesWhatIsOpen() {
  // The browser itself closes the menu of a narrow screen.
  if (document.querySelector(":popover-open")) return true;
  const open = document.querySelector("details.popover[open]");
  if (!open) return false;
  open.open = false;
  open.querySelector("summary").focus();
  return true;
}

function moveRow(event, target, step) {
  const rows = [...document.querySelectorAll(".row-link")];
  if (!rows.length || (editorOf(target) && target.type !== "search")) return;
  const place = rows.indexOf(rowOf(target));
  if (place < 0 && step < 0) return;
  event.preventDefault();
  const before = place === 0 && step < 0 ? document.querySelector("input[type=search]") : null;
  (rows[place + step] ?? before)?.focus();
}
