// Copies what somebody needs elsewhere: a button names the element with it as `data-copies`.
async function copy(source) {
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A browser has a clipboard for pages by TLS alone. It still copies what is selected.
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
  return true;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const isCopied = await copy(document.getElementById(button.dataset.copies));
  document.getElementById(`${button.dataset.copies}-said`).textContent = isCopied ? "Copied" : "Press Ctrl and C";
});
