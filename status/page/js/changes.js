// The timeline, one row per change: "web −1 · it is in maintenance, live in 10 ms". The server follows the same rules.

import { detailLink } from './address.js';
import { by, el, keyed, known, lazy, t, took, when } from './dom.js';

const movesAtFirst = 3, causesAtFirst = 2;
const ofGeneration = new Set(['generation', 'server_in', 'server_out', 'pushed']);

// fold merges all events of a generation into one row, newest row first.
export function fold(events) {
  const at = new Map(), rows = [];
  for (const e of events) {
    let row = e.generation && ofGeneration.has(e.kind) ? at.get(e.generation) : undefined;
    if (!row) {
      row = { ...e, moves: new Map(), causes: [], live: [], in: 0, out: 0 };
      rows.push(row);
      if (!e.generation || !ofGeneration.has(e.kind)) continue;
      at.set(e.generation, row);
    }
    take(row, e);
  }
  for (const row of rows) {
    let told = 0;
    for (const { into, gone } of row.moves.values()) told += into.length + gone.length;
    row.more = Math.max(0, row.in + row.out - told);
  }
  return rows.reverse();
}

function take(row, e) {
  if (e.kind === 'generation') {
    Object.assign(row, { kind: e.kind, text: e.text, by: e.by, why: e.why, in: e.in ?? 0, out: e.out ?? 0, time: e.time });
  } else if (e.kind === 'pushed') {
    row.live.push([e.gateway, e.took_ms ?? 0]);
  } else {
    if (!row.moves.has(e.upstream)) row.moves.set(e.upstream, { into: [], gone: [] });
    const move = row.moves.get(e.upstream);
    (e.kind === 'server_in' ? move.into : move.gone).push(e.addr);
    if (e.cause && !row.causes.includes(e.cause)) row.causes.push(e.cause);
  }
}

// ofUpstream returns the rows that involve an upstream, reduced to it.
export function ofUpstream(events, name) {
  const generations = new Set(events.filter((e) => e.upstream === name && e.generation).map((e) => e.generation));
  return fold(events.filter((e) => e.upstream === name || e.kind === 'pushed' && generations.has(e.generation)));
}

function title(row) {
  if (row.moves.size === 0) return row.text || [row.upstream, row.addr, row.gateway].filter(Boolean).join(' ');
  const count = (sign, list) => list.length ? ` ${sign}${list.length}` : '';
  const parts = [...row.moves].slice(0, movesAtFirst).map(([name, { into, gone }]) => name + count('+', into) + count('−', gone));
  if (row.moves.size > movesAtFirst) parts.push(t('names.more', { n: row.moves.size - movesAtFirst }));
  if (row.more) parts.push(t('change.more', { n: row.more }));
  const why = row.causes.slice(0, causesAtFirst);
  if (row.causes.length > causesAtFirst) why.push(t('change.reasons', { n: row.causes.length - causesAtFirst }));
  return [parts.join(', '), ...why].join(' · ');
}

// tone is the kind that determines the row's colour.
function tone(row) {
  let into = 0, gone = 0;
  for (const move of row.moves.values()) {
    into += move.into.length;
    gone += move.gone.length;
  }
  return into && !gone ? 'server_in' : gone && !into ? 'server_out' : row.kind;
}

function changeRow(row) {
  if (!row) return el('li', { class: 'soft' }, t('lately.none'));
  const slowest = Math.max(0, ...row.live.map(([, ms]) => ms));
  const chips = (addrs, state) => addrs.map((addr) => [el('span', { class: `chip ${state}` }, addr), ' ']);
  return el('li', {}, el('span', { class: `kind ${tone(row)}` }, row.moves.size === 0 && known(`kind.${row.kind}`, row.kind)), ' ',
    el('span', { class: 'text' }, title(row)), slowest > 0 && [' ', el('span', { class: 'live' }, t('change.live', { t: took(slowest) }))], ' ',
    el('span', { class: 'soft' }, when(row.time), row.generation > 0 && ` · ${t('generation', { g: row.generation })}`, by(row)),
    row.moves.size > 0 && lazy(t('details'), () => el('div', {},
      [...row.moves].map(([name, { into, gone }]) => [el('p', { class: 'why' }, el('a', { href: detailLink(name) }, name)),
        el('div', { class: 'chips' }, chips(into, 'in'), chips(gone, 'out'))]),
      row.live.map(([gateway, ms]) => el('p', { class: 'soft' }, `${gateway}: ${took(ms)}`)))));
}

// mark identifies the visible content of a row.
const mark = (row) => row ? JSON.stringify([{ ...row, moves: [...row.moves] }]) : '';

export function showChanges(list, rows) {
  keyed(list, rows.length ? rows : [null], (row) => row?.id ?? 0, changeRow, mark);
}
