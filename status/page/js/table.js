// The table: one row per upstream. Only visible rows and some above and below have elements.

import { detailLink } from './address.js';
import { $, el, keyed, t } from './dom.js';
import { bar, since, tags, why } from './health.js';
import { state } from './state.js';

const beyond = 12; // rows above and below what can be seen
const columns = [['name', 'col.name'], ['health', 'col.health'], ['trouble', 'col.why'], ['since', 'col.since']];

let rows = [], on = null, parts = null, high = 0, drawing = false;

export function showTable(found, does) {
  rows = found;
  on = does;
  const box = $('table');
  box.hidden = found.length === 0;
  parts ??= build(box);
  parts.table.setAttribute('aria-rowcount', found.length + 1);
  keyed(parts.head, columns.map(([sort, key]) => [sort, key, direction(sort)]), ([sort]) => sort, heading);
  draw();
}

export function hideTable() {
  $('table').hidden = true;
}

// direction returns how the table is sorted by a column.
const direction = (sort) => state.sort === sort ? 'ascending' : state.sort === `-${sort}` ? 'descending' : 'none';

function heading([sort, key, how]) {
  return el('th', { role: 'columnheader', scope: 'col', class: `col-${sort}`, 'aria-sort': how },
    el('button', { type: 'button', 'data-focus': sort, onclick: () => on.sorted(sort) }, t(key)));
}

function build(box) {
  const space = () => el('td', { role: 'cell', colspan: columns.length });
  const above = space(), below = space();
  const gap = (cell) => el('tbody', { 'aria-hidden': 'true', class: 'gap' }, el('tr', {}, cell));
  const head = el('tr', { role: 'row', class: 'heads', 'aria-rowindex': 1 });
  const body = el('tbody', { role: 'rowgroup', id: 'rows' });
  const table = el('table', { role: 'table', 'aria-labelledby': 'upstreams-title' },
    el('thead', { role: 'rowgroup' }, head), gap(above), body, gap(below));
  box.replaceChildren(table);
  box.addEventListener('scroll', soon, { passive: true });
  new ResizeObserver(() => { high = 0; soon(); }).observe(box);
  box.addEventListener('keydown', move);
  return { table, head, body, above, below };
}

function soon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (!$('table').hidden) draw();
  });
}

// draw creates the visible rows. All have the height of the first one, whatever the font. It is measured without
// removing the others: one of them may have the focus.
function draw() {
  const box = $('table');
  if (!high && rows.length) {
    if (!parts.body.firstElementChild) keyed(parts.body, place(0, 1), (r) => r.p.name, row, mark);
    high = parts.body.firstElementChild?.getBoundingClientRect().height || 0;
  }
  const first = high ? Math.max(0, Math.floor(box.scrollTop / high) - beyond) : 0;
  const n = high ? Math.ceil(box.clientHeight / high) + 2 * beyond : 2 * beyond;
  const shown = place(Math.min(first, Math.max(0, rows.length - n)), n);
  keyed(parts.body, shown, (r) => r.p.name, row, mark);
  const from = shown[0]?.i ?? 0;
  parts.above.style.height = `${from * high}px`;
  parts.below.style.height = `${Math.max(0, rows.length - from - shown.length) * high}px`;
}

const place = (from, n) => rows.slice(from, from + n).map((p, k) => ({ p, i: from + k }));
const mark = ({ p, i }) => `${i} ${state.selected.has(p.name)} ${p.mark}`;

function row({ p, i }) {
  const { u } = p, chosen = state.selected.has(p.name);
  const cell = (kind, title, ...content) => el('td', { role: 'cell', class: `col-${kind}`, title }, content);
  const reason = why(p);
  return el('tr', { role: 'row', class: chosen ? 'row chosen' : 'row', 'aria-rowindex': i + 2, 'data-row': i },
    el('th', { role: 'rowheader', scope: 'row', class: 'col-name', title: u.name },
      el('label', { class: 'pick' }, el('input', { type: 'checkbox', checked: chosen, 'data-focus': 'pick', 'aria-label': t('select.one', { name: u.name }),
        onchange: (event) => on.selected(u.name, event.target.checked) })),
      el('a', { href: detailLink(u.name), 'data-focus': 'name' }, u.name), tags(p)),
    cell('health', t('serving', { m: p.serving, n: u.servers.length }), bar(p), ' ', el('span', {}, `${p.serving}/${u.servers.length}`)),
    cell('trouble', p.top?.reason, reason),
    cell('since', undefined, since(p)));
}

// move handles the arrow keys, Home and End.
function move(event) {
  const at = event.target.closest('[data-row]');
  if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
  const i = Number(at.dataset.row);
  const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (to === undefined || to < 0 || to >= rows.length) return;
  event.preventDefault();
  const box = $('table'), top = to * high, sticky = parts.head.offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + high + sticky > box.scrollTop + box.clientHeight) box.scrollTop = top + high + sticky - box.clientHeight;
  draw();
  const what = event.target.dataset.focus ?? 'name';
  parts.body.querySelector(`[data-row="${to}"] [data-focus="${what}"]`)?.focus({ preventScroll: true });
}
