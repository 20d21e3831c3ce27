// "Copy" buttons beside texts.
element.addEventListener('click', async (event) => {
  const button = event.target.closest('button.copy');
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector('pre').textContent);
  button.textContent = 'Copied';
  setTimeout(() => (button.textContent = 'Copy'), 2000);
});
