// What pages gain with JavaScript. Without it, every link and every form works by loading its page.
import "./parts.js";
import "./pickers.js";
import "./keys.js";
import "./lists.js";
import "./commands.js";
import "./drafts.js";
import "./changes.js";
import "./player.js";
import "./progress.js";
import "./uploads.js";
import "./passkeys.js";
import "./copies.js";
import "./ways.js";
import { faultIn } from "./parts.js";
import { showTimes } from "./times.js";

document.documentElement.classList.add("has-script");
showTimes(document);
document.addEventListener("parts:replaced", (event) => showTimes(event.target));
// A form that was refused as a page of its own.
if (performance.getEntriesByType("navigation")[0]?.responseStatus >= 400) faultIn(document.getElementById("main"))?.focus();
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});
