// Keeps the page up to date.

import { api, inOurs, say } from './api.js';
import { readAddress } from './address.js';
import { chart } from './chart.js';
import { backTo, leave, showDetail } from './detail.js';
import { $, clock, t, tick } from './dom.js';
import { showEvents } from './events.js';
import { prepare } from './health.js';
import { showDiff, showHistory } from './history.js';
import { state } from './state.js';
import { showStatus } from './status.js';
import { search, showUpstreams } from './upstreams.js';

const eventsKept = 500;
const changesUpstreams = new Set(['generation', 'server_in', 'server_out', 'held', 'hold_ended', 'proven', 'approved',
  'frozen', 'unfrozen', 'rolled_back', 'stored', 'no_healthy_server', 'healthy_again']);
const kinds = [...changesUpstreams, 'pushed', 'in_step', 'out_of_step', 'store_failed'];

// refresh reads what status events do not contain. Requests during a read are combined into one
// more, so a burst of events causes a single read.
const wanted = new Set();
let reading = false, timer = 0;

function refresh(...what) {
  for (const name of what) wanted.add(name);
  if (!reading && !timer) timer = setTimeout(read, 250);
}

const readers = {
  status: async () => takeStatus(await api('status')),
  upstreams: async () => {
    state.upstreams = (await api('upstreams')).upstreams.map(prepare);
    state.read = true;
    showUpstreams();
    showDetail();
  },
  history: async () => {
    state.history = (await api('history')).generations;
    showHistory();
  },
  timeline: async () => {
    state.events = (await api(`timeline?last=${eventsKept}`)).events;
    showEvents();
    showDetail();
  },
  activity: async () => {
    state.activity = (await api('activity')).activity;
    chart();
  },
};

function takeStatus(status) {
  showStatus(status);
  if (state.detail !== null) showDetail();
}

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

// Draw once for a burst of events.
let drawing = false;
function showSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    showEvents();
    if (state.detail !== null) showDetail();
  });
}

function connect() {
  source = new EventSource(inOurs('events'));
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
    takeStatus(JSON.parse(event.data));
  });
  for (const kind of [...kinds, 'event', 'message']) source.addEventListener(kind, happened);
}

// A connection may die silently: ask if nothing was received for long.
async function check() {
  if (Date.now() - heard < 20000) return;
  try {
    takeStatus(await api('status'));
    hear();
  } catch {
    lost();
  }
}

// follow shows what is in the address: at the start, after a link, and after back and forward.
function follow() {
  const before = state.detail;
  readAddress();
  showUpstreams();
  showDetail();
  if (before === null || state.detail !== null) return;
  // The target of the address was hidden until now.
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
  backTo(before);
}

document.documentElement.classList.add('script');
readAddress();
showDetail();
addEventListener('hashchange', follow);
if (matchMedia('(max-width: 560px)').matches) $('history-fold').open = location.hash === '#history';
$('search').addEventListener('input', search);
$('search').addEventListener('submit', (event) => event.preventDefault());
$('diff-form').addEventListener('submit', showDiff);
document.querySelector('nav [href="#history"]').addEventListener('click', () => { $('history-fold').open = true; });
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input:not([type=radio], [type=checkbox]), select, textarea, dialog');
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === '/' && !typing) {
    event.preventDefault();
    if (state.detail !== null) leave();
    follow();
    $('q').focus();
    $('q').select();
  } else if (event.key === 'Escape' && state.detail !== null && !document.querySelector('dialog')) {
    leave();
  }
});
tick();
setInterval(tick, 10000);
setInterval(check, 5000);
connect();
