// Selecting many rows of a list: all of a page by one box, a range with Shift, and the row in focus by a key.
import { acts, rowOf } from "./keys.js";

// A screen that is touched has no key to press.
const NONE = matchMedia("(hover: none)").matches ? "Check some to change them." : "Check some to change them, or press x on a row.";
let last = null;

function boxes() {
  return [...document.querySelectorAll('#list input[name="id"]')];
}

function tell() {
  const all = boxes();
  const place = document.getElementById("selected-count");
  if (!place) return;
  const chosen = all.filter((box) => box.checked).length;
  place.textContent = chosen ? `${chosen} selected` : NONE;
  document.getElementById("change-selected").disabled = !chosen;
  const whole = document.getElementById("select-page");
  whole.checked = chosen > 0 && chosen === all.length;
  whole.indeterminate = chosen > 0 && chosen < all.length;
}

function choose(box, isRange) {
  const all = boxes();
  if (isRange && last?.isConnected) {
    const ends = [all.indexOf(last), all.indexOf(box)].sort((one, other) => one - other);
    for (const between of all.slice(ends[0], ends[1] + 1)) between.checked = box.checked;
  }
  last = box;
  tell();
}

document.addEventListener("click", (event) => {
  if (event.target.matches?.('#list input[name="id"]')) choose(event.target, event.shiftKey);
});

document.addEventListener("change", (event) => {
  if (event.target.id !== "select-page") return;
  for (const box of boxes()) box.checked = event.target.checked;
  tell();
});

acts["select-row"] = (event, target) => {
  const box = rowOf(target)?.closest("tr")?.querySelector('input[name="id"]');
  if (!box) return;
  event.preventDefault();
  box.checked = !box.checked;
  choose(box, event.shiftKey);
};

tell();
document.addEventListener("parts:replaced", tell);
