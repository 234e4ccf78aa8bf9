// From the disk no page may read another: the search then lists its pages without excerpts.
if (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// The sidebar's toggles show an arrow and nothing to read out.
document.addEventListener('DOMContentLoaded', () => {
    for (const toggle of document.querySelectorAll('.bd-sidebar summary')) {
        const link = toggle.closest('li').querySelector('a');
        toggle.ariaLabel = `Pages of “${link.textContent.trim()}”`;
    }
});
