/* The form of a purge: an upload under way says so. The last step: who types a time has chosen it. */
document.addEventListener('submit', e => {
  const button = e.target.querySelector('[data-busy]'), file = e.target.querySelector('[type=file]'); if (!button || !file?.files.length || e.defaultPrevented) return;
  const words = button.querySelector('span'), before = words.textContent; words.textContent = button.dataset.busy; button.setAttribute('aria-busy', 'true');
  setTimeout(() => { button.disabled = true; });
  addEventListener('pageshow', () => { words.textContent = before; button.disabled = false; button.removeAttribute('aria-busy'); }, { once: true });  // back again
});
document.addEventListener('input', e => { const radio = e.target.closest('.choice')?.querySelector('[type=radio]'); if (radio && radio !== e.target) radio.checked = true; });
