// Shows times in the reader's zone and language: how long ago for the last day, the date before.
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

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
    element.textContent = shown(time);
    element.title = whole.format(time);
  }
}
