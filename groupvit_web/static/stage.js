// The large picture and the views to choose from. The value holds the views that the threshold
// changes; the others come from the component "maps" as events, so that a slider resends little.
const find = (selector) => element.querySelector(selector);
const image = find('.stage-image');
const marker = find('.stage-marker');
const caption = find('.stage-caption');
const bar = find('.views');
let maps = {size: [0, 0], groups: [], others: []};
let shown = 'words';
let point = null; // [row, column] in pixels of the picture

function views() {
  const own = (props.value && props.value.views) || [];
  return own.length ? [own[0], ...maps.groups, ...own.slice(1), ...maps.others] : [];
}

function thumbnail(view) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'view';
  button.dataset.view = view.id;
  const picture = document.createElement('img');
  picture.alt = '';
  button.append(picture, document.createElement('span'));
  button.addEventListener('click', () => {
    shown = view.id;
    draw();
  });
  return button;
}

function drawBar(all) {
  const ids = all.map((view) => view.id).join('\n');
  if (bar.dataset.ids !== ids) {
    bar.replaceChildren(...all.map(thumbnail));
    bar.dataset.ids = ids;
  }
  all.forEach((view, i) => {
    const button = bar.children[i];
    const [picture, title] = button.children;
    if (picture.src !== view.src) picture.src = view.src;
    title.textContent = view.title;
    button.setAttribute('aria-pressed', String(view.id === shown));
  });
}

function drawMarker() {
  marker.hidden = !point || image.hidden;
  if (marker.hidden) return;
  const [height, width] = maps.size;
  marker.style.top = `${((point[0] + 0.5) / height) * 100}%`;
  marker.style.left = `${((point[1] + 0.5) / width) * 100}%`;
}

function draw() {
  const all = views();
  if (all.length && !all.some((view) => view.id === shown)) shown = all[0].id;
  const view = all.find((each) => each.id === shown);
  image.hidden = !view;
  find('.stage-empty').hidden = Boolean(view);
  if (view) {
    image.src = view.src;
    image.alt = view.alt;
    caption.textContent = view.caption;
    const [height, width] = maps.size;
    if (height) image.style.aspectRatio = `${width} / ${height}`;
    // Small pictures are shown larger with sharp pixels, as the masks have them.
    image.classList.toggle('is-small', Math.max(height, width) < 200);
    element.style.setProperty('--ratio', height ? width / height : 1);
  }
  drawBar(all);
  drawMarker();
}

image.addEventListener('click', (event) => {
  const box = image.getBoundingClientRect();
  const [height, width] = maps.size;
  const at = (offset, side, count) =>
    Math.min(count - 1, Math.max(0, Math.floor((offset / side) * count)));
  const row = at(event.clientY - box.top, box.height, height);
  const column = at(event.clientX - box.left, box.width, width);
  point = [row, column];
  drawMarker();
  trigger('pick', {row, column});
});
document.addEventListener('groupvit:maps', (event) => {
  const changed = maps.key !== event.detail.key;
  maps = event.detail;
  if (changed) point = null;
  draw();
});
document.addEventListener('groupvit:point', (event) => {
  point = event.detail;
  drawMarker();
});
watch('value', draw);
draw();
