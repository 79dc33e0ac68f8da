'use strict';

// Keeps the page live and asks the API for changes. Whatever it shows is put in as text (el), never
// as markup: names and reasons come from a registry, and whoever may register there may write them.
(() => {
  const lang = document.documentElement.dataset.lang;
  const texts = JSON.parse(document.getElementById('texts').textContent);
  const shownAtFirst = 100; // upstreams; the server shows as many, and so for what follows
  const heldAtFirst = 20; // upstreams of a hold
  const alikeAtFirst = 6; // addresses of a row
  const namesAtFirst = 3;
  const eventsAtFirst = 12;
  const eventsKept = 500;
  const zero = '0001-01-01T00:00:00Z'; // a time that Go has not set
  const changesUpstreams = new Set(['generation', 'server_in', 'server_out', 'held', 'hold_ended', 'proven', 'approved',
    'frozen', 'unfrozen', 'rolled_back', 'stored', 'no_healthy_server', 'healthy_again']);
  const kinds = [...changesUpstreams, 'pushed', 'in_step', 'out_of_step', 'store_failed'];

  const state = {
    status: null, upstreams: [], history: null, events: [], activity: [], // a null is not read yet
    query: '', only: '', shown: shownAtFirst, allEvents: false,
    open: new Map(), // by upstream: the address whose detail is shown
  };

  // ---- Texts and elements ----

  const $ = (id) => document.getElementById(id);

  function t(key, args = {}) {
    const one = args.n === 1 ? texts[`${key}_one`] : undefined;
    return (one ?? texts[key]).replace(/\{(\w+)\}/g, (_, name) => String(args[name] ?? ''));
  }

  // known is the text for a word of the API, or the word itself where there is none.
  const known = (key, word) => texts[key] ?? word;

  // said is what the daemon says, in the page's words, or as it said it where no phrase fits: of those in
  // said.json the first that does. The server has the same rules.
  const phrases = JSON.parse($('phrases')?.textContent ?? '[]').map(({ en, zh }) => ({
    zh, form: new RegExp(`^${en.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{([a-z]+[0-9]*)\}/g, '(?<$1>.+?)')}$`, 's'),
  }));
  const sayings = new Map();

  function said(text) {
    if (!text || !phrases.length) return text;
    if (!sayings.has(text)) {
      if (sayings.size > 5000) sayings.clear();
      const quotes = []; // names from a registry, in which nothing is to be found
      const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, (quote) => `\0${quotes.push(quote) - 1}\0`);
      sayings.set(text, translate(bare, 8).replace(/\0(\d+)\0/g, (_, i) => quotes[i]));
    }
    return sayings.get(text);
  }

  function translate(text, left) {
    for (const { form, zh } of left ? phrases : []) {
      const found = form.exec(text);
      if (!found) continue;
      return zh.replace(/\{([a-z]+[0-9]*)\}/g, (_, name) =>
        name.startsWith('why') ? translate(found.groups[name], left - 1) : found.groups[name]);
    }
    return text;
  }

  const svgNames = new Set(['svg', 'use', 'rect', 'line', 'circle']);

  // el makes an element: properties that begin with "on" are listeners, all others attributes;
  // children are elements, text, or nothing.
  function el(name, properties, ...children) {
    const node = svgNames.has(name)
      ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
    for (const [key, value] of Object.entries(properties ?? {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? '' : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ''));
    return node;
  }

  const button = (label, onclick, properties) => el('button', { type: 'button', onclick, ...properties }, label);
  const reason = (text) => text ? el('p', { class: 'reason' }, said(text)) : null;

  // keyed shows items in order, and touches only those that are new, changed or gone: so focus,
  // selection and scrolling stay where they are.
  const shownIn = new WeakMap();
  function keyed(parent, items, keyOf, build, markOf = JSON.stringify) {
    let before = shownIn.get(parent);
    if (!before) {
      parent.replaceChildren();
      before = new Map();
    }
    const now = new Map(items.map((item) => [keyOf(item), item]));
    for (const [key, had] of before) {
      if (!now.has(key)) {
        had.node.remove();
        before.delete(key);
      }
    }
    let at = parent.firstChild;
    const after = new Map();
    for (const [key, item] of now) {
      const mark = markOf(item);
      let had = before.get(key);
      if (!had || had.mark !== mark) {
        const node = build(item);
        if (had) {
          if (at === had.node) at = node;
          replace(had.node, node);
        }
        had = { mark, node };
      }
      if (had.node === at) at = at.nextSibling;
      else parent.insertBefore(had.node, at);
      after.set(key, had);
    }
    shownIn.set(parent, after);
  }

  // replace puts a node in another's place and leaves the focus on its counterpart.
  function replace(old, node) {
    const focus = old.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    const opened = [...old.querySelectorAll('details')].map((details) => details.open);
    node.querySelectorAll('details').forEach((details, i) => { details.open = opened[i] ?? false; });
    old.replaceWith(node);
    if (focus !== undefined) {
      [...node.querySelectorAll('[data-focus]')].find((n) => n.dataset.focus === focus)?.focus();
    }
  }

  function fill(parent, ...children) {
    parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  }

  // ---- Times ----

  let skew = 0; // of the server's clock against the browser's
  const relative = new Intl.RelativeTimeFormat(lang, { numeric: 'auto', style: 'short' });
  const clock = new Intl.DateTimeFormat(lang, { timeStyle: 'medium', hourCycle: 'h23' });
  const full = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'long', hourCycle: 'h23' });
  const now = () => Date.now() + skew;

  function ago(at) {
    const seconds = Math.round((at - now()) / 1000);
    const size = Math.abs(seconds);
    if (size < 60) return relative.format(Math.trunc(seconds / 5) * 5, 'second');
    if (size < 5400) return relative.format(Math.round(seconds / 60), 'minute');
    if (size < 129600) return relative.format(Math.round(seconds / 3600), 'hour');
    return relative.format(Math.round(seconds / 86400), 'day');
  }

  function when(iso) {
    if (!iso || iso === zero) return t('never');
    const at = Date.parse(iso);
    return el('time', { datetime: iso, title: full.format(at) }, ago(at));
  }

  function tick() {
    for (const node of document.querySelectorAll('time[datetime]:not([datetime=""])')) {
      const text = ago(Date.parse(node.dateTime));
      if (node.textContent !== text) node.textContent = text;
      if (!node.title) node.title = full.format(Date.parse(node.dateTime));
    }
  }

  const took = (ms) => ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

  // ---- The API ----

  const remembered = 'swallowkeeper-token';

  // A link may bring the token behind its #, which browsers send to nobody. It does not stay in the address.
  const brought = new URLSearchParams(location.hash.slice(1)).get('token');
  if (brought) {
    sessionStorage.setItem(remembered, brought);
    history.replaceState(null, '', location.pathname + location.search);
  }

  // api answers with what the API says. What is not a GET is a change, and asks for the token when it must.
  async function api(path, method = 'GET', body = undefined) {
    for (;;) {
      const headers = { Accept: 'application/json' };
      const request = { method, headers, cache: 'no-store', signal: AbortSignal.timeout(30000) };
      const token = sessionStorage.getItem(remembered);
      if (body !== undefined) {
        request.body = JSON.stringify(body);
        headers['Content-Type'] = 'application/json';
      }
      if (method !== 'GET' && token) headers.Authorization = `Bearer ${token}`;
      let response;
      try {
        response = await fetch(`/api/v1/${path}`, request);
      } catch {
        throw new Error(t('error.unreachable'));
      }
      if (response.ok) return response.status === 204 ? null : response.json();
      const words = await spoken(response);
      // 403 is not for want of the right token: there is none, or the request came from elsewhere.
      if (response.status !== 401 || !await askToken(token ? words : '')) throw new Error(words);
    }
  }

  async function spoken(response) {
    const text = await response.text();
    try {
      return JSON.parse(text).error || text;
    } catch {
      return text.trim().slice(0, 500) || t('error.status', { code: response.status });
    }
  }

  async function askToken(said) {
    const input = el('input', { type: 'password', id: 'token', autocomplete: 'off', required: true });
    const yes = await ask(t('token.title'), [
      el('p', {}, t('token.text')), reason(said && t('token.said', { text: said })),
      el('label', { class: 'field', for: 'token' }, t('token'), input),
    ], t('continue'));
    if (!yes) return false;
    sessionStorage.setItem(remembered, input.value.trim());
    return true;
  }

  // act asks for a change and says in words how it went.
  async function act(method, path, body, done) {
    try {
      const answer = await api(path, method, body);
      say('ok', ...done(answer));
    } catch (error) {
      say('bad', t('error', { text: error.message }));
    }
  }

  function say(level, ...lines) {
    const message = el('div', { class: `message ${level}` }, lines.map((line) => el('p', {}, line)),
      button(t('close'), () => message.remove()));
    fill($('messages'), message);
  }

  // ask shows a dialog and answers with true when its button was pressed; without a button it only shows.
  // Nothing else agrees: a field's Enter does nothing, and where there is no field Cancel has the focus.
  function ask(title, content, ok, danger) {
    return new Promise((resolve) => {
      const agree = ok && button(ok, () => dialog.close('ok'), { class: danger ? 'danger' : 'primary' });
      const cancel = button(t(ok ? 'cancel' : 'close'), () => dialog.close(''), { class: 'cancel' });
      const dialog = el('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => {
        resolve(dialog.returnValue === 'ok');
        dialog.remove();
      }, onkeydown: (event) => {
        // The Enter that opened the dialog may still be down.
        if (event.key === 'Enter' && (event.repeat || event.target.matches('input, select'))) event.preventDefault();
      } }, el('form', { onsubmit: (event) => event.preventDefault() },
        el('h2', { id: 'dialog-title' }, title),
        el('div', { class: 'content', tabindex: '0' }, content),
        el('div', { class: 'actions' }, cancel, agree)));
      document.body.append(dialog);
      dialog.showModal();
      (dialog.querySelector('input, select') ?? cancel).focus();
    });
  }

  // ---- Verdict, holds, freezes, gateways, registries ----

  // verdict words what the daemon says, as the server does.
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

  // names names a few, and says how many there are besides.
  function names(all) {
    const more = all.length - namesAtFirst;
    return [...all.slice(0, namesAtFirst), ...more > 0 ? [t('names.more', { n: more })] : []].join(', ');
  }

  function showStatus(s) {
    for (const list of ['reasons', 'without_healthy_server', 'holds', 'freezes', 'registries', 'gateways']) s[list] ??= [];
    for (const hold of s.holds) hold.servers ??= [];
    state.status = s;
    skew = Date.parse(s.time) - Date.now();
    const [level, text] = verdict(s);
    $('verdict').className = `verdict ${level}`;
    $('verdict').querySelector('use').setAttribute('href', `#i-${level}`);
    if ($('verdict-text').textContent !== text) $('verdict-text').textContent = text;
    document.title = `${text} · swallowkeeper`;
    const g = s.generation;
    fill($('verdict-more'), reason(s.file_error), s.reasons.map(reason), g.number
      ? el('p', {}, t('changed_last'), ' ', when(g.time), ` · ${t('generation', { g: g.number })}`,
        g.summary && ` · ${said(g.summary)}`, g.reason && ` · ${said(g.reason)}`)
      : el('p', {}, t('nothing_written')));
    fill($('facts'), fact(s.upstreams, t('fact.upstreams', { n: s.upstreams })),
      fact(s.servers, t('fact.servers', { n: s.servers })), fact(s.out, t('fact.out')),
      fact(s.holds.length, t('fact.holds', { n: s.holds.length })),
      fact(s.freezes.length, t('fact.freezes', { n: s.freezes.length })));
    const frozen = s.freezes.some((freeze) => freeze.name === '*');
    keyed($('verdict-actions'), frozen ? [] : ['*'], String,
      () => button(t('freeze.everything'), () => freeze('*'), { id: 'freeze-all' }));
    $('unserved').hidden = s.without_healthy_server.length === 0;
    keyed($('unserved-list'), s.without_healthy_server.slice(0, heldAtFirst), (u) => u.upstream, unservedRow);
    const unnamed = s.without_healthy_server.length - heldAtFirst;
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

  const fact = (number, text) => el('li', {}, el('b', {}, String(number)), ` ${text}`);

  function unservedRow(u) {
    const why = (u.reasons ?? []).map((r) => el('p', { class: 'why' }, said(r.text),
      r.count > 1 && el('span', { class: 'soft' }, ` ${t('times', { n: r.count })}`)));
    return el('li', {}, el('span', { class: 'name' }, u.upstream), ' ',
      el('span', { class: 'tag bad' }, t('unserved.stay', { n: u.servers })),
      why.length ? why : el('p', { class: 'why' }, t('unserved.none')));
  }

  // rest is what one asks for to see.
  const rest = (summary, ...content) => el('details', { class: 'rest' }, el('summary', {}, summary), content);

  // addresses shows a few of them at once.
  function addresses(addrs, chip) {
    const chips = addrs.map((addr) => [chip(addr), ' ']);
    return [chips.slice(0, alikeAtFirst), chips.length > alikeAtFirst
      && rest(t('names.more', { n: chips.length - alikeAtFirst }), chips.slice(alikeAtFirst).flat())];
  }

  function held(hold) {
    const groups = new Map();
    for (const { upstream, addr } of hold.servers) {
      if (!groups.has(upstream)) groups.set(upstream, []);
      groups.get(upstream).push(addr);
    }
    const list = (some) => el('dl', { class: 'groups' }, some.map(([upstream, addrs]) => el('div', {},
      el('dt', {}, upstream, ' ', el('span', { class: 'soft' }, t('alike', { n: addrs.length }))),
      el('dd', {}, addresses(addrs, (addr) => el('span', { class: 'chip held' }, addr))))));
    const all = [...groups], more = all.slice(heldAtFirst);
    return [all.length > 0 && list(all.slice(0, heldAtFirst)), more.length > 0 && rest(
      t('hold.more', { n: more.length, m: more.reduce((sum, [, addrs]) => sum + addrs.length, 0) }), list(more))];
  }

  function holdCard(hold) {
    const n = hold.servers.length;
    const out = n ? 0 : hold.kept_out ?? 0;
    const unusable = hold.servers.filter((s) => s.registered).length;
    const approve = async () => {
      const yes = await ask(n ? t('approve.title', { n }) : t('approve.other'), [reason(hold.reason), n > 0 && el('p', {}, t('approve.text'))],
        t('approve'), true);
      if (yes) await act('POST', `holds/${encodeURIComponent(hold.id)}/approve`, {}, () => [t('approve.done')]);
    };
    return el('article', { class: 'hold' },
      el('h3', {}, n ? t('hold.title', { n }) : out ? t('hold.title_out', { n: out }) : t('hold.nothing')), reason(hold.reason),
      el('p', { class: 'soft' }, known(`rule.${hold.rule}`, hold.rule), n > 0 && ` · ${t('hold.split', { d: n - unusable, r: unusable })}`,
        hold.since !== zero && [` · ${t('since')} `, when(hold.since)]),
      held(hold),
      el('p', { class: 'way-out' }, `${t(out ? 'hold.way_in' : 'hold.way_out')} `,
        button(t('approve'), approve, { class: 'primary approve', 'data-focus': 'approve' }),
        ` ${t('hold.or')} `, el('code', {}, `swallowkeeper approve ${hold.id}`)));
  }

  const frozenName = (name) => name === '*' ? t('freeze.all') : name;

  function freezeRow(freeze) {
    const { name, until } = freeze;
    const release = () => act('DELETE', `freezes/${encodeURIComponent(name)}`, undefined,
      () => [t('release.done', { name: frozenName(name) })]);
    return el('li', {}, el('span', { class: 'name' }, frozenName(name)), ' ', el('span', { class: 'soft' },
      until && until !== zero ? [`${t('freeze.until')} `, when(until)] : t('freeze.until_released'), by(freeze)),
    button(t('release'), release, { class: 'release', 'data-focus': 'release', 'aria-label': `${t('release')}: ${frozenName(name)}` }));
  }

  async function freeze(name) {
    const hours = [1, 2, 8, 24].map((n) => el('option', { value: `${n}h`, selected: n === 2 }, t('freeze.hours', { n })));
    const how = el('select', { id: 'how-long' }, hours, el('option', { value: '' }, t('freeze.until_released')));
    const yes = await ask(t('freeze.title', { name: frozenName(name) }), [el('p', {}, t('freeze.text')),
      el('label', { class: 'field', for: 'how-long' }, t('freeze.how_long'), how)], t('freeze'));
    if (yes) await act('POST', 'freezes', { name, for: how.value || undefined },
      () => [t('freeze.done', { name: frozenName(name) })]);
  }

  function tag(good, yes, no) {
    return el('span', { class: `tag ${good ? 'ok' : 'bad'}` }, good ? yes : no);
  }

  function gatewayRow(g) {
    if (!g) return el('li', { class: 'soft' }, t('gateways.none'));
    const workers = g.workers ?? [];
    return el('li', {}, el('span', { class: 'name' }, g.name), ' ', tag(g.in_step, t('in_step'), t('not_in_step')),
      el('p', { class: 'soft' }, `${t('generation', { g: g.generation })} · ${t('since')} `, when(g.since),
        ` · ${t('checked')} `, when(g.checked)),
      reason(g.error),
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
      reason(r.trouble));
  }

  // ---- Upstreams ----

  const serves = { in: true, frozen: true, held: true };

  // reasons puts those servers together that do not simply serve, by state and reason.
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

  // prepare notes once for each answer what search, order and comparison need.
  function prepare(u) {
    u.servers ??= [];
    u.options ??= [];
    return { u, name: u.name, mark: JSON.stringify(u),
      hay: [u.name, ...u.servers.map((s) => s.state === 'in' ? s.addr : `${s.addr} ${s.reason} ${said(s.reason)}`)].join('\n').toLowerCase(),
      states: new Set(u.servers.map((s) => s.state)),
      rank: troubles.indexOf(u.trouble ?? '') };
  }

  // Those with the worst trouble come first, as the server has them.
  const troubles = ['no_healthy_server', 'held', 'most_out', 'out', 'frozen', ''];

  function showUpstreams() {
    const query = state.query.trim().toLowerCase();
    const found = state.upstreams.filter((p) => p.hay.includes(query) && (!state.only || p.states.has(state.only)));
    const grid = $('grid');
    keyed(grid, found.slice(0, state.shown), (p) => p.name, card, (p) => p.mark);
    $('none')?.remove();
    if (found.length === 0) grid.after(el('p', { class: 'soft', id: 'none' }, t('upstreams.none')));
    const count = t('shown', { m: found.length, n: state.upstreams.length });
    if ($('shown').textContent !== count) $('shown').textContent = count;
    keyed($('more'), found.length > state.shown ? ['more'] : [], String, () => button(t('show_more'), () => {
      state.shown += shownAtFirst;
      showUpstreams();
    }));
  }

  function card({ u }) {
    const serving = u.servers.filter((s) => serves[s.state]).length;
    const detail = el('p', { class: 'detail', hidden: true });
    const chip = (s) => el('button', { type: 'button',
      class: `chip ${s.state}`, title: `${known(`state.${s.state}`, s.state)}: ${said(s.reason)}`,
      'aria-label': `${s.addr || t('all_of_it')}, ${known(`state.${s.state}`, s.state)}: ${said(s.reason)}`,
      'data-addr': s.addr, 'data-focus': s.addr }, s.addr || t('all_of_it'));
    const simple = u.servers.filter((s) => s.state === 'in' || s.state === 'frozen');
    const node = el('article', { class: 'card' },
      el('header', {}, el('h3', {}, u.name), u.canary && el('span', { class: 'tag' }, `${t('canary')} ${u.canary}`),
        u.trouble === 'no_healthy_server' && el('span', { class: 'tag bad' }, t('no_healthy_server')),
        u.frozen && el('span', { class: 'tag frozen' }, t('state.frozen')),
        el('span', { class: 'soft' }, t('serving', { m: serving, n: u.servers.length }))),
      simple.length > 0 && el('ul', { class: 'chips' }, simple.map((s) => el('li', {}, chip(s)))),
      reasons(u.servers).map((r) => [el('p', { class: 'why' },
        el('b', { class: r.state }, known(`state.${r.state}`, r.state)), r.all.length > 1 && ` ${t('alike', { n: r.all.length })}:`,
        ` ${said(r.reason)} `, el('span', { class: 'soft' }, r.since && r.since !== zero && when(r.since))),
      el('div', { class: 'chips' }, addresses(r.all, chip))]),
      detail,
      el('p', { class: 'tools' },
        button(t('why'), () => explain(u.name), { 'data-focus': 'why', 'aria-label': `${t('why')} ${u.name}` }),
        !u.frozen && button(t('freeze'), () => freeze(u.name), { 'data-focus': 'freeze', 'aria-label': `${t('freeze')} ${u.name}` })));
    // A chip shows its detail on focus and on click: not every browser focuses what is clicked.
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
      el('br'), said(s.reason), s.options && ` · ${s.options}`, s.origin && ` · ${t('from', { name: s.origin })}`,
      u.options.length > 0 && ` · ${u.options.join('; ')}`);
  }

  async function explain(name) {
    const content = el('div', {}, el('p', { class: 'soft' }, t('loading')));
    const shown = ask(t('why.title', { name }), [content]);
    try {
      const e = await api(`upstreams/${encodeURIComponent(name)}`);
      const findings = e.instances ?? [];
      fill(content, !e.written && el('p', {}, t('why.not_written')), (e.notes ?? []).map(reason),
        findings.length === 0 && el('p', {}, t('why.none')),
        el('ul', { class: 'rows' }, findings.map((f) => el('li', {},
          el('span', { class: `chip ${f.in ? 'in' : 'out'}` }, f.addr), ' ',
          el('b', {}, f.in ? t('state.in') : t('state.out')), ` ${said(f.reason)} `,
          el('span', { class: 'soft' }, t('from', { name: f.registry }))))));
    } catch (error) {
      fill(content, reason(t('error', { text: error.message })));
    }
    await shown;
  }

  // ---- What happened ----

  function showEvents() {
    const rows = happenings(state.allEvents ? Infinity : eventsAtFirst + 1);
    const more = !state.allEvents && rows.length > eventsAtFirst;
    const shown = more ? rows.slice(0, eventsAtFirst) : rows;
    keyed($('lately-list'), shown.length ? shown : [null], (e) => e?.id ?? 0, eventRow);
    keyed($('lately-more'), more ? ['more'] : [], String, () => button(t('show_all'), () => {
      state.allEvents = true;
      showEvents();
    }));
    chart();
  }

  // happenings are the newest first, of one upstream's servers to which the same happened at once one row.
  function happenings(most) {
    const rows = [], tail = (e) => e.text.startsWith(e.addr) ? e.text.slice(e.addr.length) : e.text;
    for (let i = state.events.length - 1; i >= 0; i--) {
      const e = state.events[i], last = rows[rows.length - 1];
      if (last?.addr && e.addr && last.kind === e.kind && last.upstream === e.upstream && last.generation === e.generation
        && tail(last) === tail(e)) last.alike.push(e.addr);
      else if (rows.length >= most) break;
      else rows.push({ ...e, alike: [] });
    }
    return rows;
  }

  // by says whose order something was, and why.
  const by = (order) => order.by ? ` · ${t('by', { name: order.why ? `${order.by}: ${order.why}` : order.by })}` : '';

  function eventRow(e) {
    if (!e) return el('li', { class: 'soft' }, t('lately.none'));
    return el('li', {}, el('span', { class: `kind ${e.kind}` }, known(`kind.${e.kind}`, e.kind)), ' ',
      el('span', { class: 'text' }, said(e.text) || [e.upstream, e.addr, e.gateway].filter(Boolean).join(' ')), ' ',
      el('span', { class: 'soft' }, when(e.time), by(e), e.took_ms > 0 && ` · ${took(e.took_ms)}`),
      e.alike.length > 0 && rest(t('names.more', { n: e.alike.length }),
        e.alike.map((addr) => [el('span', { class: 'chip' }, addr), ' ']).flat()));
  }

  // chart draws servers in (up) and out (down), generations (dots between), and below how long each
  // change took until it was live.
  function chart() {
    const spans = state.activity;
    if (spans.length === 0) {
      fill($('chart'));
      return;
    }
    const end = now();
    const start = Math.max(end - 6 * 3600e3, Math.min(Date.parse(spans[0].time), end - 600e3));
    const buckets = Array.from({ length: 60 }, () => ({ in: 0, out: 0, generations: 0, took: 0 }));
    const all = { in: 0, out: 0, n: 0, took: [] };
    for (const span of spans) {
      const at = Math.floor((Date.parse(span.time) - start) / (end - start) * 60);
      if (at < 0) continue;
      const bucket = buckets[Math.min(at, 59)];
      bucket.in += span.in; all.in += span.in;
      bucket.out += span.out; all.out += span.out;
      bucket.generations += span.generations; all.n += span.generations;
      bucket.took = Math.max(bucket.took, ...span.took_ms);
      all.took.push(...span.took_ms);
    }
    const most = Math.max(1, ...buckets.map((b) => Math.max(b.in, b.out)));
    const worst = Math.max(1, ...all.took);
    const high = (value, of, size) => value && Math.max(2, Math.sqrt(value / of) * size);
    const parts = [el('line', { class: 'axis', x1: 0, x2: 600, y1: 46, y2: 46 })];
    buckets.forEach((b, i) => {
      const bar = (kind, y, height) => height && parts.push(el('rect', { class: kind, x: i * 10 + 1, y, width: 8, height, rx: 1.5 }));
      const up = high(b.in, most, 36), live = high(b.took, worst, 24);
      bar('in', 41 - up, up);
      bar('out', 51, high(b.out, most, 36));
      bar('took', 122 - live, live);
      if (b.generations) parts.push(el('circle', { cx: i * 10 + 5, cy: 46, r: 3 }));
    });
    all.took.sort((a, b) => a - b);
    const label = t('lately.chart', { i: all.in, o: all.out, n: all.n });
    fill($('chart'), el('p', {}, label), el('svg', { viewBox: '0 0 600 124', role: 'img', 'aria-label': label }, parts),
      el('p', { class: 'soft ends' }, el('span', {}, clock.format(start)), el('span', {}, t('lately.now'))),
      all.took.length > 0 && el('p', { class: 'soft' }, t('lately.took',
        { m: took(all.took[Math.floor(all.took.length / 2)]), w: took(worst) })));
  }

  // ---- History ----

  function showHistory() {
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
      el('p', {}, [g.summary, g.reason].filter(Boolean).map(said).join(' · '), by(g)), reason(g.damaged),
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
    return el('div', { class: 'diff' }, el('p', {}, said(c.summary) || (parts.length ? '' : t('diff.none'))), parts.slice(0, 100).flat(),
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
      plan.opinion && reason(t('rollback.against', { text: said(plan.opinion) })), changes(plan.changes)], t('rollback'), true);
    if (yes) await act('POST', 'rollback', { generation: number }, (result) => result.present
      ? [t('rollback.present', { g: number })] : [t('rollback.done', { n: result.generation.number, g: number }),
      ...result.opinion ? [t('rollback.opinion', { text: said(result.opinion) })] : [],
      ...result.gateways.filter((g) => !g.in_step).map((g) => t('rollback.behind', { name: g.name, text: g.error ?? '' }))]);
  }

  async function showDiff(event) {
    event.preventDefault();
    const from = $('from').value, to = $('to').value;
    try {
      await ask(t('diff.title', { from, to }), [changes(await difference(from, to))]);
    } catch (error) {
      say('bad', t('error', { text: error.message }));
    }
  }

  // ---- Live ----

  // refresh reads what status events do not carry. While one reading is under way further wishes
  // become one more; a burst of events is read once.
  const wanted = new Set();
  let reading = false, timer = 0;

  function refresh(...what) {
    for (const name of what) wanted.add(name);
    if (!reading && !timer) timer = setTimeout(read, 250);
  }

  const readers = {
    status: async () => showStatus(await api('status')),
    upstreams: async () => {
      state.upstreams = (await api('upstreams')).upstreams.map(prepare);
      state.upstreams.sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1));
      showUpstreams();
    },
    history: async () => {
      state.history = (await api('history')).generations;
      showHistory();
    },
    timeline: async () => {
      state.events = (await api(`timeline?last=${eventsKept}`)).events;
      showEvents();
    },
    activity: async () => {
      state.activity = (await api('activity')).activity;
      chart();
    },
  };

  async function read() {
    timer = 0;
    reading = true;
    const names = [...wanted];
    wanted.clear();
    const again = [];
    await Promise.all(names.map((name) => readers[name]().catch((error) => {
      again.push(name);
      if (!lostSince) say('bad', t('error.upstreams', { text: error.message }));
    })));
    reading = false;
    if (again.length) setTimeout(() => refresh(...again), 3000);
    else if (wanted.size) refresh();
    if (names.length && !again.length) document.documentElement.dataset.live = 'true';
  }

  let lostSince = 0, heard = Date.now(), source = null;

  function lost() {
    if (lostSince) return;
    lostSince = heard;
    $('lost').textContent = t('lost', { time: clock.format(heard) });
    $('lost').hidden = false;
    document.documentElement.dataset.live = 'false';
  }

  function hear() {
    heard = Date.now();
    if (!lostSince) return;
    lostSince = 0;
    $('lost').hidden = true;
    refresh('status', 'upstreams', 'history', 'timeline', 'activity');
  }

  function happened(event) {
    hear();
    const e = JSON.parse(event.data);
    if (!state.events.some((had) => had.id === e.id)) {
      state.events.push(e);
      state.events.splice(0, state.events.length - eventsKept);
      showSoon();
    }
    if (changesUpstreams.has(e.kind)) refresh('upstreams', 'history');
    if (e.kind === 'generation' || e.took_ms > 0) refresh('activity'); // it counts what is no event any more, too
  }

  // A burst of events is drawn once.
  let drawing = false;
  function showSoon() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      showEvents();
    });
  }

  function connect() {
    source = new EventSource('/api/v1/events');
    source.onopen = () => {
      hear();
      refresh('status', 'upstreams', 'history', 'timeline', 'activity');
    };
    source.onerror = () => {
      lost();
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      source.close();
      setTimeout(connect, 2000);
    };
    source.addEventListener('status', (event) => {
      hear();
      showStatus(JSON.parse(event.data));
    });
    for (const kind of [...kinds, 'event', 'message']) source.addEventListener(kind, happened);
  }

  // A connection may die without a word: when nothing was heard for long, ask.
  async function check() {
    if (Date.now() - heard < 20000) return;
    try {
      showStatus(await api('status'));
      hear();
    } catch {
      lost();
    }
  }

  // ---- Search and keys ----

  function search() {
    state.query = $('q').value;
    state.only = $('search').elements.state.value;
    state.shown = shownAtFirst;
    showUpstreams();
  }

  document.documentElement.classList.add('script');
  state.query = $('q').value;
  state.only = $('search').elements.state.value;
  $('search').addEventListener('input', search);
  $('search').addEventListener('submit', (event) => event.preventDefault());
  $('diff-form').addEventListener('submit', showDiff);
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest?.('input:not([type=radio]), select, textarea, dialog');
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      $('q').focus();
      $('q').select();
    }
  });
  tick();
  setInterval(tick, 10000);
  setInterval(check, 5000);
  connect();
})();
