// Whether a run can be stopped, on the page's root, for what is only said meanwhile.
const sidebar = element.closest('#sidebar');
const look = () => document.documentElement.toggleAttribute('data-computing', Boolean(sidebar.querySelector('#stop:enabled')));
new MutationObserver(look).observe(sidebar, { subtree: true, childList: true, attributes: true, attributeFilter: ['disabled'] });
look();
