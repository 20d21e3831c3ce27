// Hands the views that do not depend on the threshold to the stage.
const send = () =>
  props.value && document.dispatchEvent(new CustomEvent('groupvit:maps', {detail: props.value}));
watch('value', send);
send();
