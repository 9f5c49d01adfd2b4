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

  // The server is away when no answer comes, or only a proxy's; the next good answer takes the banner down.
  const lost = is => { if (away) away.hidden = !is; show(); };
  document.addEventListener('htmx:error', e => { if (e.detail.ctx) lost(true); });
  document.addEventListener('htmx:after:request', e => {
    const { response, sourceElement } = e.detail.ctx; lost(response.status >= 502);
    // what the page shows was removed meanwhile: the whole page says so
    if (response.status === 404 && sourceElement?.matches('[hx-trigger^=live]')) location.reload();
  });
})();
