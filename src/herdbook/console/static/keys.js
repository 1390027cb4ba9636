// Keys. An element with `data-key` is used by that key: a field gets the focus, a link or button is clicked. One with `data-jump`
// is clicked by its letter after a `g`. Single letters do nothing while somebody types, or while a dialog is open. Arrow keys move
// between the rows of a table, and Ctrl-Enter sends the form of a long text.
const JUMP_MILLISECONDS = 1500;
let jumpUntil = 0;

function isTyping(element) {
  return element.matches("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  const target = event.target instanceof Element ? event.target : document.body;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && target.matches("textarea")) {
    event.preventDefault();
    target.form?.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    const open = document.querySelector("details.popover[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
      return;
    }
  }
  if (event.key === "ArrowDown" || event.key === "ArrowUp") moveRow(event, target);
  if (isTyping(target) && event.key !== "Escape") return;
  const isJump = event.timeStamp < jumpUntil;
  jumpUntil = event.key === "g" && !isJump ? event.timeStamp + JUMP_MILLISECONDS : 0;
  const wanted = document.querySelector(`[data-${isJump ? "jump" : "key"}="${CSS.escape(event.key)}"]`);
  if (!wanted) {
    if (event.key === "Escape" && isTyping(target)) target.blur();
    return;
  }
  event.preventDefault();
  if (wanted.matches("input, textarea")) {
    wanted.focus();
    wanted.select();
  } else {
    // A list that opens closes again when the focus is elsewhere.
    if (wanted.matches("summary")) wanted.focus();
    wanted.click();
  }
});

function moveRow(event, target) {
  const rows = [...document.querySelectorAll(".row-link")];
  if (!rows.length || (isTyping(target) && target.type !== "search")) return;
  const place = rows.indexOf(target);
  const next = rows[place + (event.key === "ArrowDown" ? 1 : -1)];
  if (place < 0 && event.key === "ArrowUp") return;
  event.preventDefault();
  (next ?? (place === 0 && event.key === "ArrowUp" ? document.querySelector("input[type=search]") : null))?.focus();
}
