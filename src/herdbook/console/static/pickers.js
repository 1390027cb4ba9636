// A picker is a search and what it finds: the search names the element with its choices as `data-chooses`, and a choice that the
// words of the search have found has `data-found`. Enter in the search takes the first one that was found, and never sends the form.
// The arrow keys go from the search to the choices, between them, and back.
import { caughtUp } from "./parts.js";

const CHOICES = "input:is([type=radio], [type=checkbox]), .row-name, [name=new_tag]";

const choicesOf = (search) => [...(document.getElementById(search.dataset.chooses)?.querySelectorAll(CHOICES) ?? [])];
const isFound = (choice) => choice.matches("[data-found], .row-name, [name=new_tag]");

function take(choice) {
  choice.focus();
  if (choice.type !== "radio" || choice.checked) return;
  choice.checked = true;
  choice.dispatchEvent(new Event("input", { bubbles: true }));
}

// Returns the choice to go to: the first that was found or, before anything is searched for, the one that is chosen.
async function firstOf(search) {
  if (!(await caughtUp(search.matches("[data-live]") ? search : search.form))) return null;
  const choices = choicesOf(search);
  return search.value.trim() ? choices.find(isFound) : (choices.find((each) => each.checked) ?? choices[0]);
}

async function takeFirst(search) {
  if (!search.value.trim()) return;
  const choice = await firstOf(search);
  if (choice?.type === "checkbox") {
    choice.checked = true;
    choice.dispatchEvent(new Event("input", { bubbles: true }));
    search.select();
  } else if (choice) {
    take(choice);
  }
}

async function goDown(search) {
  const choice = await firstOf(search);
  if (choice) take(choice);
}

function move(event, choice, step) {
  const search = [...document.querySelectorAll("[data-chooses]")].find((each) => choicesOf(each).includes(choice));
  if (!search) return;
  const choices = choicesOf(search);
  const next = choices[choices.indexOf(choice) + step];
  event.preventDefault();
  if (next) take(next);
  else if (step < 0) search.focus();
}

document.addEventListener(
  "keydown",
  (event) => {
    const { target, key } = event;
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || !(target instanceof Element)) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (target.matches("[data-chooses]")) {
      if (key !== "Enter" && key !== "ArrowDown") return;
      event.preventDefault();
      if (key === "Enter") takeFirst(target);
      else goDown(target);
    } else if (target.matches(CHOICES)) {
      if (step) move(event, target, step);
      // A form never has another choice than the one that somebody is at.
      else if (key === "Enter" && target.type === "radio") target.checked = true;
    }
  },
  true,
);
