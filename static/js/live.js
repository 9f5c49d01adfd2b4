/* The page's heartbeat: a "live" event while somebody looks. Panels listen with hx-trigger="live from:document", charts by themselves. */
(() => {
  const button = () => document.querySelector('[data-live]'), away = document.getElementById('away');
  let paused = false, last = Date.now();
  const beat = () => { last = Date.now(); document.dispatchEvent(new Event('live')); };
  const due = () => Date.now() - last >= 1e3 * (document.querySelector('[data-soon]') ? 1 : +button()?.dataset.live || 10) - 250;
  function show() {
    const b = button(); if (!b) return;
    b.setAttribute('aria-pressed', String(!paused)); b.title = paused ? 'Resume live updates (p)' : 'Pause live updates (p)';
    b.toggleAttribute('data-lost', away && !away.hidden);
  }
  setInterval(() => { if (button() && !paused && !document.hidden && due()) beat(); }, 500);
  document.addEventListener('visibilitychange', () => { if (!document.hidden && button() && !paused && due()) beat(); });
  document.addEventListener('click', e => { if (!e.target.closest('[data-live]')) return; paused = !paused; show(); if (!paused) beat(); });
  document.addEventListener('htmx:after:swap', show);
  document.addEventListener('live', () => { if (document.querySelector('[data-waiting]')) location.reload(); });

  // The server is away when no answer comes, or none of use to a panel that asks by itself; its next good one takes the banner down.
  // Such a panel says so, and the server then has it keep what it shows (web/errors).
  const asks = e => e?.matches?.('[hx-trigger*=live]'), failing = new Set();
  const heard = (e, isBad) => {
    const name = asks(e) ? e.id : '';
    failing.forEach(n => { if (!n || n === name || !document.getElementById(n)) failing.delete(n); });
    if (isBad) failing.add(name);
    if (away) away.hidden = !failing.size; show();
  };
  document.addEventListener('htmx:config:request', e => { const { request, sourceElement } = e.detail.ctx; if (asks(sourceElement)) request.headers['HX-Live'] = 'true'; });
  document.addEventListener('htmx:error', e => { if (e.detail.ctx) heard(e.detail.ctx.sourceElement, true); });
  document.addEventListener('htmx:after:request', e => {
    const { response: { status }, sourceElement } = e.detail.ctx, round = asks(sourceElement); heard(sourceElement, status >= (round ? 400 : 502) && status !== 401);
    // what the page shows was removed meanwhile, or may not be seen any more: the whole page says so
    if (round && (status === 403 || status === 404)) location.reload();
  });
})();
