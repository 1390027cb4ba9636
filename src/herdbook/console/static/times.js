// Shows times in the reader's zone and language: how long ago for the last day, the date before. A time that somebody has given has
// `data-exact`, and is shown with its hour. A day is the same one in all zones.
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const wholeDay = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeZone: "UTC" });
const isDay = (text) => /^\d{4}-\d{2}-\d{2}$/.test(text);

function shown(time) {
  const seconds = Math.round((time - Date.now()) / 1000);
  if (Math.abs(seconds) < 60) return relative.format(0, "minute");
  if (Math.abs(seconds) < 3600) return relative.format(Math.round(seconds / 60), "minute");
  if (Math.abs(seconds) < 86400) return relative.format(Math.round(seconds / 3600), "hour");
  return date.format(time);
}

export function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    if (Number.isNaN(time.getTime())) continue;
    const ofDay = isDay(element.dateTime);
    element.textContent = ofDay ? day.format(time) : element.hasAttribute("data-exact") ? exact.format(time) : shown(time);
    element.title = (ofDay ? wholeDay : whole).format(time);
  }
  for (const input of root.querySelectorAll("input[data-utc]")) showInZone(input);
}

// A form names a time in UTC. Its reader sees and types it in the own zone.
function showInZone(input) {
  const zone = input.closest("label").querySelector("[data-zone]");
  zone.textContent = `in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
  if (!input.value) return;
  const time = new Date(`${input.value}Z`);
  const parts = [time.getFullYear(), time.getMonth() + 1, time.getDate()].map((part) => String(part).padStart(2, "0"));
  input.value = `${parts[0].padStart(4, "0")}-${parts[1]}-${parts[2]}T${time.toTimeString().slice(0, 8)}`;
}

document.addEventListener("formdata", (event) => {
  for (const input of event.target.querySelectorAll("input[data-utc]")) {
    if (input.value) event.formData.set(input.name, new Date(input.value).toISOString());
  }
});
