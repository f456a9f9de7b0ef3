() => {
  // gradio refuses all of a drop when one file is too large; the others should go on
  const most = MEGABYTES * 1000000;
  const keep = (files) => {
    const kept = new DataTransfer(), lines = [];
    for (const file of files) {
      if (file.size <= most) { kept.items.add(file); continue; }
      const line = document.createElement("li");
      line.textContent = `${file.name}: ${Math.ceil(file.size / 1000000)} MB, MEGABYTES MB are the limit of this page`;
      lines.push(line);
    }
    document.getElementById("too-large").replaceChildren(...lines);
    return kept;
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("#deeds button")) keep([]);  // read by now, as what the server had to say
  }, true);
  document.addEventListener("change", (event) => {
    if (!event.target.matches("#photos input[type=file]")) return;
    const kept = keep(event.target.files);
    event.target.files = kept.files;
    if (!kept.files.length) event.stopImmediatePropagation();
  }, true);
  document.addEventListener("drop", (event) => {
    if (event.kept || !event.target.closest("#photos") || !event.dataTransfer.files.length) return;
    const kept = keep(event.dataTransfer.files);
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!kept.files.length) return;
    const again = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: kept });
    again.kept = true;
    event.target.dispatchEvent(again);
  }, true);
}
