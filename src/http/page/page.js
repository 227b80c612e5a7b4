// Keeps the page up to date: a stream notifies it when something changed, then the part that changes is
// fetched and put in with as few changes as can be, so that place, focus and selection stay.
(() => {
'use strict';
// An event comes every 15 s at least; when some are missing, nobody is there.
const SILENCE = 40_000;
// As long as a browser waits until it connects again.
const RETRY = 2_000;
const main = document.getElementById('main');
const live = document.getElementById('live');
const stale = document.getElementById('stale');

// Times. The server's clock counts: that of this machine may be wrong.
let serverTime = Date.parse(main.dataset.time);
let readAt = performance.now();
const now = () => serverTime + performance.now() - readAt;
const clockForm = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const dayForm = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

function length(ms) {
  const seconds = Math.floor(ms / 1000), minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (!minutes) return `${seconds} s`;
  if (!hours) return `${minutes} min`;
  if (!days) return `${hours} h ${minutes % 60} min`;
  return `${days} d ${hours % 24} h`;
}

function words(element) {
  const time = Date.parse(element.dateTime);
  const age = now() - time;
  if (element.className === 'length') return `for ${length(Math.max(0, age))}`;
  if (element.className !== 'clock') {
    return age < 0 ? `in ${length(-age)}` : `${length(age)} ago`;
  }
  const today = new Date(time).toDateString() === new Date(now()).toDateString();
  return (today ? clockForm : dayForm).format(time);
}

function tellTimes(root) {
  for (const element of root.getElementsByTagName('time')) {
    const text = words(element);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const note of root.querySelectorAll('.utc')) note.remove();
}

document.addEventListener('pointerover', ({ target }) => {
  if (target.dateTime) target.title = dayForm.format(Date.parse(target.dateTime));
});

// Makes one element like another, whose parts it may take. Those with an id are found by it.
function morph(was, is) {
  for (const { name, value } of is.attributes) {
    if (was.getAttribute(name) !== value) was.setAttribute(name, value);
  }
  for (const { name } of [...was.attributes]) {
    if (!is.hasAttribute(name) && name !== 'title') was.removeAttribute(name);
  }
  const ids = new Set(), known = new Map();
  for (const child of is.children) if (child.id) ids.add(child.id);
  for (const child of [...was.children]) {
    if (ids.has(child.id)) known.set(child.id, child);
    else if (child.id) child.remove();
  }
  let at = was.firstChild;
  for (const next of [...is.childNodes]) {
    const same = next.id ? known.get(next.id) : at && !at.id && at.nodeName === next.nodeName ? at : null;
    if (!same) {
      was.insertBefore(next, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else was.insertBefore(same, at);
    if (next.nodeType === Node.ELEMENT_NODE) morph(same, next);
    else if (same.data !== next.data) same.data = next.data;
  }
  while (at) {
    const rest = at;
    at = at.nextSibling;
    rest.remove();
  }
}

function show(text) {
  const next = new DOMParser().parseFromString(text, 'text/html').getElementById('main');
  // A listener that is full, or that closes, responds with a line.
  if (!next) throw new Error('the response is not this page');
  serverTime = Date.parse(next.dataset.time);
  readAt = performance.now();
  tellTimes(next);
  morph(main, next);
  tellState();
}

function tellState() {
  const { title, colour, time } = main.dataset;
  if (document.title !== title) document.title = title;
  const icon = document.querySelector('link[rel=icon]');
  const href = icon.href.replace(/fill='\w+'/, `fill='${colour}'`);
  if (icon.href !== href) icon.href = href;
  const shown = live.querySelector('time');
  shown.dateTime = time;
  tellTimes(live);
}

// Shows that the connection is lost, and until when what is shown was right.
let rightAt = now();
function lost() {
  if (stale.textContent) return;
  stale.textContent = `No response from pollbal: stale since ${clockForm.format(rightAt)}, trying again`;
}
function found() {
  if (stale.textContent) stale.textContent = '';
}

let fetching = false, again = false, next = 0, retry = 0;
async function refresh() {
  if (document.hidden) return;
  if (fetching || performance.now() < next) {
    if (!again) setTimeout(late, Math.max(100, next - performance.now()));
    again = true;
    return;
  }
  fetching = true;
  const began = performance.now();
  try {
    const url = new URL(location.href);
    url.hash = '';
    url.searchParams.set('fragment', '1');
    const response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(10_000) });
    show(await response.text());
    found();
  } catch {
    lost();
    clearTimeout(retry);
    retry = setTimeout(refresh, RETRY);
  }
  // A long page takes long to make and to show: that is to stay a small part of the time.
  next = performance.now() + 4 * (performance.now() - began);
  fetching = false;
}
function late() {
  again = false;
  refresh();
}

let stream = null, silence = 0, relisten = 0;
function listen() {
  hush();
  // The page may be below a path of another server, which may have omitted the last slash.
  stream = new EventSource(location.pathname.replace(/\/?$/, '/stream'));
  stream.addEventListener('changed', () => { received(); refresh(); });
  // Nothing changed, but the page is to be as new as its clock says.
  stream.addEventListener('alive', () => { received(); refresh(); });
  stream.onerror = () => {
    lost();
    // It tries again by itself, unless the response was a rejection.
    if (stream && stream.readyState === EventSource.CLOSED) relisten = setTimeout(listen, RETRY);
  };
  silence = setTimeout(mute, SILENCE);
}
function mute() {
  lost();
  listen();
}
function received() {
  rightAt = now();
  clearTimeout(silence);
  silence = setTimeout(mute, SILENCE);
}
function hush() {
  if (stream) stream.close();
  stream = null;
  clearTimeout(silence);
  clearTimeout(relisten);
  clearTimeout(retry);
}

// Nobody sees a hidden page, and a browser has only few connections for all its tabs.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return hush();
  refresh();
  listen();
});
addEventListener('pagehide', hush);
addEventListener('pageshow', ({ persisted }) => {
  if (!persisted) return;
  refresh();
  listen();
});

tellTimes(document);
tellState();
setInterval(() => { if (!document.hidden) tellTimes(main); }, 5_000);
if (!document.hidden) listen();
})();
