// A recording beside its transcript: a link with `data-seek` plays from that second, and the line that is heard is marked.
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-seek]");
  const player = document.querySelector("[data-player]");
  if (!link || !player || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  player.currentTime = Number(link.dataset.seek);
  mark(player.currentTime);
  // A browser may refuse to play, or have no decoder for the recording. Its controls then say so.
  player.play().catch(() => {});
});

function mark(seconds) {
  const lines = [...document.querySelectorAll("[data-seconds]")];
  const heard = lines.findLast((line) => Number(line.dataset.seconds) <= seconds + 0.01);
  for (const line of lines) {
    if (line === heard) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  }
}

for (const player of document.querySelectorAll("[data-player]")) {
  player.addEventListener("timeupdate", () => mark(player.currentTime));
}
