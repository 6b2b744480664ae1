// What is live on a page: everything else works without this file. Texts of others go in as text, never as HTML.

const main = document.getElementById("main");
const base = document.documentElement.dataset.base;
const said = document.getElementById("live");
const signs = { deferred: "◷", queued: "•", in_progress: "▶", succeeded: "✓", failed: "✕", cancelled: "⊘" };
const REFRESH_MS = 400;
const FEW = 10;
const AGAIN_MS = 3000;

let refreshing = false;
let refreshAgain = false;
let refreshedAt = 0;
let lost = false;
let newer = 0;

function say(kind, text) {
  said.dataset.kind = kind;
  if (said.textContent !== text) said.textContent = text;
}

// The page as the server has it now, put where the old one stands. What the reader has opened stays open.
async function refresh(asked = false) {
  if (refreshing) { refreshAgain = true; return; }
  refreshing = true;
  try {
    const wait = refreshedAt + REFRESH_MS - Date.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    refreshedAt = Date.now();
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok && answer.status !== 404) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (plain(page.getElementById("main")) === plain(main)) return;
    if (pressing) await new Promise((done) => addEventListener("pointerup", () => setTimeout(done), { once: true }));
    // asked again here: the reader may have come to the list while it was read
    if (isTyping()) { offer("This page has changed.", "Show it"); return; }
    if (!asked && isPointedAt()) { offer("Other jobs have changed.", "Show them"); return; }
    replace(page);
  } finally {
    refreshing = false;
    if (refreshAgain) { refreshAgain = false; refresh(); }
  }
}

// What it says, without times that pass by themselves. What is the same stays: a press on it must not be lost.
function plain(part) {
  const copy = part.cloneNode(true);
  for (const time of copy.querySelectorAll("time[data-ago]")) { time.textContent = ""; time.removeAttribute("title"); }
  for (const number of copy.querySelectorAll("data")) number.textContent = number.value;
  for (const each of copy.querySelectorAll("details")) each.removeAttribute("open");
  return copy.innerHTML;
}

let pressing = false;
addEventListener("pointerdown", () => { pressing = true; });
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => { pressing = false; });

function replace(page) {
  const open = [...main.querySelectorAll("details")].map((each) => each.open);
  const focused = main.contains(document.activeElement) ? pathOf(document.activeElement) : null;
  main.replaceChildren(...[...page.getElementById("main").childNodes].map((node) => document.importNode(node, true)));
  [...main.querySelectorAll("details")].forEach((each, at) => { if (at in open) each.open = open[at]; });
  if (focused) main.querySelector(focused)?.focus({ preventScroll: true });
  document.title = page.title;
  const icon = page.querySelector("link[rel=icon]");
  if (icon) document.querySelector("link[rel=icon]").href = icon.getAttribute("href");
  newer = 0;
  document.getElementById("offer").hidden = true;
  showTimes();
  showNumbers();
}

function pathOf(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const row = element.closest("tr[data-id]");
  if (row) return `tr[data-id="${CSS.escape(row.dataset.id)}"] ${element.localName}`;
  if (element.localName === "button" && element.form) return `form[action="${CSS.escape(element.form.getAttribute("action"))}"] button`;
  return element.localName === "a" ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
}

function isTyping() {
  const focused = document.activeElement;
  return main.contains(focused) && focused.matches("input:not([type=checkbox]), textarea, select")
    || main.querySelector("input[type=checkbox]:checked") !== null
    || [...main.querySelectorAll("form:not([role=search]) input:not([type=hidden]), textarea")]
      .some((each) => each.value !== each.defaultValue)
    || [...main.querySelectorAll("select")].some((each) => !each.closest("[role=search]") && isChosen(each));
}

// Another option than the page came with: without it, what is to be done with the chosen jobs would change by itself.
function isChosen(select) {
  return select.selectedIndex !== Math.max([...select.options].findIndex((option) => option.defaultSelected), 0);
}

function offer(text, label) {
  const offered = document.getElementById("offer");
  offered.firstElementChild.textContent = text;
  offered.lastElementChild.textContent = label;
  offered.hidden = false;
}

// A list moves under nobody's pointer: while it is pointed at, or used, the reader decides when it does.
function isPointedAt() {
  const table = main.querySelector("table.jobs");
  return table !== null && (table.matches(":hover") || table.contains(document.activeElement) || scrollY > 80);
}

function onBeat(beat) {
  for (const [name, text] of Object.entries(beat.numbers)) {
    for (const number of main.querySelectorAll(`[data-n="${CSS.escape(name)}"] data`)) {
      const value = text.replaceAll(",", "");
      if (number.value !== value) { number.value = value; number.textContent = numbers.format(value); }
    }
  }
  const own = main.querySelector("[data-job]");
  const list = main.querySelector("table.jobs, [data-empty-list]");
  if (own) onJob(beat, own);
  else if (list) onList(beat);
}

function onJob(beat, own) {
  const job = beat.jobs.find((each) => each.id === own.dataset.job);
  const bar = document.getElementById("progress");
  if (job?.progress && bar && own.dataset.status === "in_progress") {
    bar.value = job.progress.fraction;
    document.getElementById("progress-note").textContent = `${Math.round(job.progress.fraction * 100)} % ${job.progress.note}`;
  } else if (job || (beat.more && own.dataset.ended === "")) refresh();
}

function onList(beat) {
  const query = new URLSearchParams(location.search);
  let more = 0;
  for (const job of beat.jobs) {
    const row = main.querySelector(`tr[data-id="${CSS.escape(job.id)}"]`);
    if (row) update(row, job);
    else if (matches(job, query)) more += 1;
  }
  if (!more || query.has("cursor") || query.has("until")) return;
  newer += more;
  if (more <= FEW && !isPointedAt() && !isTyping()) refresh();
  else offer(newer > 999 ? "Many jobs have changed." : `${newer} other jobs have changed.`, "Show them");
}

function matches(job, query) {
  const statuses = query.getAll("status").filter((each) => each);
  return (!query.get("type") || query.get("type") === job.type) && (!query.get("queue") || query.get("queue") === job.queue)
    && (!statuses.length || statuses.includes(job.status)) && !query.get("find");
}

function update(row, job) {
  const badge = row.querySelector(".badge");
  if (badge.dataset.status === job.status) return;
  badge.dataset.status = job.status;
  badge.className = `badge s-${job.status in signs ? job.status : "other"}`;
  badge.firstElementChild.textContent = signs[job.status] ?? "?";
  badge.lastChild.textContent = ` ${job.status.replace("_", " ")}`;
  const attempt = row.querySelector("[data-attempt]");
  if (attempt && job.attempt) attempt.textContent = String(job.attempt);
  const time = row.querySelector("time");
  if (time) { time.dateTime = new Date().toISOString(); showTimes(); }
  row.classList.remove("changed");
  requestAnimationFrame(() => row.classList.add("changed"));
}

// Relative times go on; the exact one is in the reader's own zone and way of writing.
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const steps = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [Infinity, 86400, "d"]];

function showTimes() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const at = new Date(time.dateTime);
    const away = (at - Date.now()) / 1000;
    if (Math.abs(away) < 86400 * 60) time.textContent = relative(away);
    time.title = exact.format(at);
  }
}

const numbers = new Intl.NumberFormat();

function showNumbers() {
  for (const number of document.querySelectorAll("data")) number.textContent = numbers.format(number.value);
}

function relative(away) {
  const seconds = Math.round(Math.abs(away));
  if (seconds < 1) return "now";
  const [, unit, name] = steps.find(([below]) => seconds < below);
  const number = seconds / unit;
  const text = `${number < 9.95 ? number.toFixed(1).replace(/\.0$/, "") : number.toFixed(0)} ${name}`;
  return away > 0 ? `in ${text}` : `${text} ago`;
}

let stream;

function follow() {
  if (document.hidden) return;
  stream?.close();
  const jobs = main.querySelector("[data-job], table.jobs, [data-empty-list]") !== null;
  stream = new EventSource(`${base}/live?jobs=${jobs}`);
  stream.addEventListener("open", () => {
    say("live", "Live");
    // what happened while nothing came, at the start too
    if (lost || main.querySelector("table.jobs, [data-empty-list], [data-ended='']")) refresh();
    lost = false;
  });
  stream.addEventListener("beat", (event) => { say("live", "Live"); onBeat(JSON.parse(event.data)); });
  stream.addEventListener("missed", () => refresh());
  stream.addEventListener("away", () => say("lost", "Redis cannot be reached: what you see may be old"));
  stream.addEventListener("error", () => {
    lost = true;
    say("lost", "Connection lost: trying again");
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 3000 + Math.random() * 2000);
  });
}

// A browser has few connections to a host: a page that nobody sees gives its own back.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream?.close();
  else if (said) { lost = true; follow(); }
});

// Keys: / to search, j and k along the rows, enter follows the link that has the focus.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  if (event.key === "/") {
    const field = document.querySelector("[data-key='/']");
    if (field) { event.preventDefault(); field.focus(); }
  } else if (event.key === "j" || event.key === "k") {
    const rows = [...main.querySelectorAll("tr[data-id]")];
    const at = rows.indexOf(document.activeElement.closest?.("tr[data-id]"));
    const next = rows[Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), rows.length - 1)];
    next?.querySelector("a")?.focus();
  }
});

// A second press, as a double click has one, would do the same once more: put a second job, send an event twice.
const sentAt = new WeakMap();
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (Date.now() - (sentAt.get(event.target) ?? 0) < AGAIN_MS) event.preventDefault();
  else sentAt.set(event.target, Date.now());
});

document.getElementById("theme").addEventListener("change", (event) => event.target.form.requestSubmit());
document.getElementById("offer").lastElementChild.addEventListener("click", () => {
  document.getElementById("offer").hidden = true;
  newer = 0;
  refresh(true);
});

showTimes();
showNumbers();
setInterval(showTimes, 5000);
if (said) {
  follow();
  const every = Number(main.dataset.every);
  if (every) setInterval(() => { if (!document.hidden && !isTyping()) refresh(); }, every * 1000);
}
