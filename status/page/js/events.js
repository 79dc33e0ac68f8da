// The newest changes of all upstreams.

import { showChanges, fold } from './changes.js';
import { chart } from './chart.js';
import { $, button, keyed, t } from './dom.js';
import { state } from './state.js';

const changesAtFirst = 12;

export function showEvents() {
  const rows = fold(state.events);
  const more = !state.allEvents && rows.length > changesAtFirst;
  showChanges($('lately-list'), more ? rows.slice(0, changesAtFirst) : rows);
  keyed($('lately-more'), more ? ['more'] : [], String, () => button(t('show_all'), () => {
    state.allEvents = true;
    showEvents();
  }));
  chart();
}
