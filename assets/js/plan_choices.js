// Hands the pattern that each layer is to have to the plan's canvas, which keeps it until it is drawn; shows nothing.
function load() {
  if (!props.value) return;
  eggs.plan = JSON.parse(props.value);
  document.dispatchEvent(new CustomEvent('eggs-plan'));
}
watch('value', load);
load();
