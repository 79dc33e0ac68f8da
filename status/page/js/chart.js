import { $, clock, el, fill, now, t, took } from './dom.js';
import { state } from './state.js';

// chart draws servers in (up) and out (down), generations (dots between), and below how long each
// change took to be live.
export function chart() {
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
