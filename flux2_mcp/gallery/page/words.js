/* What people read: money, times and sizes. */

let language = "en";

function dollars(amount) {
  if (amount === undefined || amount === null) return "";
  const cents = Math.round(amount * 1000) % 10 === 0;
  return `$${amount.toFixed(cents ? 2 : 3)}`;
}

function secondsOf(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function ageOf(moment) {
  const minutes = (Date.now() - new Date(moment)) / 60000;
  if (Number.isNaN(minutes)) return "";
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${Math.floor(minutes)} min ago`;
  if (minutes < 12 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${dayOf(moment)}, ${new Date(moment).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" })}`;
}

/** The day as a heading says it. */
function dayOf(moment) {
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return "Some day";
  const days = Math.round((midnight(new Date()) - midnight(date)) / 86400000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString(language, { weekday: days < 7 ? "long" : undefined, day: "numeric", month: "long", year });
}

/** "16:9" as a number; nothing for "auto". */
function ratioOf(text) {
  const [, wide, high] = /^(\d+):(\d+)$/.exec(text ?? "") ?? [];
  return wide && Number(high) ? Number(wide) / Number(high) : undefined;
}

function shortened(text, most = 120) {
  const letters = Array.from((text ?? "").slice(0, most * 2));
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : letters.join("");
}

function counted(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
