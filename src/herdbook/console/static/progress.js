// Shows how far long work is. The element `progress` with `data-watch` is taken anew from the page of that address, each second, as
// long as it has one. At the end, the element with the id in `data-ends` is taken anew, too. A form with `data-watches` begins work that goes on until it is answered, and names the page to look at
// meanwhile.
import { replace } from "./parts.js";

const MILLISECONDS = 1000;
let timer = 0;
let watched = null;

const place = () => document.getElementById("progress");
const isWaiting = () => document.documentElement.classList.contains("is-busy");

async function look() {
  clearTimeout(timer);
  const address = place()?.dataset.watch ?? (isWaiting() ? watched : null);
  if (!address || document.hidden) return;
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("progress");
    const ends = place()?.dataset.ends;
    if (ends && answer.ok && !fresh?.dataset.watch) {
      replace([[document.getElementById(ends), page.getElementById(ends)]], place());
      return;
    }
    if (fresh) place()?.replaceWith(document.importNode(fresh, true));
  } catch {
    // The next look may find the server again.
  }
  timer = setTimeout(look, MILLISECONDS);
}

document.addEventListener("submit", (event) => {
  watched = event.target.dataset.watches ?? null;
  if (watched) timer = setTimeout(look, MILLISECONDS);
});
document.addEventListener("parts:replaced", () => {
  watched = null;
  look();
});
document.addEventListener("visibilitychange", look);
look();
