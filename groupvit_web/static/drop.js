// Files that are dropped or pasted anywhere on the page go to the button "Choose a picture".
(() => {
  const take = (files) => {
    // Gradio puts the input beside the button.
    const button = document.getElementById('picture-upload');
    const input = button && button.parentElement.querySelector(':scope > input[type=file]');
    if (!input || !files.length) return false;
    const carrier = new DataTransfer();
    carrier.items.add(files[0]);
    input.files = carrier.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
    return true;
  };
  const hasFiles = (event) => event.dataTransfer && event.dataTransfer.types.includes('Files');
  const mark = (isOver) => document.body.classList.toggle('is-dropping', isOver);
  document.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener('dragleave', (event) => event.relatedTarget || mark(false));
  document.addEventListener('drop', (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener('paste', (event) => {
    if (event.clipboardData && take(event.clipboardData.files)) event.preventDefault();
  });
})();
