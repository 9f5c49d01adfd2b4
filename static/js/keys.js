/* The Keys page: arrows move in the list and the tree, Escape closes, a TTL counts down, ticks are counted, the open key's row is marked. */
(() => {
  const on = (name, f) => document.addEventListener(name, f), id = i => document.getElementById(i), seen = e => e?.checkVisibility();
  const rows = () => [...document.querySelectorAll('#keys-list tbody a.k')], nodes = () => [...document.querySelectorAll('.tree a')].filter(seen);
  const step = (all, at, by) => all[Math.max(0, Math.min(all.length - 1, all.indexOf(at) + by))]?.focus();

  on('keydown', e => {
    const at = e.target, key = e.key;
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || document.querySelector('dialog[open], .menu:popover-open')) return;
    if (key === 'Escape') {
      const close = document.querySelector('.edit-key [data-close]') || [...document.querySelectorAll('#keys-detail [data-close]')].find(seen);
      if (close && !at.matches('#q')) { e.preventDefault(); close.click(); }
      return;
    }
    if (at.matches('textarea, select, input:not([type=checkbox]):not(#q)')) return;
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }[key];
    if (at.closest('.tree')) {
      const fold = at.closest('li').querySelector(':scope > details');
      if (key === 'ArrowRight' && fold) fold.open ? fold.querySelector('a')?.focus() : fold.open = true;
      else if (key === 'ArrowLeft') fold?.open ? fold.open = false : at.closest('details')?.closest('li').querySelector('a').focus();
      else if (by) step(nodes(), at, by); else return;
      e.preventDefault();
    } else if (by && at.matches('#q')) { if (key === 'ArrowDown') { e.preventDefault(); rows()[0]?.focus(); } }
    else if (by && (at.matches('a.k, #keys-list tbody input') || at === document.body || at.id === 'ticked')) {
      const now = at.closest('tr')?.querySelector('a.k') || document.querySelector('tr[aria-selected] a.k'); if (!rows().length) return;
      e.preventDefault(); now ? step(rows(), now, by) : rows()[0].focus();
    } else if (key === ' ' && at.matches('a.k')) { const box = at.closest('tr').querySelector('input'); if (box && !box.disabled) { e.preventDefault(); box.click(); } }
  });

  // What was typed into a value's form goes only with a yes. A form that came back refused counts as typed.
  let sent = false;
  const dirty = () => !sent && [...id('edit-form')?.elements || []].some(f => 'unsaved' in f.dataset || f.matches('textarea, input:not([type=hidden], [type=checkbox])') && f.value !== f.defaultValue);
  document.addEventListener('click', e => {
    const a = e.target.closest('a[href]');
    if (a && !a.download && !e.ctrlKey && !e.metaKey && !e.shiftKey && dirty()) { if (confirm('What you typed is not saved yet. Throw it away?')) sent = true; else { e.preventDefault(); e.stopImmediatePropagation(); } }
  }, true);
  on('submit', e => { if (e.target.method === 'post') sent = true; });
  addEventListener('beforeunload', e => { if (dirty()) e.preventDefault(); });

  // ticks
  const boxes = () => [...document.querySelectorAll('#ticked tbody input')];
  function count() {
    const n = boxes().filter(b => b.checked).length, b = document.querySelector('[data-ticked]'), all = document.querySelector('[data-all]');
    if (b) { b.hidden = !n; b.querySelector('[data-count]').textContent = n; }
    if (all) { all.checked = n > 0 && n === boxes().length; all.indeterminate = n > 0 && !all.checked; }
  }
  on('change', e => { if (e.target.matches('[data-all]')) boxes().forEach(b => { if (!b.disabled) b.checked = e.target.checked; }); if (e.target.closest('#ticked')) count(); });

  // which row is open; a pane that is not seen gives the focus on
  let last = null;
  function mark() {
    const open = id('keys-detail')?.dataset.open;
    for (const a of rows()) { const tr = a.closest('tr'), is = open !== undefined && tr.dataset.key === open; tr.toggleAttribute('aria-selected', is); if (is) { tr.setAttribute('aria-selected', 'true'); a.setAttribute('aria-current', 'true'); last = a; } else a.removeAttribute('aria-current'); }
    const at = document.activeElement;
    if (id('keys-detail')?.classList.contains('open') ? at !== document.body && !seen(at) : false) id('keys-detail-h').focus();
    if (open === undefined && (at === document.body || at.id === 'keys-detail-h') && seen(last) && last.isConnected) last.focus();
  }
  const fresh = () => { mark(); count(); const row = document.querySelector('tr[aria-selected]'); row?.scrollIntoView({ block: 'nearest' }); document.querySelector('.tree [aria-current]')?.scrollIntoView({ block: 'nearest' }); const form = id('edit-form'); if (form && !form.contains(document.activeElement)) (form.querySelector('[aria-invalid], textarea, input:not([type=hidden])'))?.focus(); };
  on('htmx:after:swap', () => { sent = false; fresh(); }); fresh();

  // A TTL counts down by the second; at its end the key is read again.
  const ends = new WeakMap(), two = n => String(n).padStart(2, '0');
  setInterval(() => document.querySelectorAll('[data-ttl]').forEach(e => {
    if (ends.get(e)?.said !== e.dataset.ttl) ends.set(e, { said: e.dataset.ttl, at: performance.now() + 1e3 * e.dataset.ttl });
    const s = Math.max(0, Math.floor((ends.get(e).at - performance.now()) / 1e3)), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
    e.textContent = d ? `${d} d ${two(h)} h ${two(m)} m` : h ? `${h} h ${two(m)} m ${two(s % 60)} s` : m ? `${m} m ${two(s % 60)} s` : `${s} s`;
    if (!s && !e.dataset.over && !id('edit-form')) { e.dataset.over = '1'; setTimeout(() => document.querySelector('#keys-detail [data-again]')?.click(), 1500); }
  }), 250);
})();
