/* The policies' forms: Escape closes, focus goes back to where the form was opened, the tier says its range. */
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
  document.addEventListener('change', e => {
    if (!e.target.matches('[data-tiers]')) return;
    const help = document.getElementById('base_ttl_s-h'); if (help) help.textContent = e.target.selectedOptions[0].dataset.help;
  });
})();
