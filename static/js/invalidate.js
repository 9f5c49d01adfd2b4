/* The last step of a purge: who types a time has chosen it. */
document.addEventListener('input', e => { const radio = e.target.closest('.choice')?.querySelector('[type=radio]'); if (radio && radio !== e.target) radio.checked = true; });
