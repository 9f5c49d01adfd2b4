/* The policies' forms: Escape closes, focus goes back to where the form was opened, the tier says its range, a wrong field says so, a bypass counts down. */
(() => {
  let back = null;
  const opener = () => document.querySelector('[aria-controls="policies-editor"]') || document.getElementById('edit-new');
  document.addEventListener('keydown', e => {
    if (e.key !== 'Escape' || e.defaultPrevented || document.querySelector('dialog[open], .menu:popover-open')) return;
    const close = (e.target.closest?.('.editor, .drawer') || document.querySelector('.editor, .drawer'))?.querySelector('[data-close]');
    if (close) { e.preventDefault(); close.click(); }
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
