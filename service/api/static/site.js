"use strict";
// What pages need beyond HTML: local times, refreshing by events where the service has them, and small comforts.
// Without this file every page and every button works; only confirmations stay (they are HTML), and pages stand still.

const TICKS = "input[type=checkbox][name]";

function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const at = new Date(time.dateTime);
    time.dataset.shown = "";
    if (Number.isNaN(at.getTime())) continue;
    const local = document.createElement("span");
    local.className = "local";
    local.textContent = `(${at.toLocaleString([], { dateStyle: "short", timeStyle: "short" })} here)`;
    time.after(" ", local);
  }
}

function growEditor(editor) {
  const text = editor.querySelector("textarea");
  const lines = editor.querySelector(".lines");
  const count = text.value.split("\n").length;
  text.rows = count + 1;
  const numbers = Array.from({ length: count }, (_, index) => index + 1).join("\n");
  if (lines.textContent.trim() !== numbers) lines.textContent = numbers;
}

function followLog(root) {
  const follow = document.getElementById("follow");
  for (const log of root.querySelectorAll("pre.log")) if (!follow || follow.checked) log.scrollTop = log.scrollHeight;
}

function prepare(root) {
  showLocalTimes(root);
  followLog(root.parentElement || root);
  for (const editor of root.querySelectorAll(".editor")) growEditor(editor);
}

function checkSize(input) {
  // Said before a large file travels; the service refuses it as well.
  const file = input.files[0];
  const most = Number(input.dataset.most);
  const told = file && file.size > most ? `${file.name} has ${file.size} bytes; this service takes at most ${most}.` : "";
  input.setCustomValidity(told);
  document.getElementById("refused").textContent = told;
}

function listen(address) {
  // Server-sent events, where the page names their address: each asks the parts that show such things to load again, a
  // second apart at most. A part names the kinds that touch it in data-live; a table of trials is touched by an
  // evaluation of a trial that it shows. Nobody sees a hidden page, and browsers have six connections to a service.
  let source = null;
  let touched = null; // kind -> numbers of trials, until the parts load
  const shows = (part, kind, numbers) =>
    kind === "all" ||
    (part.dataset.live.split(" ").includes(kind) &&
      (kind !== "report" || !part.dataset.rows || [...numbers].some((n) => part.querySelector(`#to-${n}`))));
  const load = () => {
    const now = touched;
    touched = null;
    for (const part of document.querySelectorAll("[data-live]"))
      if ([...now].some(([kind, numbers]) => shows(part, kind, numbers)))
        part.dispatchEvent(new CustomEvent("luthier:change"));
  };
  const note = (kind, number) => {
    if (!touched) setTimeout(load, 1000);
    touched ||= new Map();
    if (!touched.has(kind)) touched.set(kind, new Set());
    touched.get(kind).add(number);
  };
  const look = () => {
    if (source) source.close();
    source = document.hidden ? null : new EventSource(address);
    if (!source) return;
    for (const kind of ["open", "reset"]) source.addEventListener(kind, () => note("all")); // what was missed until then
    for (const kind of ["study", "trial", "report", "log"])
      source.addEventListener(kind, (event) => note(kind, kind === "report" ? JSON.parse(event.data).number : null));
  };
  document.addEventListener("visibilitychange", () => {
    look();
    if (!document.hidden) note("all");
  });
  addEventListener("pagehide", () => source && source.close());
  look();
}

document.addEventListener("DOMContentLoaded", () => {
  const body = document.body;
  const away = document.getElementById("away");
  const ticked = new Set();
  prepare(body);
  if (body.dataset.events) listen(body.dataset.events);
  body.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.target; // one that lives waits for whoever looks, and until a question in it is answered
    if (part.hasAttribute("data-live") && (document.hidden || part.querySelector(":popover-open"))) event.preventDefault();
  });
  body.addEventListener("htmx:beforeSwap", (event) => {
    for (const tick of event.target.querySelectorAll(TICKS)) {
      if (tick.checked) ticked.add(tick.name + tick.value);
      else ticked.delete(tick.name + tick.value);
    }
  });
  body.addEventListener("htmx:afterSettle", (event) => {
    prepare(document.body);
    for (const tick of document.querySelectorAll(TICKS)) if (ticked.has(tick.name + tick.value)) tick.checked = true;
    if (away) away.textContent = "";
  });
  body.addEventListener("htmx:sendError", () => {
    if (away) away.textContent = "The service does not answer; this page shows what it said last, and goes on asking.";
  });
  body.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    if (status === 401) location.reload(); // leads to the login
    else if (away) away.textContent = `The service answers ${status}; this page shows what it said last.`;
  });
  body.addEventListener("input", (event) => {
    const editor = event.target.closest(".editor");
    if (editor) growEditor(editor);
  });
  body.addEventListener("change", (event) => {
    if (event.target.matches("select[data-go]")) event.target.form.requestSubmit();
    if (event.target.matches("input[data-most]")) checkSize(event.target);
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  });
});
