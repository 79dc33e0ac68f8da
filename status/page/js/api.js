// Requests to the API, and dialogs.

import { $, button, el, fill, lang, reason, t, wrong } from './dom.js';

const remembered = 'swallowkeeper-token';

// A link may have the token in its fragment, which browsers do not send. It is removed from the address.
const brought = new URLSearchParams(location.hash.slice(1)).get('token');
if (brought) {
  sessionStorage.setItem(remembered, brought);
  history.replaceState(null, '', location.pathname + location.search);
}

// inOurs requests reasons in the page's language.
export const inOurs = (path) => `/api/v1/${path}${path.includes('?') ? '&' : '?'}lang=${lang}`;

// api returns the answer of the API. Anything but GET is a change, and asks for the token if necessary.
export async function api(path, method = 'GET', body = undefined) {
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
      response = await fetch(inOurs(path), request);
    } catch {
      throw new Error(t('error.unreachable'));
    }
    if (response.ok) return response.status === 204 ? null : response.json();
    const words = await spoken(response);
    // 403 is not about a wrong token: none is configured, or the request is cross-site.
    if (response.status !== 401 || !await askToken(token ? words : '')) {
      throw Object.assign(new Error(words), { status: response.status });
    }
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

async function askToken(answer) {
  const input = el('input', { type: 'password', id: 'token', autocomplete: 'off', required: true });
  const yes = await ask(t('token.title'), [
    el('p', {}, t('token.text')), reason(answer && t('token.answer', { text: answer })),
    el('label', { class: 'field', for: 'token' }, t('token'), input),
  ], t('continue'));
  if (!yes) return false;
  sessionStorage.setItem(remembered, input.value.trim());
  return true;
}

// act requests a change and shows the result.
export async function act(method, path, body, done) {
  try {
    const answer = await api(path, method, body);
    say('ok', ...done(answer));
  } catch (error) {
    say('bad', t('error', { text: error.message }));
  }
}

export function say(level, ...lines) {
  const message = el('div', { class: `message ${level}` }, el('div', {}, lines.map((line) => wrong(line, line))),
    button(t('close'), () => message.remove()));
  fill($('messages'), message);
}

// ask shows a dialog, and returns true if its button was pressed. Without a button it only informs.
// Nothing else confirms: Enter in a field does nothing, and without a field Cancel has the focus.
export function ask(title, content, ok, danger) {
  return new Promise((resolve) => {
    const agree = ok && button(ok, () => dialog.close('ok'), { class: danger ? 'danger' : 'primary' });
    const cancel = button(t(ok ? 'cancel' : 'close'), () => dialog.close(''), { class: 'cancel' });
    const dialog = el('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => {
      resolve(dialog.returnValue === 'ok');
      dialog.remove();
    }, onkeydown: (event) => {
      // The Enter key that opened the dialog may still be pressed.
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
