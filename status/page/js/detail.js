// The detail view of an upstream: its servers, what the registries list now, its changes, and its freeze.

import { detailLink } from './address.js';
import { api } from './api.js';
import { ofUpstream, showChanges } from './changes.js';
import { $, button, by, el, fill, keyed, known, t, when, wrong, zero } from './dom.js';
import { freeze, release } from './freezes.js';
import { bar, prepare, routes, tags } from './health.js';
import { state } from './state.js';

const stateOrder = ['held', 'down', 'out', 'frozen', 'in'];
let shown = null; // of which upstream the parts are
let asked = ''; // for what the registries were asked last: the upstream as it was then
let told = null; // what they said: { e } or { error, missing }
let asking = 0;

// showDetail shows the upstream in the address, or all of them.
export function showDetail() {
  const name = state.detail, came = name !== shown;
  $('detail').hidden = name === null;
  $('overview').hidden = name !== null;
  if (came) {
    shown = name;
    asked = '';
    told = null;
    $('detail').replaceChildren();
    document.title = `${name === null ? '' : `${name} · `}${state.title ?? ''} · swallowkeeper`;
  }
  if (name === null) return;
  if (came) build(name);
  draw();
  if (came) {
    window.scrollTo(0, 0);
    $('detail-title').focus();
  }
}

function build(name) {
  const part = (title, id, list = 'div') => el('section', { 'aria-labelledby': `${id}-title` }, el('h3', { id: `${id}-title` }, title),
    el(list, { id, class: list === 'ol' ? 'rows changes' : null }));
  $('detail').append(
    el('p', {}, el('a', { id: 'back', href: '#upstreams' }, `← ${t('detail.back')}`)),
    el('header', { id: 'detail-head' }, el('h2', { id: 'detail-title', tabindex: '-1' }, name), el('span', { id: 'detail-state' }),
      el('span', { id: 'detail-actions', class: 'actions' })),
    el('div', { id: 'detail-notes' }), el('div', { id: 'detail-parts' },
      part(t('detail.servers'), 'detail-servers'), part(t('detail.checks'), 'detail-checks'), part(t('detail.changes'), 'detail-changes', 'ol')));
}

// current returns the upstream from the list, or else from the registries' answer.
function current() {
  const name = state.detail;
  const listed = state.upstreams.find((p) => p.name === name);
  if (listed) return listed;
  return told?.e && told.e.servers ? prepare({ ...told.e }) : null;
}

function draw() {
  const name = state.detail, p = current();
  ask(name, p?.mark ?? 'not listed');
  const missing = !p && told?.missing;
  $('detail-parts').hidden = Boolean(missing);
  keyed($('detail-state'), p ? [p] : [], () => 'state', () => el('span', {}, tags(p),
    p.u.trouble === 'no_healthy_server' && [' ', el('span', { class: 'tag bad' }, t('no_healthy_server'))], ' ', bar(p), ' ',
    t('serving', { m: p.serving, n: p.u.servers.length })), (q) => q.mark);
  const freezes = state.status?.freezes.filter((f) => f.name === name || f.name === '*') ?? [];
  const own = freezes.some((f) => f.name === name);
  keyed($('detail-actions'), p && (own || freezes.length === 0) ? [own] : [], String, () => own
    ? button(t('release'), () => release(name), { 'data-focus': 'release', class: 'release' })
    : button(t('freeze'), () => freeze(name), { 'data-focus': 'freeze', class: 'freeze' }));
  const notes = [...missing ? [{ missing: true, error: told.error }] : [],
    ...freezes.map((f) => ({ f })), ...(told?.e?.notes ?? []).map((text) => ({ text })), ...told?.e && !told.e.written ? [{ text: t('why.not_written') }] : []];
  keyed($('detail-notes'), notes, (n) => JSON.stringify(n), note);
  keyed($('detail-servers'), p ? [p] : [], () => 'servers', servers, (q) => q.mark);
  keyed($('detail-checks'), [told], () => 'checks', checks);
  showChanges($('detail-changes'), ofUpstream(state.events, name));
}

function note({ missing, error, f, text }) {
  if (missing) return el('div', { class: 'message bad' }, el('div', {}, wrong(t('detail.missing', { name: state.detail }), error)));
  if (f) {
    return el('p', { class: 'note' }, `${f.name === '*' ? t('freeze.all') : t('state.frozen')} · `,
      f.until && f.until !== zero ? [`${t('freeze.until')} `, when(f.until)] : t('freeze.until_released'), by(f));
  }
  return el('p', { class: 'note' }, text);
}

function servers({ u }) {
  const rows = [...u.servers].sort((a, b) => stateOrder.indexOf(a.state) - stateOrder.indexOf(b.state));
  const head = (text) => el('th', { scope: 'col' }, text);
  return el('div', {}, rows.length === 0 ? el('p', { class: 'soft' }, t('why.none'))
    : el('table', { class: 'servers' }, el('thead', {}, el('tr', {}, head(t('col.server')), head(t('col.why')), head(t('col.since')), head(t('col.options')))),
      el('tbody', {}, rows.map((s) => el('tr', {},
        el('th', { scope: 'row' }, el('span', { class: `chip ${s.state}` }, s.addr || t('all_of_it')), ' ', el('b', { class: s.state }, known(`state.${s.state}`, s.state))),
        el('td', {}, s.reason, s.detail && el('p', { class: 'soft' }, s.detail)),
        el('td', {}, s.since && s.since !== zero ? when(s.since) : '–'),
        el('td', { class: 'soft' }, [s.options, s.origin && t('from', { name: s.origin })].filter(Boolean).join(' · '))))) ),
    u.options.length > 0 && el('p', { class: 'soft' }, u.options.map((o) => [el('code', {}, o), ' '])), routes(u));
}

function checks(answer) {
  if (!answer) return el('p', { class: 'soft' }, t('loading'));
  if (answer.error) return el('div', {}, wrong(t('error', { text: answer.error }), answer.error), again());
  const findings = answer.e.instances ?? [];
  return el('div', {}, findings.length === 0 ? el('p', {}, t('why.none'))
    : el('ul', { class: 'rows' }, findings.map((f) => el('li', {},
      el('span', { class: `chip ${f.in ? 'in' : 'out'}` }, f.addr || t('all_of_it')), ' ',
      el('b', { class: f.in ? 'in' : 'out' }, f.in ? t('state.in') : t('state.out')), ` ${f.reason} `,
      el('span', { class: 'soft' }, t('from', { name: f.registry }))))), again());
}

const again = () => button(t('detail.again'), () => {
  asked = '';
  showDetail();
}, { 'data-focus': 'again' });

// ask asks the registries, again when the upstream has changed.
async function ask(name, mark) {
  if (asked === mark) return;
  asked = mark;
  const turn = ++asking;
  let answer;
  try {
    answer = { e: await api(`upstreams/${encodeURIComponent(name)}`) };
  } catch (error) {
    answer = { error: error.message, missing: error.status === 404 };
  }
  if (turn !== asking || state.detail !== name) return;
  told = answer;
  draw();
}

// leave goes back to the list, at the upstream that was shown.
export function leave() {
  const name = state.detail;
  location.hash = '#upstreams';
  return name;
}

// backTo focuses an upstream's link in the list.
export function backTo(name) {
  const link = [...document.querySelectorAll('#upstreams [data-focus=name]')].find((a) => a.getAttribute('href') === detailLink(name));
  link?.focus();
}
