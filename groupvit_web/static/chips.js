// A list of words as chips: add, remove, reorder, rename, colour. The value is a list of
// {word, aliases, colour}; a new list in props.value makes Gradio send a 'change'.
const find = (selector) => element.querySelector(selector);
const list = find('.chip-list');
const field = find('.chip-field');
const editor = find('.chip-editor');
const status = find('.chip-status');
const editWord = find('.edit-word');
const editAliases = find('.edit-aliases');
const editColour = find('.edit-colour');
let edited = null; // position of the word in the editor
let dragged = null;

const words = () => props.value || [];
const trimmed = (text) => text.replace(/\s+/g, ' ').trim();
const say = (text, isError = false) => {
  status.textContent = text;
  status.classList.toggle('is-error', isError);
};
const isListed = (word, except = -1) =>
  words().some((each, i) => i !== except && each.word.toLowerCase() === word.toLowerCase());
const freeColour = (taken) =>
  props.palette.find((colour) => !taken.includes(colour)) ||
  props.palette[taken.length % props.palette.length];

function setWords(next, message) {
  props.value = next;
  draw();
  say(message);
}

function parse(text) {
  const taken = words().map((each) => each.colour);
  const entries = [];
  for (const part of text.split(/[,;\n]/)) {
    const names = part.split('=').map(trimmed).filter(Boolean);
    if (!names.length) continue;
    const [word, ...aliases] = names;
    if (isListed(word) || entries.some((e) => e.word.toLowerCase() === word.toLowerCase())) {
      say(`“${word}” is in the list already.`, true);
      return null;
    }
    const colour = freeColour(taken);
    taken.push(colour);
    entries.push({word, aliases, colour});
  }
  return entries;
}

function add() {
  const entries = parse(field.value);
  if (!entries) return;
  if (!entries.length) return say('Type a word first.', true);
  field.value = '';
  setWords([...words(), ...entries], `Added ${entries.map((e) => e.word).join(', ')}.`);
}

function remove(index) {
  const {word} = words()[index];
  closeEditor();
  setWords(words().filter((_, i) => i !== index), `Removed ${word}.`);
  const names = list.querySelectorAll('.chip-name');
  (names[Math.min(index, names.length - 1)] || field).focus();
}

function move(from, to) {
  if (to < 0 || to >= words().length || from === to) return false;
  const next = [...words()];
  const [entry] = next.splice(from, 1);
  next.splice(to, 0, entry);
  if (edited === from) edited = to;
  else edited = null;
  setWords(next, `${entry.word} is now word ${to + 1} of ${next.length}.`);
  return true;
}

function change(index, fields, message) {
  setWords(words().map((each, i) => (i === index ? {...each, ...fields} : each)), message);
}

function openEditor(index) {
  const entry = words()[index];
  edited = index;
  editWord.value = entry.word;
  editAliases.value = entry.aliases.join(', ');
  editColour.value = entry.colour;
  draw();
  editWord.focus();
}

function closeEditor() {
  edited = null;
  draw();
}

function chip(entry, index) {
  const item = document.createElement('li');
  item.className = 'chip';
  item.draggable = true;
  const name = document.createElement('button');
  name.type = 'button';
  name.className = 'chip-name';
  name.setAttribute('aria-expanded', String(edited === index));
  name.title = 'Enter: change. Alt + arrow keys, or drag: reorder. Delete: remove.';
  if (props.coloured) {
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = entry.colour;
    name.append(swatch);
  }
  name.append(entry.word);
  if (entry.aliases.length) {
    const aliases = document.createElement('span');
    aliases.className = 'chip-aliases';
    aliases.textContent = ` = ${entry.aliases.join(' = ')}`;
    name.append(aliases);
  }
  const close = document.createElement('button');
  close.type = 'button';
  close.className = 'chip-remove';
  close.textContent = '×';
  close.setAttribute('aria-label', `Remove ${entry.word}`);
  name.addEventListener('click', () => (edited === index ? closeEditor() : openEditor(index)));
  name.addEventListener('keydown', (event) => onChipKey(event, index));
  close.addEventListener('click', () => remove(index));
  item.addEventListener('dragstart', (event) => {
    dragged = index;
    event.dataTransfer.effectAllowed = 'move';
    event.dataTransfer.setData('text/plain', entry.word);
  });
  item.addEventListener('dragover', (event) => dragged !== null && event.preventDefault());
  item.addEventListener('drop', (event) => {
    if (dragged === null) return;
    event.preventDefault();
    event.stopPropagation();
    move(dragged, index);
    dragged = null;
  });
  item.addEventListener('dragend', () => (dragged = null));
  item.append(name, close);
  return item;
}

function onChipKey(event, index) {
  const step = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
  if (event.key === 'Delete' || event.key === 'Backspace') {
    event.preventDefault();
    return remove(index);
  }
  if (!step) return;
  event.preventDefault();
  const target = index + step;
  if (event.altKey && !move(index, target)) return;
  const names = list.querySelectorAll('.chip-name');
  if (names[target]) names[target].focus();
}

function draw() {
  list.replaceChildren(...words().map(chip));
  if (edited !== null && edited >= words().length) edited = null;
  editor.hidden = edited === null;
  for (const each of element.querySelectorAll('.of-words')) each.hidden = !props.coloured;
}

find('.chip-form').addEventListener('submit', (event) => {
  event.preventDefault();
  add();
});
editWord.addEventListener('change', () => {
  const word = trimmed(editWord.value);
  if (!word || isListed(word, edited)) {
    say(word ? `“${word}” is in the list already.` : 'A word needs letters.', true);
    editWord.value = words()[edited].word;
    return;
  }
  change(edited, {word}, `Changed to ${word}.`);
});
editAliases.addEventListener('change', () => {
  const aliases = editAliases.value.split(/[,=;]/).map(trimmed).filter(Boolean);
  change(edited, {aliases}, `${words()[edited].word} has ${aliases.length} other names.`);
});
editColour.addEventListener('change', () =>
  change(edited, {colour: editColour.value}, 'Changed the colour.'));
find('.move-earlier').addEventListener('click', () => move(edited, edited - 1));
find('.move-later').addEventListener('click', () => move(edited, edited + 1));
find('.close-editor').addEventListener('click', () => {
  const index = edited;
  closeEditor();
  list.querySelectorAll('.chip-name')[index].focus();
});
editor.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') find('.close-editor').click();
});
watch('value', draw);
draw();
