// The list of upstreams, as cards or as a table.

import { detailLink, writeAddress } from './address.js';
import { $, addresses, button, el, fill, keyed, known, t, when, zero } from './dom.js';
import { freeze, freezeAll } from './freezes.js';
import { bar, ordered, routes, tags } from './health.js';
import { shownAtFirst, state } from './state.js';
import { hideTable, showTable } from './table.js';

export function showUpstreams() {
  if (!state.read) return; // what the server drew stays
  const query = state.query.trim().toLowerCase();
  const found = ordered(state.upstreams.filter((p) => p.hay.includes(query) && (!state.only || p.states.has(state.only))
    && (!state.justSelected || state.selected.has(p.name))), state.sort);
  const grid = $('grid'), table = state.view === 'table';
  grid.hidden = table;
  if (table) showTable(found, { sorted, selected });
  else hideTable();
  keyed(grid, table ? [] : found.slice(0, state.shown), (p) => p.name, card, (p) => p.mark);
  $('none')?.remove();
  if (found.length === 0) grid.after(el('p', { class: 'soft', id: 'none' }, t('upstreams.none')));
  const count = t('shown', { m: found.length, n: state.upstreams.length });
  if ($('shown').textContent !== count) $('shown').textContent = count;
  keyed($('more'), !table && found.length > state.shown ? ['more'] : [], String, () => button(t('show_more'), () => {
    state.shown += shownAtFirst;
    showUpstreams();
  }));
  showSelection();
}

// search applies the form.
export function search() {
  const form = $('search').elements;
  Object.assign(state, { query: form.q.value, only: form.state.value, sort: form.sort.value, view: form.view.value, shown: shownAtFirst });
  writeAddress();
  showUpstreams();
}

// sorted sorts by a column, and reverses the order the second time.
function sorted(by) {
  $('sort').value = state.sort === by ? `-${by}` : by;
  search();
}

function selected(name, is) {
  if (is) state.selected.add(name);
  else state.selected.delete(name);
  if (state.selected.size === 0) state.justSelected = false;
  writeAddress();
  showUpstreams();
}

function showSelection() {
  const n = state.selected.size, box = $('selection');
  const had = box.contains(document.activeElement);
  box.hidden = n === 0;
  keyed(box, n ? [[n, state.justSelected]] : [], () => 'bar', () => el('p', {}, el('b', {}, t('selected', { n })), ' ',
    button(t(state.justSelected ? 'selected.all' : 'selected.just'), () => {
      state.justSelected = !state.justSelected;
      writeAddress();
      showUpstreams();
    }, { 'data-focus': 'just' }), ' ', button(t('freeze'), () => freezeAll([...state.selected]), { 'data-focus': 'freeze' }), ' ',
    button(t('selected.clear'), () => {
      state.selected.clear();
      state.justSelected = false;
      writeAddress();
      showUpstreams();
    }, { 'data-focus': 'clear' })));
  if (had && n === 0) $('q').focus();
}

function card(p) {
  const { u, groups } = p;
  const detail = el('p', { class: 'detail', hidden: true });
  const chip = (s) => el('button', { type: 'button',
    class: `chip ${s.state}`, title: `${known(`state.${s.state}`, s.state)}: ${s.reason}`,
    'aria-label': `${s.addr || t('all_of_it')}, ${known(`state.${s.state}`, s.state)}: ${s.reason}`,
    'data-addr': s.addr, 'data-focus': s.addr }, s.addr || t('all_of_it'));
  const simple = u.servers.filter((s) => s.state === 'in' || s.state === 'frozen');
  const node = el('article', { class: 'card' },
    el('header', {}, el('h3', {}, el('a', { href: detailLink(u.name), 'data-focus': 'name' }, u.name)), tags(p),
      u.trouble === 'no_healthy_server' && el('span', { class: 'tag bad' }, t('no_healthy_server')),
      el('span', { class: 'soft' }, bar(p), ' ', t('serving', { m: p.serving, n: u.servers.length }))),
    simple.length > 0 && el('ul', { class: 'chips' }, simple.map((s) => el('li', {}, chip(s)))),
    groups.map((r) => [el('p', { class: 'why' },
      el('b', { class: r.state }, known(`state.${r.state}`, r.state)), r.all.length > 1 && ` ${t('alike', { n: r.all.length })}:`,
      ` ${r.reason} `, el('span', { class: 'soft' }, r.since && r.since !== zero && when(r.since))),
    el('div', { class: 'chips' }, addresses(r.all, chip))]),
    routes(u), detail,
    el('p', { class: 'tools' },
      el('a', { class: 'button', href: detailLink(u.name), 'data-focus': 'why', 'aria-label': `${t('why')} ${u.name}` }, t('why')),
      !u.frozen && button(t('freeze'), () => freeze(u.name), { 'data-focus': 'freeze', 'aria-label': `${t('freeze')} ${u.name}` })));
  // A chip shows its detail on focus and on click, as not every browser focuses clicked elements.
  const open = (event) => {
    const chip = event.target.closest('[data-addr]');
    if (chip) showDetail(u, chip.dataset.addr, detail);
  };
  node.addEventListener('focusin', open);
  node.addEventListener('click', open);
  if (state.open.has(u.name)) showDetail(u, state.open.get(u.name), detail);
  return node;
}

function showDetail(u, addr, detail) {
  const s = u.servers.find((server) => server.addr === addr);
  if (!s) return;
  state.open.set(u.name, addr);
  detail.hidden = false;
  fill(detail, el('b', { class: s.state }, known(`state.${s.state}`, s.state)), ` ${s.addr}`,
    s.since && s.since !== zero && [` · ${t('since')} `, when(s.since)],
    el('br'), s.reason, s.options && ` · ${s.options}`, s.origin && ` · ${t('from', { name: s.origin })}`,
    u.options.length > 0 && ` · ${u.options.join('; ')}`);
}
