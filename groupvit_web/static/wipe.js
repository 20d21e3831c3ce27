// Two pictures on top of each other; a range input over both moves the border between them, by
// mouse, touch and keyboard.
const find = (selector) => element.querySelector(selector);
const range = find('.wipe-range');
const place = () => element.style.setProperty('--wipe', `${range.value}%`);

function draw() {
  const {left, right} = props.value || {};
  find('.wipe').hidden = !left;
  if (!left) return;
  for (const [side, view] of Object.entries({left, right})) {
    const image = find(`.wipe-${side}`);
    image.src = view.src;
    image.alt = view.alt;
    find(`.wipe-${side}-title`).textContent = view.title;
  }
  place();
}

range.addEventListener('input', place);
watch('value', draw);
draw();
