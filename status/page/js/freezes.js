// Freezes.

import { act, api, ask, say } from './api.js';
import { button, by, el, names, t, when, zero } from './dom.js';

const failedShown = 3;

const frozenName = (name) => name === '*' ? t('freeze.all') : name;

export function freezeRow(freeze) {
  const { name, until } = freeze;
  return el('li', {}, el('span', { class: 'name' }, frozenName(name)), ' ', el('span', { class: 'soft' },
    until && until !== zero ? [`${t('freeze.until')} `, when(until)] : t('freeze.until_released'), by(freeze)),
  button(t('release'), () => release(name), { class: 'release', 'data-focus': 'release', 'aria-label': `${t('release')}: ${frozenName(name)}` }));
}

// howLong asks for the duration of a freeze; undefined if cancelled.
async function howLong(what) {
  const hours = [1, 2, 8, 24].map((n) => el('option', { value: `${n}h`, selected: n === 2 }, t('freeze.hours', { n })));
  const how = el('select', { id: 'how-long' }, hours, el('option', { value: '' }, t('freeze.until_released')));
  const yes = await ask(t('freeze.title', { name: what }), [el('p', {}, t('freeze.text')),
    el('label', { class: 'field', for: 'how-long' }, t('freeze.how_long'), how)], t('freeze'));
  return yes ? how.value : undefined;
}

export async function freeze(name) {
  const time = await howLong(frozenName(name));
  if (time !== undefined) {
    await act('POST', 'freezes', { name, for: time || undefined }, () => [t('freeze.done', { name: frozenName(name) })]);
  }
}

// freezeAll freezes several upstreams, and reports failures.
export async function freezeAll(list) {
  const time = await howLong(t('selected', { n: list.length }));
  if (time === undefined) return;
  let done = 0;
  const failed = [];
  for (const name of list) {
    try {
      await api('freezes', 'POST', { name, for: time || undefined });
      done++;
    } catch (error) {
      failed.push(error.message);
    }
  }
  if (failed.length) say('bad', t('freeze.some', { n: done, all: list.length }), ...failed.slice(0, failedShown));
  else say('ok', t('freeze.done', { name: names(list) }));
}

export const release = (name) => act('DELETE', `freezes/${encodeURIComponent(name)}`, undefined,
  () => [t('release.done', { name: frozenName(name) })]);

