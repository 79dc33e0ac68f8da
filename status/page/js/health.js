// The health of an upstream: its bar, its trouble and since when.

import { el, known, t, when, zero } from './dom.js';

const serves = { in: true, frozen: true, held: true };
const barWidth = 80; // the server draws it as wide

// Worst trouble first, in the server's order.
const troubles = ['no_healthy_server', 'held', 'most_out', 'out', 'frozen', ''];

// reasons groups the servers that do not simply serve by state and reason.
function reasons(servers) {
  const groups = new Map();
  for (const s of servers) {
    if (s.state === 'in' || s.state === 'frozen') continue;
    const key = `${s.state}\n${s.reason}`;
    if (!groups.has(key)) groups.set(key, { ...s, all: [] });
    groups.get(key).all.push(s);
  }
  return [...groups.values()];
}

// prepare computes what searching, sorting and comparing need, once per answer.
export function prepare(u) {
  u.servers ??= [];
  u.options ??= [];
  u.routes ??= [];
  const groups = reasons(u.servers);
  const began = groups.flatMap((g) => g.all).map((s) => s.since).filter((at) => at && at !== zero).sort();
  return { u, name: u.name, mark: JSON.stringify(u), groups,
    hay: [u.name, ...u.servers.map((s) => s.state === 'in' ? s.addr : `${s.addr} ${s.reason} ${s.code ?? ''}`),
      ...u.routes.map((r) => `${r.text ?? r.route} ${r.reason} ${r.code ?? ''}`)].join('\n').toLowerCase(),
    states: new Set(u.servers.map((s) => s.state)),
    serving: u.servers.filter((s) => serves[s.state]).length,
    since: began[0] ?? '', sinceTime: began.length ? Date.parse(began[0]) : 0,
    top: groups.reduce((top, g) => top && top.all.length >= g.all.length ? top : g, undefined),
    rank: troubles.indexOf(u.trouble ?? '') };
}

const byName = (a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
const byTrouble = (a, b) => a.rank - b.rank || byName(a, b);

// orders are the same as the server's.
const orders = {
  trouble: byTrouble,
  name: byName,
  health: (a, b) => a.serving * b.u.servers.length - b.serving * a.u.servers.length || byTrouble(a, b),
  since: (a, b) => b.sinceTime - a.sinceTime || byTrouble(a, b),
};

export function ordered(list, sort) {
  const compare = orders[sort.replace('-', '')];
  return list.sort(sort.startsWith('-') ? (a, b) => compare(b, a) : compare);
}

// bar shows the share of servers in each state; the numbers beside it tell the same.
export function bar({ u }) {
  let x = 0;
  const parts = ['in', 'frozen', 'held', 'down', 'out'].map((state) => {
    const width = u.servers.filter((s) => s.state === state).length * barWidth / Math.max(1, u.servers.length);
    const part = width > 0 && el('rect', { class: state, x, y: 0, width, height: 10 });
    x += width;
    return part;
  });
  return el('svg', { class: 'bar', viewBox: `0 0 ${barWidth} 10`, 'aria-hidden': 'true' }, parts);
}

// tags are about an upstream as a whole.
export const tags = ({ u }) => [u.canary && [' ', el('span', { class: 'tag' }, `${t('canary')} ${u.canary}`)],
  u.frozen && [' ', el('span', { class: 'tag frozen' }, t('state.frozen'))]];

// why returns the most common reason of servers that do not simply serve.
export function why({ u, groups, top }) {
  return [u.trouble === 'no_healthy_server' && [el('span', { class: 'tag bad' }, t('no_healthy_server')), ' '],
    top && [el('b', { class: top.state }, known(`state.${top.state}`, top.state), top.all.length > 1 && ` ×${top.all.length}`), ` ${top.reason}`],
    groups.length > 1 && [' ', el('span', { class: 'soft' }, t('names.more', { n: groups.length - 1 }))]];
}

export const since = (p) => p.since && when(p.since);

// routes shows the routes of an upstream with their states.
export const routes = (u) => (u.routes ?? []).map((r) => el('p', { class: 'route' },
  el('b', { class: r.state }, known(`state.${r.state}`, r.state)), ` ${t('route')} `, el('code', {}, r.text ?? r.route), ` ${r.reason}`,
  (r.refused ?? []).map((g) => el('span', { class: 'soft' }, ` ${t('route.refused', { name: g.gateway, text: g.reason })}`))));
