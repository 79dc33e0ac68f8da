// The verdict, what is wrong, gateways and registries.

import { detailLink } from './address.js';
import { $, button, el, fill, full, keyed, names, serverTime, t, tag, tick, when, wrong } from './dom.js';
import { freeze, freezeRow } from './freezes.js';
import { showHistory } from './history.js';
import { holdCard } from './holds.js';
import { state } from './state.js';

const unservedAtFirst = 20;

// verdict words the daemon's state, like the server.
function verdict(s) {
  const { level, code } = s.verdict;
  const args = { n: s.gateways.length, m: s.gateways.filter((g) => g.in_step).length, g: s.generation.number };
  if (code === 'no_healthy_server') {
    Object.assign(args, { n: s.without_healthy_server.length, names: names(s.without_healthy_server.map((u) => u.upstream)) });
  } else if (code === 'held') {
    const held = s.holds.reduce((sum, hold) => sum + hold.servers.length, 0);
    if (held === 0) return [level, t('verdict.held_other')];
    Object.assign(args, { n: held, all: s.servers });
  } else if (code === 'frozen_some') args.names = names(s.freezes.map((f) => f.name));
  return [level, t(`verdict.${code}`, args)];
}

// plainly replaces error texts by plain words where possible.
function plainly(text, s) {
  const known = [[s.file_error, s.file_plain], ...s.registries.map((r) => [r.trouble, r.plain]), ...s.gateways.map((g) => [g.error, g.plain])];
  return known.reduce((all, [said, means]) => said && means ? all.replaceAll(said, () => means) : all, text);
}

export function showStatus(s) {
  for (const list of ['reasons', 'without_healthy_server', 'holds', 'freezes', 'registries', 'gateways']) s[list] ??= [];
  for (const hold of s.holds) hold.servers ??= [];
  state.status = s;
  serverTime(s.time);
  const [level, text] = verdict(s);
  $('verdict').className = `verdict ${level}`;
  $('verdict').querySelector('use').setAttribute('href', `#i-${level}`);
  if ($('verdict-text').textContent !== text) $('verdict-text').textContent = text;
  state.title = text;
  document.title = `${state.detail ? `${state.detail} · ` : ''}${text} · swallowkeeper`;
  const g = s.generation;
  keyed($('wrong'), s.reasons, String, (text) => el('li', {}, wrong(plainly(text, s), text)));
  fill($('verdict-more'), g.number
    ? el('p', {}, t('changed_last'), ' ', when(g.time), ` · ${t('generation', { g: g.number })}`,
      g.summary && ` · ${g.summary}`, g.reason && ` · ${g.reason}`)
    : el('p', {}, t('nothing_written')));
  fill($('facts'), fact(s.upstreams, t('fact.upstreams', { n: s.upstreams })),
    fact(s.servers, t('fact.servers', { n: s.servers })), fact(s.out, t('fact.out')),
    fact(s.holds.length, t('fact.holds', { n: s.holds.length })),
    fact(s.freezes.length, t('fact.freezes', { n: s.freezes.length })));
  const frozen = s.freezes.some((freeze) => freeze.name === '*');
  keyed($('verdict-actions'), frozen ? [] : ['*'], String,
    () => button(t('freeze.everything'), () => freeze('*'), { id: 'freeze-all' }));
  $('unserved').hidden = s.without_healthy_server.length === 0;
  keyed($('unserved-list'), s.without_healthy_server.slice(0, unservedAtFirst), (u) => u.upstream, unservedRow);
  const unnamed = s.without_healthy_server.length - unservedAtFirst;
  keyed($('unserved-more'), unnamed > 0 ? [unnamed] : [], String, (n) => el('p', { class: 'soft' }, t('names.more', { n })));
  $('holds').hidden = s.holds.length === 0;
  keyed($('holds-list'), s.holds, (hold) => hold.id, holdCard);
  $('freezes').hidden = s.freezes.length === 0;
  keyed($('freezes-list'), s.freezes, (f) => f.name, freezeRow);
  keyed($('gateways-list'), s.gateways.length ? s.gateways : [null], (g) => g?.name ?? '', gatewayRow);
  keyed($('registries-list'), s.registries, (r) => r.name, registryRow);
  $('as-of').dateTime = s.time;
  $('as-of').title = full.format(Date.parse(s.time));
  showHistory();
  tick();
}

function unservedRow(u) {
  const why = (u.reasons ?? []).map((r) => el('p', { class: 'why' }, r.text,
    r.count > 1 && el('span', { class: 'soft' }, ` ${t('times', { n: r.count })}`)));
  return el('li', {}, el('a', { class: 'name', href: detailLink(u.upstream), 'data-focus': 'name' }, u.upstream), ' ',
    el('span', { class: 'tag bad' }, t('unserved.stay', { n: u.servers })),
    why.length ? why : el('p', { class: 'why' }, t('unserved.none')));
}

function gatewayRow(g) {
  if (!g) return el('li', { class: 'soft' }, t('gateways.none'));
  const workers = g.workers ?? [];
  return el('li', {}, el('span', { class: 'name' }, g.name), ' ', tag(g.in_step, t('in_step'), t('not_in_step')),
    el('p', { class: 'soft' }, `${t('generation', { g: g.generation })} · ${t('since')} `, when(g.since),
      ` · ${t('checked')} `, when(g.checked)),
    wrong(g.plain || g.error, g.error),
    workers.length > 0 && el('p', { class: 'soft' }, t('workers', { n: workers.length })),
    workers.length > 0 && el('ul', { class: 'chips' }, workers.map((w) => el('li', {}, el('span',
      { class: `chip ${w.in_step ? 'in' : 'down'}`, title: w.error || t(w.in_step ? 'in_step' : 'not_in_step') },
      w.error ? `${w.id}: ${w.error}` : w.id)))));
}

function registryRow(r) {
  return el('li', {}, el('span', { class: 'name' }, r.name), ' ',
    tag(!r.trouble, t('registry.ok'), t('registry.trouble')),
    el('p', { class: 'soft' }, `${t('registry.changed')} `, when(r.answered), ` · ${t('registry.heard')} `, when(r.heard),
      r.trouble && [` · ${t('registry.trouble')}, ${t('since')} `, when(r.trouble_since)]),
    wrong(r.plain || r.trouble, r.trouble));
}

const fact = (number, text) => el('li', {}, el('b', {}, String(number)), ` ${text}`);
