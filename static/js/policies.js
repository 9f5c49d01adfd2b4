/* The policies' forms: Escape closes, focus goes back to where the form was opened, the tier says its range, a wrong field says so, a bypass counts down. */
(() => {
  // What was typed and not staged goes only with a yes: on Escape, by a link, by another form, and by leaving the page.
  // data-unsaved: the server sent back what was typed. Cancel inside a form is a yes for that form already.
  let leaving = false;
  const first = options => options.some(o => o.defaultSelected) ? o => o.defaultSelected : o => o === options[0];
  const differs = f => f.type === 'radio' || f.type === 'checkbox' ? f.checked !== f.defaultChecked : f.tagName === 'SELECT' ? f.selectedOptions[0] !== [...f.options].find(first([...f.options])) : f.type !== 'hidden' && f.value !== f.defaultValue;
  const dirty = where => [...where.querySelectorAll('form[data-guard]')].filter(form => 'unsaved' in form.dataset || [...form.elements].some(f => f.name && f.name !== 'keys' && differs(f)));
  const may = (where, own) => leaving || !dirty(where).some(form => form !== own) || (leaving = confirm('What you typed is not staged yet. Throw it away?'));
  const target = e => document.querySelector(e.getAttribute('hx-target')) || document;
  const refuse = e => { e.preventDefault(); e.stopImmediatePropagation(); };
  const hold = e => { if (!leaving && dirty(document).length) e.preventDefault(); };
  const watch = () => { leaving = false; removeEventListener('beforeunload', hold); if (dirty(document).length) addEventListener('beforeunload', hold); };
  watch();
  document.addEventListener('input', e => { if (e.target.closest('[data-guard]')) watch(); });
  document.addEventListener('htmx:error', watch);
  document.addEventListener('htmx:after:swap', e => { if (!e.detail.ctx.sourceElement?.matches('[hx-trigger]')) watch(); });
  document.addEventListener('click', e => {
    const a = e.target.closest('a[href]'), own = a?.closest('form[data-guard]');
    if (!a || e.ctrlKey || e.metaKey || e.shiftKey || a.target || /^#|\/export\?/.test(a.getAttribute('href'))) return;
    if (!may(target(a), own)) refuse(e); else if (own) leaving = true;
  }, true);
  document.addEventListener('submit', e => { if (!may(e.target.method === 'get' ? target(e.target) : document, e.target)) refuse(e); else if (e.target.method === 'post') leaving = true; }, true);

  let back = null;
  const opener = () => document.querySelector('[aria-controls="policies-editor"]') || document.getElementById('edit-new');
  document.addEventListener('keydown', e => {
    if (e.key !== 'Escape' || e.defaultPrevented || document.querySelector('dialog[open], .menu:popover-open')) return;
    const close = (e.target.closest?.('.editor, .drawer') || document.querySelector('.editor, .drawer'))?.querySelector('[data-close]');
    if (close) { e.preventDefault(); if (may(document, null)) close.click(); }
  });
  document.addEventListener('click', e => { if (e.target.closest('.editor [data-close], [aria-expanded="true"][aria-controls="policies-editor"]')) back = opener()?.id; });
  document.addEventListener('htmx:after:swap', () => { if (!back || document.getElementById('policies-editor')) return; document.getElementById(back)?.focus(); back = null; });
  // The preview's answer names what can't be used as it stands; what it no longer names is right again.
  document.addEventListener('htmx:after:swap', () => {
    const marks = document.querySelector('#policies-preview-note [data-marks]'), form = document.getElementById('policy-form');
    for (const field of marks && form ? form.querySelectorAll('.field [name]:not([type=radio], [type=checkbox])') : []) {
      const id = field.id, said = marks.querySelector(`[data-for="${id}"]`), help = document.getElementById(`${id}-h`);
      let error = document.getElementById(`${id}-e`);
      if (!id || !said && !error) continue;
      if (!said) { error.remove(); field.removeAttribute('aria-invalid'); } else {
        if (!error) { error = said.cloneNode(); error.id = `${id}-e`; field.closest('.field').append(error); }
        error.replaceChildren(...said.cloneNode(true).childNodes); field.setAttribute('aria-invalid', 'true');
      }
      if (help) help.hidden = !!said;
      const by = said ? error : help; by ? field.setAttribute('aria-describedby', by.id) : field.removeAttribute('aria-describedby');
    }
    marks?.remove();
  });
  // A bypass counts down by the second; each live round sets it right, and the end asks for what comes after.
  const ends = new WeakMap();
  setInterval(() => document.querySelectorAll('[data-left]').forEach(e => {
    if (ends.get(e)?.said !== e.dataset.left) ends.set(e, { said: e.dataset.left, at: performance.now() + 1e3 * e.dataset.left });
    const s = Math.max(0, Math.ceil((ends.get(e).at - performance.now()) / 1e3)), h = Math.floor(s / 3600), m = Math.floor(s % 3600 / 60);
    const text = [h && `${h} h`, m && `${m} m`, !h && (s % 60 || !m) && `${s % 60} s`].filter(Boolean).join(' ');
    if (text === e.textContent) return;
    e.textContent = text; if (!s) document.dispatchEvent(new Event('live'));
  }), 250);
  document.addEventListener('change', e => {
    if (!e.target.matches('[data-tiers]')) return;
    const help = document.getElementById('base_ttl_s-h'); if (help) help.textContent = e.target.selectedOptions[0].dataset.help;
  });
})();
