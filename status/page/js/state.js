// The state of the page.

export const shownAtFirst = 100; // cards; the server shows as many, and so for what follows

export const state = {
  status: null, upstreams: [], history: null, events: [], activity: [], // a null is not read yet
  read: false, // the upstreams were
  shown: shownAtFirst, allEvents: false,
  open: new Map(), // by upstream: the address whose detail is shown
  // The part in the address.
  query: '', only: '', sort: 'trouble', view: 'cards', selected: new Set(), justSelected: false,
  detail: null, // the name of the upstream that is shown by itself
};
