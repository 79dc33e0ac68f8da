// What the guard holds: why, the effect of letting it through, and what to do.

import { act, ask } from './api.js';
import { detailLink } from './address.js';
import { addresses, button, el, known, lazy, reason, rest, t, when, zero } from './dom.js';

const effectsAtFirst = 12;

// servers shows the servers that stay, by upstream.
function servers(hold) {
  const groups = new Map();
  for (const { upstream, addr } of hold.servers) {
    if (!groups.has(upstream)) groups.set(upstream, []);
    groups.get(upstream).push(addr);
  }
  return el('dl', { class: 'groups' }, [...groups].map(([upstream, addrs]) => el('div', {},
    el('dt', {}, upstream, ' ', el('span', { class: 'soft' }, t('alike', { n: addrs.length }))),
    el('dd', {}, addresses(addrs, (addr) => el('span', { class: 'chip held' }, addr))))));
}

// cause shows what servers have in common: "All 286 · node edge-7 · check serfHealth is critical · since …".
function cause(c, all) {
  return el('li', {}, el('b', {}, t(c.servers === all ? 'cause.all' : 'cause.some', { n: c.servers })), ' ',
    c.node && !c.reason.includes(c.node) && `${t('cause.node', { name: c.node })} · `, c.reason,
    c.nodes > 1 && ` · ${t('cause.nodes', { n: c.nodes })}`, ' ',
    el('span', { class: 'soft' }, t('cause.upstreams', { n: c.upstreams }), c.since !== zero && [` · ${t('since')} `, when(c.since)]));
}

function effects(all) {
  if (all.length === 0) return null;
  const list = (some) => el('ul', { class: 'effects' }, some.map((e) => el('li', { class: e.to === 0 && 'none' },
    el('a', { href: detailLink(e.upstream), 'data-focus': `to ${e.upstream}` }, e.upstream), ' ', el('span', { class: 'step' }, `${e.from}→${e.to}`))));
  const emptied = all.filter((e) => e.to === 0).length, more = all.slice(effectsAtFirst);
  return [el('p', { class: 'soft' }, t('effects'), emptied > 0 && ` ${t('effects.emptied', { n: emptied })}`),
    list(all.slice(0, effectsAtFirst)), more.length > 0 && rest(t('effects.more', { n: more.length }), list(more))];
}

export function holdCard(hold) {
  const n = hold.servers.length;
  const out = n ? 0 : hold.kept_out ?? 0;
  const unusable = hold.servers.filter((s) => s.registered).length;
  const approve = async () => {
    const yes = await ask(n ? t('approve.title', { n }) : t('approve.other'), [reason(hold.reason), n > 0 && el('p', {}, t('approve.text')),
      effects(hold.effects ?? [])], t('approve'), true);
    if (yes) await act('POST', `holds/${encodeURIComponent(hold.id)}/approve`, {}, () => [t('approve.done')]);
  };
  return el('article', { class: 'hold' },
    el('h3', {}, n ? t('hold.title', { n }) : out ? t('hold.title_out', { n: out }) : t('hold.nothing')), reason(hold.reason),
    el('p', { class: 'soft' }, known(`rule.${hold.rule}`, hold.rule), n > 0 && ` · ${t('hold.split', { d: n - unusable, r: unusable })}`,
      hold.since !== zero && [` · ${t('since')} `, when(hold.since)]),
    (hold.causes ?? []).length > 0 && el('ul', { class: 'causes' }, hold.causes.map((c) => cause(c, n))),
    effects(hold.effects ?? []),
    n > 0 && lazy(t('hold.servers', { n }), () => servers(hold)),
    (hold.routes ?? []).length > 0 && el('p', { class: 'why' }, `${t('hold.routes', { n: hold.routes.length })} `,
      hold.routes.map((r) => [el('code', {}, `${r.upstream} ${r.route}`), ' '])),
    el('p', { class: 'way-out' }, `${t(out ? 'hold.way_in' : 'hold.way_out')} `,
      button(t('approve'), approve, { class: 'primary approve', 'data-focus': 'approve' }),
      ` ${t('hold.or')} `, el('code', {}, `swallowkeeper approve ${hold.id}`)));
}
