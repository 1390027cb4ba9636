// What pages gain with JavaScript. Without it, every link and every form works by loading its page.
import "./parts.js";
import "./keys.js";
import "./lists.js";
import "./commands.js";
import "./drafts.js";
import "./changes.js";
import "./player.js";
import "./passkeys.js";
import { showTimes } from "./times.js";

document.documentElement.classList.add("has-script");
showTimes(document);
document.addEventListener("parts:replaced", (event) => showTimes(event.target));
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});
