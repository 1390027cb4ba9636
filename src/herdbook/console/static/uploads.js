// A file may be dropped anywhere on a page whose form takes one: the form names in `data-drops` how many bytes that may have. A
// larger one is refused before it is sent, and the page shows how much of a smaller one has arrived.
import { replace } from "./parts.js";

let sending = null;
const form = () => document.querySelector("form[data-drops]");
const input = () => form().querySelector("[type=file]");
const hasFiles = (event) => form() && event.dataTransfer?.types.includes("Files");

function say(text) {
  document.getElementById("file-said").textContent = text;
  input().setAttribute("aria-invalid", text ? "true" : "false");
}

function tooLarge() {
  const file = input().files[0];
  if (!file || file.size <= Number(form().dataset.drops)) return false;
  say(`${file.name} is larger than that. Split it, and import its parts.`);
  return true;
}

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form().classList.add("is-over");
});

document.addEventListener("dragleave", (event) => {
  // It has left the page, not one element for another.
  if (form() && !event.relatedTarget) form().classList.remove("is-over");
});

document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form().classList.remove("is-over");
  if (event.dataTransfer.files.length !== 1) {
    say("Drop one file at a time.");
    return;
  }
  input().files = event.dataTransfer.files;
  if (!tooLarge()) form().requestSubmit();
});

document.addEventListener("change", (event) => {
  if (event.target === form()?.querySelector("[type=file]") && !tooLarge()) say("");
});

document.addEventListener("submit", (event) => {
  if (event.target !== form()) return;
  if (tooLarge()) {
    event.preventDefault();
    return;
  }
  event.preventDefault();
  if (!sending) send(event.target, input().files[0].name);
});

// Only this older kind of request tells how much of its body is sent.
function send(sent, name) {
  const place = document.getElementById("file-limit");
  const usual = place.textContent;
  const bar = document.createElement("progress");
  const told = document.createElement("span");
  const request = (sending = new XMLHttpRequest());
  document.documentElement.classList.add("is-busy");
  say("");
  told.textContent = `${name} is on its way.`;
  bar.setAttribute("aria-label", `Sending ${name}`);
  place.replaceChildren(bar, told);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    if (!total) return;
    bar.max = total;
    bar.value = loaded;
    told.textContent = `${name}: ${Math.floor((loaded / total) * 100)} % is sent.`;
  });
  request.upload.addEventListener("load", () => {
    bar.removeAttribute("value");
    told.textContent = `${name} is sent. The server looks into it.`;
  });
  request.addEventListener("load", () => {
    if (request.status < 400) {
      location.assign(request.responseURL);
      return;
    }
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    const main = page.getElementById("main");
    if (main) replace([[document.getElementById("main"), main]], sent);
    else location.reload();
  });
  request.addEventListener("error", () => {
    place.textContent = usual;
    say("The server cannot be reached. Try again shortly.");
  });
  request.addEventListener("loadend", () => {
    sending = null;
    document.documentElement.classList.remove("is-busy");
  });
  request.open("POST", sent.action);
  request.send(new FormData(sent));
}

// The page may come back from the cache of the browser.
addEventListener("pageshow", () => form() && document.documentElement.classList.remove("is-busy"));
