/* All charts go through here; nothing else on a page knows uPlot.
   #series holds the numbers once for all charts: times, columns, events, the span. Each .plot holds what to draw of them. */
(() => {
  const block = document.getElementById('series'), root = document.documentElement;
  if (!block || !window.uPlot) return;
  const FONT = '11px "Inter Variable", system-ui, sans-serif', DAY = 86400;
  const probe = document.createElement('i'); probe.hidden = true; document.body.append(probe);
  const css = v => { probe.style.color = v.startsWith('--') ? `var(${v})` : v; return getComputedStyle(probe).color; };
  const alpha = (v, a) => css(`color-mix(in srgb, var(${v}) ${a * 100}%, transparent)`);
  const two = n => String(n).padStart(2, '0'), MON = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
  const day = t => { const d = new Date(t * 1e3); return `${MON[d.getUTCMonth()]} ${d.getUTCDate()}`; };
  const clock = (t, s) => { const d = new Date(t * 1e3); return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}${s ? ':' + two(d.getUTCSeconds()) : ''}`; };
  const stamp = t => (S.to - S.from > DAY ? day(t) + ', ' : '') + clock(t, S.step < 60);
  const num = v => { const a = Math.abs(v); return a >= 99.95 || !a ? Math.round(v).toLocaleString('en-US') : a < .005 ? '<0.01' : String(+v.toFixed(a < .995 ? 2 : 1)); };
  const el = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text != null) e.textContent = text; return e; };
  const all = [];

  /* The numbers. Times come as differences; a hole in them becomes a row of nulls, so that no line crosses it. */
  const S = { t: [], c: {}, e: [] };
  function take(part) {
    const names = [...new Set([...Object.keys(S.c), ...Object.keys(part.c)])], column = k => part.c[k] ?? part.c[k.replace(/_(min|max)$/, '')], since = part.t.length ? part.t[0] / 10 : Infinity, keep = S.t.findIndex(t => t >= since), n = keep < 0 ? S.t.length : keep;
    S.t.length = n; for (const k of names) { S.c[k] ??= Array(n).fill(null); S.c[k].length = n; }
    const marks = new Map([...S.e, ...part.e].map(e => [e.t + e.title, e]));    // an append brings only the latest
    Object.assign(S, { from: part.from, to: part.to, step: part.step, e: [...marks.values()].filter(e => e.t >= part.from).sort((a, b) => a.t - b.t) });
    const push = (t, i) => { S.t.push(t); for (const k of names) S.c[k].push(i < 0 ? null : column(k)?.[i] ?? null); };
    let n10 = 0;                                                 // tenths of a second, so that sums stay exact
    part.t.forEach((d, i) => { n10 += d; const t = n10 / 10, last = S.t.at(-1); if (last != null && t - last > 2.5 * part.step) push(last + part.step, -1); push(t, i); });
    let drop = S.t.findIndex(x => x >= S.from - S.step); if (drop < 0) drop = S.t.length;
    S.t.splice(0, drop); for (const k in S.c) S.c[k].splice(0, drop);
    S.hole = S.t.map((_, i) => names.every(k => S.c[k][i] == null));
    // until now nothing came for too long: the line ends, and the rest is a hole as well
    const last = S.t.at(-1); S.tail = last != null && S.to - last > 2.5 * S.step ? last : null;
    document.dispatchEvent(new CustomEvent('seriestaken'));
  }
  const holes = () => {
    const out = []; let i = 0;
    for (; i < S.t.length; i++) if (S.hole[i]) { let j = i; while (j < S.t.length && S.hole[j]) j++; out.push([S.t[Math.max(0, i - 1)], S.t[j] ?? S.to]); i = j; }
    if (S.tail != null && !S.hole.at(-1)) out.push([S.tail, S.to]);
    if (S.t.length && S.t[0] - S.from > 2.5 * S.step) out.unshift([S.from, S.t[0]]);
    return out;
  };
  const columns = cfg => [S.t, ...cfg.series.map(s => s.col), ...cfg.series.flatMap(s => s.lo ? [s.lo, s.hi] : [])].map((k, i) => i ? (S.c[k] || S.t.map(() => null)).map(v => v == null ? null : v / cfg.div) : k);
  const say = (cfg, k, i) => { const v = i < 0 ? null : S.c[cfg.series[k].col]?.[i]; return v == null ? (i < 0 || S.hole[i] ? 'no data' : cfg.none || 'n/a') : num(v / cfg.div) + cfg.unit; };
  const now = () => S.tail == null ? S.t.length - 1 : -1;

  /* Scales. */
  function nice(span, n) { const raw = span / n, p = 10 ** Math.floor(Math.log10(raw)), m = raw / p; return (m <= 1 ? 1 : m <= 2 ? 2 : m <= 2.5 ? 2.5 : m <= 5 ? 5 : 10) * p; }
  function yRange(cfg, data) {
    let lo = Infinity, hi = -Infinity;
    for (const col of data.slice(1)) for (const v of col) if (v != null) { if (v < lo) lo = v; if (v > hi) hi = v; }
    if (cfg.threshold?.inside) { lo = Math.min(lo, cfg.threshold.v); hi = Math.max(hi, cfg.threshold.v); }
    if (lo > hi) { lo = 0; hi = 1; }
    if (cfg.high != null) { const step = 10, floor = Math.min(cfg.low, Math.floor(lo / step) * step); return [Math.max(0, floor), cfg.high]; }
    if (cfg.zoom && hi > 0 && lo / hi > .3) { const pad = Math.max((hi - lo) * .15, hi * .02), s = nice(hi - lo + 2 * pad, 4); return [Math.max(0, Math.floor((lo - pad) / s) * s), hi + pad]; }
    return [0, hi > 0 ? hi * 1.12 : 1];
  }
  const ySplits = ([lo, hi]) => { const s = nice(hi - lo, 5), out = []; for (let v = Math.ceil(lo / s - 1e-9) * s; v <= hi + 1e-9; v += s) out.push(+v.toPrecision(12)); return out; };
  const STEPS = [10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY, 30 * DAY];
  function xSplits(width, space) { const span = S.to - S.from, s = STEPS.find(v => width * v / span >= space) || 90 * DAY, out = []; for (let t = Math.ceil(S.from / s) * s; t <= S.to; t += s) if ((S.to - t) / span * width + 14 > 3.2 * xLabel(t, s).length) out.push(t); return out; }
  const xLabel = (t, s) => t % DAY ? clock(t, s < 60) : day(t);

  /* Drawn under the lines: holes, midnights, what lies below a target. */
  function under(cfg) {
    return u => {
      const { ctx, bbox: b } = u, px = devicePixelRatio, X = t => u.valToPos(t, 'x', true), t = cfg.threshold;
      ctx.save(); ctx.beginPath(); ctx.rect(b.left, b.top, b.width, b.height); ctx.clip(); ctx.lineWidth = px;
      for (const [a, z] of holes()) {
        ctx.fillStyle = css('--inset'); ctx.fillRect(X(a), b.top, X(z) - X(a), b.height);
        ctx.strokeStyle = css('--line-2'); ctx.setLineDash([2 * px, 3 * px]); ctx.beginPath(); for (const q of [X(a), X(z)]) { ctx.moveTo(q, b.top); ctx.lineTo(q, b.top + b.height); } ctx.stroke(); ctx.setLineDash([]);
      }
      if (S.to - S.from > DAY / 2 && S.to - S.from <= 10 * DAY) { ctx.strokeStyle = css('--line-2'); ctx.beginPath(); for (let m = Math.ceil(S.from / DAY) * DAY; m < S.to; m += DAY) { const q = Math.round(X(m)) + .5; ctx.moveTo(q, b.top); ctx.lineTo(q, b.top + b.height); } ctx.stroke(); }
      if (t?.below) {
        const ty = u.valToPos(t.v, 'y', true), x = u.data[0], y = u.data[1]; ctx.fillStyle = alpha('--crit-mark', .28);
        for (let i = 1; i < x.length; i++) {
          if (y[i] == null || y[i - 1] == null || (y[i] >= t.v && y[i - 1] >= t.v)) continue;
          let [x0, x1, y0, y1] = [x[i - 1], x[i], y[i - 1], y[i]];
          if (y0 > t.v) { x0 += (x1 - x0) * (y0 - t.v) / (y0 - y1); y0 = t.v; } else if (y1 > t.v) { x1 = x0 + (x1 - x0) * (t.v - y0) / (y1 - y0); y1 = t.v; }
          ctx.beginPath(); ctx.moveTo(X(x0), ty); ctx.lineTo(X(x0), u.valToPos(y0, 'y', true)); ctx.lineTo(X(x1), u.valToPos(y1, 'y', true)); ctx.lineTo(X(x1), ty); ctx.fill();
        }
      }
      ctx.restore();
    };
  }
  function over(cfg) {
    return u => {
      const { ctx, bbox: b } = u, px = devicePixelRatio, t = cfg.threshold; ctx.save(); ctx.lineWidth = px;
      ctx.strokeStyle = css('--text-3'); ctx.globalAlpha = cfg.main ? .9 : .5; ctx.setLineDash([px, 3 * px]);
      for (const g of groups(u)) for (const e of cfg.main && g.length < 4 ? g : [g[0]]) { const x = Math.round(u.valToPos(e.t, 'x', true)) + .5; ctx.beginPath(); ctx.moveTo(x, b.top - 2 * px); ctx.lineTo(x, b.top + b.height); ctx.stroke(); }
      ctx.globalAlpha = 1;
      if (t) { const y = Math.round(u.valToPos(t.v, 'y', true)) + .5; if (y >= b.top && y <= b.top + b.height) { ctx.strokeStyle = css(t.solid ? '--crit-mark' : '--text-2'); ctx.setLineDash(t.solid ? [] : [5 * px, 4 * px]); ctx.beginPath(); ctx.moveTo(b.left, y); ctx.lineTo(b.left + b.width, y); ctx.stroke(); } }
      ctx.restore();
    };
  }

  /* Event marks. Those that would overlap share one; more than twelve share wider. */
  function groups(u) {
    const list = S.e.filter(e => e.t >= S.from && e.t <= S.to), w = u.over.clientWidth, gap = list.length > 12 ? Math.max(26, w / 12) : 26, out = [];
    for (const e of list) { const g = out.at(-1); if (g && u.valToPos(e.t, 'x') - u.valToPos((g[0].t + g.at(-1).t) / 2, 'x') < gap) g.push(e); else out.push([e]); }
    return out;
  }
  const note = (u, cls, text) => { const e = el('span', 'note ' + cls, text); u.over.append(e); return e; };
  const place = (e, left, top) => { if (left != null) e.style.left = left + 'px'; if (top != null) e.style.top = top + 'px'; };
  function overlay(cfg) {
    return u => {
      const held = u.over.contains(document.activeElement) ? document.activeElement.dataset.at : null;
      u.over.querySelectorAll('.note:not(.chip), .mark, .tip').forEach(e => e.remove());
      const w = u.over.clientWidth, h = u.over.clientHeight, px = v => u.valToPos(v, 'x'), t = cfg.threshold;
      if (t?.label) { const y = u.valToPos(t.v, 'y'); if (y >= 0 && y <= h) { const e = note(u, t.solid ? 'limit' : 'aim', t.label); place(e, null, y + (t.solid && y > 18 ? -16 : 3)); } }
      for (const [a, z] of holes()) if (cfg.main && px(z) - px(a) > 50) place(note(u, 'ctr', 'no data'), (px(a) + px(z)) / 2, h - 18);
      if (!cfg.main) return;
      for (const g of groups(u)) {
        const x = px((g[0].t + g.at(-1).t) / 2), m = el('button', g.length > 1 ? 'mark many' : 'mark'), worst = g.reduce((a, b) => b.rank < a.rank ? b : a); m.type = 'button'; m.dataset.at = g[0].t; place(m, x, -23);
        m.setAttribute('aria-label', (g.length > 1 ? `${g.length} events: ` : '') + g.map(e => `${stamp(e.t)} ${e.title}. ${e.text}`).join('; '));
        const s = document.createElementNS('http://www.w3.org/2000/svg', 'svg'), q = document.createElementNS('http://www.w3.org/2000/svg', 'use'); s.setAttribute('class', 'i'); q.setAttribute('href', `${root.dataset.icons}#${worst.icon}`); s.append(q); m.append(s);
        const hide = () => u.over.querySelectorAll('.tip').forEach(q => q.remove());
        m.onmouseenter = m.onfocus = () => {
          hide(); const q = el('div', 'tip'); if (g.length > 1) q.append(el('p', '', `${g.length} events`));
          for (const e of g.slice(0, 6)) { const p = el('p'); p.append(el('b', '', e.title), ` · ${stamp(e.t)}`); if (e.text) p.append(el('br'), e.text); q.append(p); }
          if (g.length > 6) q.append(el('p', '', `and ${g.length - 6} more`));
          u.over.append(q); place(q, Math.min(Math.max(x - q.offsetWidth / 2, 0), w - q.offsetWidth));
        };
        m.onmouseleave = m.onblur = hide; m.onmousedown = e => e.stopPropagation();
        u.over.append(m); if (m.dataset.at === held) m.focus({ preventScroll: true });
      }
    };
  }

  /* A span chosen by dragging goes into the address; double click takes it out again. */
  function zoom(from, to) { const more = Math.max(0, 60 - (to - from)) / 2; from -= more; to += more; const q = new URL(location.href); q.searchParams.set('from', new Date(from * 1e3).toISOString().slice(0, 19) + 'Z'); q.searchParams.set('to', new Date(to * 1e3).toISOString().slice(0, 19) + 'Z'); location.assign(q); }
  function unzoom() { const q = new URL(location.href); if (q.searchParams.has('from')) { q.searchParams.delete('from'); q.searchParams.delete('to'); location.assign(q); } }

  function make(host) {
    const cfg = JSON.parse(host.querySelector('script').textContent), outs = host.closest('.chart').querySelectorAll('[data-v]');
    const line = (s, i) => ({ stroke: () => css('--s' + (i + 1)), width: 1.6, dash: i ? [5 * devicePixelRatio, 3 * devicePixelRatio] : undefined, points: { show: (u, k) => dots(u, k), size: 3.5 }, spanGaps: false, fill: s.fill ? () => alpha('--s' + (i + 1), .06) : undefined });
    // a point between two gaps has no line of its own
    const dots = (u, k) => { const d = u.data[k], out = []; for (let i = 0; i < d.length; i++) if (d[i] != null && d[i - 1] == null && d[i + 1] == null) out.push(i); return out.length > 0 && out.length < 80; };
    const edge = () => ({ stroke: 'transparent', width: 0, points: { show: false } });
    const bands = []; let k = cfg.series.length + 1;
    const lines = cfg.series.map(line); cfg.series.forEach((s, i) => { if (s.lo) { bands.push({ series: [k + 1, k], fill: () => alpha('--s' + (i + 1), .16) }); k += 2; } });
    const extra = Array.from({ length: k - 1 - lines.length }, edge), axis = { stroke: () => css('--text-3'), font: FONT, ticks: { show: false } };
    let data = columns(cfg), range = yRange(cfg, data);
    const keys = el('div', 'plot-keys'); let at = -1;
    const u = new uPlot({
      width: host.clientWidth, height: host.clientHeight, ms: 1e-3, legend: { show: false }, padding: [cfg.main ? 26 : 10, 14, 0, 0],
      tzDate: t => uPlot.tzDate(new Date(t * 1e3), 'Etc/UTC'),
      cursor: {
        y: false, drag: { x: true, y: false, setScale: false, dist: 6 }, points: { size: (u, i) => i > cfg.series.length ? 0 : 7, width: (u, i) => i > cfg.series.length ? 0 : 1.5, fill: () => css('--surface') },
        sync: { key: 'page', filters: { pub: type => type === 'mousemove' || type === 'mouseleave' } },
        bind: { dblclick: () => () => { unzoom(); return null; } },
      },
      scales: { x: { time: true, range: () => [S.from, S.to] }, y: { range: () => range } },
      axes: [
        { ...axis, size: 24, gap: 6, grid: { show: false }, splits: u => xSplits(u.over.clientWidth || host.clientWidth, S.to - S.from > DAY ? 58 : 70), values: (u, s) => s.map(t => xLabel(t, s[1] - s[0] || 3600)) },
        { ...axis, size: 46, gap: 6, grid: { stroke: () => css('--grid'), width: 1 }, splits: () => ySplits(range), values: (u, s) => s.map(v => (v >= 10000 ? +(v / 1000).toFixed(1) + 'k' : v.toLocaleString('en-US')) + cfg.tick) },
      ],
      series: [{}, ...lines, ...extra], bands,
      hooks: {
        drawAxes: [under(cfg)], draw: [over(cfg)], ready: [overlay(cfg)], setSize: [overlay(cfg)],
        setSelect: [u => { const { left, width } = u.select; if (width > 8) zoom(u.posToVal(left, 'x'), u.posToVal(left + width, 'x')); else if (width) u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false); }],
        setCursor: [u => {
          const i = u.cursor.idx, on = i != null && u.cursor.left >= 0;
          outs.forEach(o => { o.textContent = say(cfg, +o.dataset.v, on ? i : now()); });
          let c = u.over.querySelector('.chip'); if (!on) { c?.remove(); return; }
          c ||= note(u, 'chip', ''); c.textContent = stamp(u.data[0][i]); const half = c.offsetWidth / 2; place(c, Math.min(Math.max(u.valToPos(u.data[0][i], 'x'), half - 40), u.over.clientWidth - half + 12), u.over.clientHeight + 4);
        }],
      },
    }, data, host);
    u.ctx.canvas.setAttribute('aria-hidden', 'true');
    // the crosshair by keyboard: one stop per chart, the reading is spoken
    Object.entries({ role: 'slider', tabindex: '0', 'aria-label': `${cfg.title}, reading`, 'aria-valuemin': '0' }).forEach(a => keys.setAttribute(...a));
    const read = i => { at = i; keys.setAttribute('aria-valuemax', Math.max(0, S.t.length - 1)); keys.setAttribute('aria-valuenow', Math.max(0, i)); keys.setAttribute('aria-valuetext', i < 0 ? 'no data' : `${stamp(S.t[i])}: ` + cfg.series.map((s, k) => `${s.name} ${say(cfg, k, i)}`).join(', ')); };
    read(S.t.length - 1);
    const show = i => { read(Math.min(Math.max(i, 0), S.t.length - 1)); if (at >= 0) u.setCursor({ left: u.valToPos(S.t[at], 'x'), top: 10 }, true, true); };
    keys.onkeydown = e => { const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: S.t.length - 1 }[e.key]; if (to != null) { e.preventDefault(); show(to); } };
    keys.onblur = () => u.setCursor({ left: -10, top: -10 }, true, true);
    host.append(keys);
    const refresh = () => { if (u.select.width > 0) return; data = columns(cfg); range = yRange(cfg, data); u.setData(data); overlay(cfg)(u); if (u.cursor.left < 0) outs.forEach(o => { o.textContent = say(cfg, +o.dataset.v, now()); }); read(document.activeElement === keys ? Math.min(at, S.t.length - 1) : now()); };
    new ResizeObserver(() => { if (host.clientWidth && (host.clientWidth !== u.width || host.clientHeight !== u.height)) u.setSize({ width: host.clientWidth, height: host.clientHeight }); }).observe(host);
    outs.forEach(o => { o.textContent = say(cfg, +o.dataset.v, now()); });
    all.push({ u, cfg, refresh });
  }

  /* The same numbers as a table, made when somebody opens it. */
  function table(box) {
    const head = el('tr'), cells = all.flatMap(({ cfg }) => cfg.series.map((s, k) => [cfg, k, `${cfg.title}: ${s.name}`]));
    const th = (text, scope) => { const e = el('th', scope === 'col' && text !== 'UTC' ? 'num' : '', text); e.scope = scope; return e; };
    head.append(th('UTC', 'col'), ...cells.map(c => th(c[2], 'col')));
    const body = el('tbody'), step = Math.max(1, Math.ceil(S.t.length / 60));
    for (let i = S.t.length - 1; i >= 0; i -= step) { const r = el('tr'); r.append(th(stamp(S.t[i]), 'row'), ...cells.map(([cfg, k]) => el('td', 'num', say(cfg, k, i)))); body.append(r); }
    const t = el('table'), top = el('thead'); top.append(head); t.append(el('caption', 'sr', 'Readings, newest first'), top, body); box.replaceChildren(t);
  }

  take(JSON.parse(block.textContent));
  const start = () => { document.querySelectorAll('.plot[data-chart]').forEach(p => p.querySelector('script') && make(p)); };
  (document.fonts?.load ? document.fonts.load(FONT) : Promise.resolve()).then(start, start);
  document.querySelectorAll('.chart-data').forEach(d => d.addEventListener('toggle', () => { if (d.open) table(d.querySelector('.tbl')); }));
  const again = () => all.forEach(({ u }) => u.redraw(false, true));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  document.addEventListener('themechange', again);

  /* Live: ask for what came since the last reading, and extend. live.js says when. */
  const source = block.dataset.src, every = 1e3 * Math.max(+block.dataset.every || 10, Math.min(S.step, 60)); let asked = Date.now(), busy = false;
  if (source) document.addEventListener('live', async () => {
    if (busy || Date.now() - asked < every - 500) return;
    busy = true; asked = Date.now();
    try {
      // the newest bucket may still have grown: ask for it again
      const q = new URL(source, location.href), last = S.t.at(-1); if (last != null) q.searchParams.set('since', Math.floor(last));
      const r = await fetch(q, { headers: { Accept: 'application/json' } });
      if (r.status === 401) location.reload(); else if (r.ok) { const part = await r.json(); if (part.step !== S.step) { S.t = []; S.c = {}; } take(part); all.forEach(c => c.refresh()); }
    } catch { /* live.js shows that the server is away; the next round asks for everything missed */ } finally { busy = false; }
  });
})();
