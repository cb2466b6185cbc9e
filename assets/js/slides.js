() => {
  // The lesson alone, as large as the screen allows; Page Down and Page Up, which presenters' remotes send, change the step.
  const lesson = document.querySelector('#lesson');
  const shown = () => document.fullscreenElement === lesson || lesson.classList.contains('slides');
  if (!lesson.dataset.remote) {
    lesson.dataset.remote = 'on';
    document.addEventListener('keydown', event => {
      const button = { PageDown: '#lesson-next', PageUp: '#lesson-back', Escape: '#lesson-slides' }[event.key];
      if (!button || !shown() || (event.key === 'Escape' && document.fullscreenElement)) return;
      event.preventDefault();
      lesson.querySelector(button).click();
    });
    const rename = () => { lesson.querySelector('#lesson-slides').textContent = shown() ? 'Leave full screen' : 'Full screen'; };
    document.addEventListener('fullscreenchange', rename);
    new MutationObserver(rename).observe(lesson, { attributeFilter: ['class'] });
  }
  if (document.fullscreenElement) document.exitFullscreen();
  else if (lesson.classList.contains('slides')) lesson.classList.remove('slides');
  else if (lesson.requestFullscreen) lesson.requestFullscreen().catch(() => lesson.classList.add('slides'));
  else lesson.classList.add('slides');  // phones that only let videos fill the screen
}
