// Elements, texts and times. Content is always inserted as text (el), never as markup: names and reasons come from a
// registry, and anyone who may register can choose them.

export const lang = document.documentElement.dataset.lang;
const texts = JSON.parse(document.getElementById('texts').textContent);
export const zero = '0001-01-01T00:00:00Z'; // a time that Go has not set
const alikeAtFirst = 6; // addresses of a row
const namesAtFirst = 3;
const shownOfError = 200; // letters

export const $ = (id) => document.getElementById(id);

export function t(key, args = {}) {
  const one = args.n === 1 ? texts[`${key}_one`] : undefined;
  return (one ?? texts[key]).replace(/\{(\w+)\}/g, (_, name) => String(args[name] ?? ''));
}

// known returns the text for a word of the API, or the word itself.
export const known = (key, word) => texts[key] ?? word;

const svgNames = new Set(['svg', 'use', 'rect', 'line', 'circle']);

// el makes an element: properties that begin with "on" are listeners, all others attributes;
// children are elements, text, or nothing.
export function el(name, properties, ...children) {
  const node = svgNames.has(name)
    ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ''));
  return node;
}

export const button = (label, onclick, properties) => el('button', { type: 'button', onclick, ...properties }, label);
export const reason = (text) => text ? el('p', { class: 'reason' }, text) : null;

// keyed shows items in order, and only touches new, changed and removed ones, to keep focus,
// selection and scroll position.
const shownIn = new WeakMap();
export function keyed(parent, items, keyOf, build, markOf = JSON.stringify) {
  let before = shownIn.get(parent);
  if (!before) {
    parent.replaceChildren();
    before = new Map();
  }
  const now = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, had] of before) {
    if (!now.has(key)) {
      had.node.remove();
      before.delete(key);
    }
  }
  let at = parent.firstChild;
  const after = new Map();
  for (const [key, item] of now) {
    const mark = markOf(item);
    let had = before.get(key);
    if (!had || had.mark !== mark) {
      const node = build(item);
      if (had) {
        if (at === had.node) at = node;
        replace(had.node, node);
      }
      had = { mark, node };
    }
    if (had.node === at) at = at.nextSibling;
    else parent.insertBefore(had.node, at);
    after.set(key, had);
  }
  shownIn.set(parent, after);
}

// replace replaces a node, and moves the focus to its counterpart.
function replace(old, node) {
  const focus = old.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  const opened = [...old.querySelectorAll('details')].map((details) => details.open);
  node.querySelectorAll('details').forEach((details, i) => { details.open = opened[i] ?? false; });
  old.replaceWith(node);
  if (focus !== undefined) {
    [...node.querySelectorAll('[data-focus]')].find((n) => n.dataset.focus === focus)?.focus();
  }
}

export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

// wrong shows an error: first in plain words, and in full behind a toggle.
export function wrong(plain, whole) {
  if (!whole) return null;
  const first = plain.length > shownOfError ? `${plain.slice(0, shownOfError)}…` : plain;
  return [reason(first), first !== whole && rest(t('details'), el('p', { class: 'raw' }, whole))];
}

// rest is content behind a toggle.
export const rest = (summary, ...content) => el('details', { class: 'rest' }, el('summary', {}, summary), content);

// lazy is the same, created when opened: it may be thousands of elements.
export function lazy(summary, content) {
  const details = rest(summary);
  details.addEventListener('toggle', () => {
    if (details.open && details.children.length === 1) details.append(content());
  });
  return details;
}

// addresses shows the first few, and the others behind a toggle.
export function addresses(addrs, chip) {
  const chips = addrs.map((addr) => [chip(addr), ' ']);
  return [chips.slice(0, alikeAtFirst), chips.length > alikeAtFirst
    && rest(t('names.more', { n: chips.length - alikeAtFirst }), chips.slice(alikeAtFirst).flat())];
}

// names returns the first few names and the number of others.
export function names(all) {
  const more = all.length - namesAtFirst;
  return [...all.slice(0, namesAtFirst), ...more > 0 ? [t('names.more', { n: more })] : []].join(', ');
}

export function tag(good, yes, no) {
  return el('span', { class: `tag ${good ? 'ok' : 'bad'}` }, good ? yes : no);
}

// by tells who ordered something, and why.
export const by = (order) => order.by ? ` · ${t('by', { name: order.why ? `${order.by}: ${order.why}` : order.by })}` : '';

let skew = 0; // of the server's clock against the browser's

// serverTime returns the current time of the server's clock.
export function serverTime(iso) {
  skew = Date.parse(iso) - Date.now();
}

const relative = new Intl.RelativeTimeFormat(lang, { numeric: 'auto', style: 'short' });
export const clock = new Intl.DateTimeFormat(lang, { timeStyle: 'medium', hourCycle: 'h23' });
export const full = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'long', hourCycle: 'h23' });
export const now = () => Date.now() + skew;

function ago(at) {
  const seconds = Math.round((at - now()) / 1000);
  const size = Math.abs(seconds);
  if (size < 60) return relative.format(Math.trunc(seconds / 5) * 5, 'second');
  if (size < 5400) return relative.format(Math.round(seconds / 60), 'minute');
  if (size < 129600) return relative.format(Math.round(seconds / 3600), 'hour');
  return relative.format(Math.round(seconds / 86400), 'day');
}

export function when(iso) {
  if (!iso || iso === zero) return t('never');
  const at = Date.parse(iso);
  return el('time', { datetime: iso, title: full.format(at) }, ago(at));
}

export function tick() {
  for (const node of document.querySelectorAll('time[datetime]:not([datetime=""])')) {
    const text = ago(Date.parse(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
    if (!node.title) node.title = full.format(Date.parse(node.dateTime));
  }
}

export const took = (ms) => ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
