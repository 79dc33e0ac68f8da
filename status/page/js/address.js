// Search, filter and selection are in the query of the address, so that a link shows others the same. The fragment is the
// upstream in the detail view.

import { $ } from './dom.js';
import { state } from './state.js';

const prefix = '#/upstream/';

export const detailLink = (name) => prefix + encodeURIComponent(name);

const views = ['cards', 'table'];
const sorts = ['trouble', 'name', 'health', 'since'];
let usual; // the view that the server chose, which does not stand in the address

// readAddress reads the state from the address, and fills in the form.
export function readAddress() {
  const form = $('search').elements, asked = new URLSearchParams(location.search);
  const value = (name) => asked.get(name) ?? '';
  usual ??= form.view.value;
  state.query = value('q');
  state.only = [...form.state].some((radio) => radio.value === value('state')) ? value('state') : '';
  state.sort = sorts.includes(value('sort').replace('-', '')) ? value('sort') : 'trouble';
  state.view = views.includes(value('view')) ? value('view') : usual;
  state.selected = new Set(asked.getAll('sel'));
  state.justSelected = asked.get('just') === '1' && state.selected.size > 0;
  form.q.value = state.query;
  form.state.value = state.only;
  form.sort.value = state.sort;
  form.view.value = state.view;
  state.detail = null;
  if (location.hash.startsWith(prefix)) {
    try {
      state.detail = decodeURIComponent(location.hash.slice(prefix.length));
    } catch {
      state.detail = location.hash.slice(prefix.length); // nobody's name, as it will say
    }
  }
}

// writeAddress writes the state to the address, without defaults.
export function writeAddress() {
  const before = new URLSearchParams(location.search), asked = new URLSearchParams(before);
  for (const name of ['q', 'state', 'sort', 'view', 'just', 'sel']) asked.delete(name);
  const put = (name, value, without = '') => value !== without && asked.set(name, value);
  put('q', state.query);
  put('state', state.only);
  put('sort', state.sort, 'trouble');
  put('view', state.view, before.has('view') ? '' : usual);
  put('just', state.justSelected ? '1' : '');
  for (const name of [...state.selected].sort()) asked.append('sel', name);
  const text = asked.toString();
  const address = location.pathname + (text && `?${text}`) + location.hash;
  if (address !== location.pathname + location.search + location.hash) history.replaceState(history.state, '', address);
}
