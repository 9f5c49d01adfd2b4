/* Behaviour of every page that is not htmx: theme, menus, shortcuts, toasts, copying, focus. */
(() => {
  const root = document.documentElement, $ = s => document.querySelector(s), on = (name, f, where = document) => where.addEventListener(name, f);
  const store = { get: k => { try { return localStorage.getItem(k); } catch { return null; } }, set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* storage is off: it lasts for this page */ } } };

  // theme
  document.querySelectorAll('input[name=theme]').forEach(i => { i.checked = i.value === root.dataset.theme; });
  on('change', e => { if (e.target.name !== 'theme') return; store.set('theme', e.target.value); root.dataset.theme = e.target.value; document.dispatchEvent(new Event('themechange')); });

  // menus open under their button
  document.querySelectorAll('.menu[popover]').forEach(m => on('toggle', e => {
    if (e.newState !== 'open') return;
    const b = $(`[popovertarget="${m.id}"]`).getBoundingClientRect(); m.style.left = Math.max(8, Math.min(b.left, innerWidth - m.offsetWidth - 8)) + 'px'; m.style.top = (b.bottom + m.offsetHeight + 12 > innerHeight && b.top > m.offsetHeight + 12 ? b.top - m.offsetHeight - 8 : b.bottom) + 'px';
  }, m));

  // shortcuts: single keys, never inside a field, and they can be switched off
  const help = $('#shortcuts'), box = $('[data-single-keys]'), go = { o: 'overview', k: 'keys', f: 'forecast', s: 'slow_log', l: 'clients', m: 'commands', p: 'policies', i: 'invalidate', a: 'audit', c: 'caches', u: 'users' }; let g = 0;
  if (box) { box.checked = store.get('keys') !== 'off'; box.onchange = () => store.set('keys', box.checked ? 'on' : 'off'); }
  on('click', e => { if (e.target.closest('[data-shortcuts]')) help.showModal(); if (e.target === help) help.close(); });
  on('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || help?.open || store.get('keys') === 'off' || e.target.matches?.('input:not([type=radio], [type=checkbox]), textarea, select')) return;
    const range = $('.head .seg [aria-current]');
    if (e.key === '?') help?.showModal();
    else if (e.key === '/') { const s = $('[data-search]'); if (s) { e.preventDefault(); s.focus(); } }
    else if (e.key === '[') range?.previousElementSibling?.click();
    else if (e.key === ']') range?.nextElementSibling?.click();
    else if (Date.now() - g < 900 && go[e.key]) $(`[data-go="${go[e.key]}"]`)?.click();
    else if (e.key === 'p') $('[data-live]')?.click();
    else if (e.key === 'g') g = Date.now();
  });

  // toasts: at most three; good news leaves after 6 s unless somebody is reading it
  const toasts = $('#toasts');
  function age(t) { let timer; const start = () => { timer = setTimeout(() => t.remove(), 6000); }, stop = () => clearTimeout(timer); if (t.dataset.toast === 'ok') { start(); on('mouseenter', stop, t); on('focusin', stop, t); on('mouseleave', start, t); on('focusout', start, t); } }
  if (toasts) { toasts.querySelectorAll('.toast').forEach(age); new MutationObserver(list => { list.forEach(r => r.addedNodes.forEach(n => n.dataset?.toast && age(n))); while (toasts.children.length > 3) toasts.firstElementChild.remove(); }).observe(toasts, { childList: true }); }
  on('click', e => e.target.closest('[data-dismiss]')?.closest('.toast').remove());

  // copy buttons
  on('click', async e => {
    const b = e.target.closest('[data-copy]'); if (!b) return;
    const code = document.getElementById(b.dataset.copy);
    try { await navigator.clipboard.writeText(code.textContent); b.dataset.done = ''; setTimeout(() => delete b.dataset.done, 1500); } catch { getSelection().selectAllChildren(code); }
  });

  // what somebody unfolded stays open when a live round brings it anew
  let unfolded = [];
  on('htmx:before:swap', () => { unfolded = [...document.querySelectorAll('details[id][open]')].map(d => d.id); });
  on('htmx:after:swap', () => unfolded.forEach(id => document.getElementById(id)?.setAttribute('open', '')));

  // focus: to what is wrong in a refused form; and after a swap that took the focused element away, to the new part's heading
  const wrong = where => (where.querySelector?.('[aria-invalid="true"]') || where.querySelector?.('[data-focus]'))?.focus();
  wrong(document); let held = null;
  // a form led to a part of the page: there its answer is
  on('load', () => setTimeout(() => {
    const led = document.activeElement === document.body && $(':target')?.querySelector('h1, h2, h3');
    if (led) { led.tabIndex = -1; led.focus({ preventScroll: true }); }
  }), window);
  on('htmx:before:swap', e => { held = e.detail.tasks.map(t => t.target).find(t => t instanceof Element && t.contains(document.activeElement) && t !== document.body) || null; if (held) held = held.id || null; });
  on('htmx:after:swap', e => {
    const part = held && document.getElementById(held); held = null;
    const { request, sourceElement } = e.detail.ctx;
    if (request.method !== 'GET' && !sourceElement?.matches('[data-quiet]')) wrong(part || document);  // data-quiet: asked while somebody types
    if (!part || document.activeElement !== document.body) return;
    const h = part.querySelector('h1, h2, h3') || part; h.tabIndex = -1; h.focus({ preventScroll: true });
  });
})();
