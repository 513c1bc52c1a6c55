"use strict";
const rows = [...document.querySelectorAll("[data-decision]")];
const said = document.getElementById("found");
const exact = ["domain", "subject", "mode", "outcome"];
const field = Object.fromEntries(["words", ...exact].map((id) => [id, document.getElementById(id)]));
const show = () => {
  const words = field.words.value.toLowerCase();
  let count = 0;
  for (const row of rows) {
    const fits = row.dataset.decision.includes(words)
      && exact.every((id) => !field[id].value || row.dataset[id] === field[id].value);
    row.hidden = !fits;
    count += fits;
  }
  said.textContent = `${count} of ${rows.length} shown`;
};
for (const each of Object.values(field)) each.addEventListener("input", show);
for (const node of document.querySelectorAll("[data-node]")) {
  node.addEventListener("click", () => {
    for (const each of Object.values(field)) each.value = "";
    field.subject.value = node.dataset.node;
    show();
  });
}
show();
