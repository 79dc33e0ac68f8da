// The generations, and rollback.

import { act, api, ask, say } from './api.js';
import { $, button, by, el, keyed, reason, t, when, zero } from './dom.js';
import { state } from './state.js';

export function showHistory() {
  if (!state.history) return; // what the server drew stays
  const current = state.status?.generation.number;
  keyed($('history-list'), state.history.length ? state.history.map((g) => ({ ...g, now: g.number === current })) : [null],
    (g) => g?.number ?? 0, historyRow);
  $('diff-form').hidden = state.history.length === 0;
  const numbers = state.history.map((g) => g.number);
  for (const [select, at] of [[$('from'), 1], [$('to'), 0]]) {
    const chosen = Number(select.value), newest = select.selectedIndex === at;
    keyed(select, numbers, String, (n) => el('option', { value: n }, String(n)));
    select.value = String(newest || !numbers.includes(chosen) ? numbers[Math.min(at, numbers.length - 1)] : chosen);
  }
}

function historyRow(g) {
  if (!g) return el('li', { class: 'soft' }, t('history.none'));
  return el('li', {}, el('span', { class: 'name' }, String(g.number)), ' ', g.now && el('span', { class: 'tag ok' }, t('history.now')),
    ' ', el('span', { class: 'soft' }, g.time === zero ? t('unknown_time') : when(g.time)),
    el('p', {}, [g.summary, g.reason].filter(Boolean).join(' · '), by(g)), reason(g.damaged),
    !g.now && !g.damaged && button(t('rollback'), () => rollback(g.number),
      { class: 'rollback', 'data-focus': 'rollback', 'aria-label': `${t('rollback')}: ${t('generation', { g: g.number })}` }));
}

function changes(c) {
  const lines = (name, out, into) => [el('h3', {}, name), el('ul', {},
    (out ?? []).map((line) => el('li', { class: 'minus' }, line)),
    (into ?? []).map((line) => el('li', { class: 'plus' }, line)))];
  const parts = [...(c.removed ?? []).map((u) => lines(u.name, u.lines)),
    ...(c.updated ?? []).map((u) => lines(u.name, u.out, u.in)),
    ...(c.added ?? []).map((u) => lines(u.name, [], u.lines))];
  return el('div', { class: 'diff' }, el('p', {}, c.summary || (parts.length ? '' : t('diff.none'))), parts.slice(0, 100).flat(),
    parts.length > 100 && el('p', { class: 'soft' }, t('diff.more', { n: parts.length - 100 })));
}

const difference = (from, to) => api(`diff?from=${from}&to=${to}`);

async function rollback(number) {
  let plan;
  try {
    plan = await api(`rollback?generation=${number}`);
  } catch (error) {
    say('bad', t('error', { text: error.message }));
    return;
  }
  if (plan.present) {
    say('ok', t('rollback.present', { g: number }));
    return;
  }
  const yes = await ask(t('rollback.title', { g: number }), [el('p', {}, t('rollback.text')),
    plan.opinion && reason(t('rollback.against', { text: plan.opinion })), changes(plan.changes)], t('rollback'), true);
  if (yes) await act('POST', 'rollback', { generation: number }, (result) => result.present
    ? [t('rollback.present', { g: number })] : [t('rollback.done', { n: result.generation.number, g: number }),
    ...result.opinion ? [t('rollback.opinion', { text: result.opinion })] : [],
    ...result.gateways.filter((g) => !g.in_step).map((g) => t('rollback.behind', { name: g.name, text: g.error ?? '' }))]);
}

export async function showDiff(event) {
  event.preventDefault();
  const from = $('from').value, to = $('to').value;
  try {
    await ask(t('diff.title', { from, to }), [changes(await difference(from, to))]);
  } catch (error) {
    say('bad', t('error', { text: error.message }));
  }
}
